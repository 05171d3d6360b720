//! Which documents and own types the catalogue accepts, and the errors of those that it refuses.

use super::*;

const DEFAULTS: Defaults<'static> = Defaults { source: "test", time: "2026-11-21T00:00:00Z" };

fn validate(document: Value) -> Result<Value, Refusal> {
    let event = Catalog::builtin().validate(document, "", 100, DEFAULTS)?;
    Ok(serde_json::from_str(&event.json).unwrap())
}

fn pointers(document: Value) -> Vec<String> {
    let refusal = validate(document).unwrap_err();
    refusal.mistakes.into_iter().map(|mistake| mistake.pointer).collect()
}

fn sale() -> Value {
    json!({"type":"inventory-change","data":{"productId":"123","oldQuantity":100,"newQuantity":95,"reason":"sale"}})
}

#[test]
fn missing_attributes_are_added() {
    let event = validate(sale()).unwrap();
    assert_eq!(event["specversion"], "1.0");
    assert_eq!(event["source"], "test");
    assert_eq!(event["subject"], "123");
    assert_eq!(event["time"], "2026-11-21T00:00:00Z");
    assert_eq!(event["dataschema"], "urn:tidings:schema:inventory-change");
    assert_eq!(event["id"].as_str().unwrap().len(), 36);
    assert_eq!(event.as_object().unwrap().keys().next_back().unwrap(), "data");
}

#[test]
fn given_attributes_are_kept_and_null_is_absent() {
    let mut document = sale();
    for (name, value) in [
        ("id", json!("a b")),
        ("source", json!("/shop?x=%20")),
        ("time", json!("2026-02-28T23:59:59.123456789+01:00")),
        ("subject", json!("s")),
        ("traceparent", json!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")),
        ("flag", json!(true)),
        ("count", json!(7)),
        ("gone", Value::Null),
    ] {
        document[name] = value;
    }
    let event = validate(document.clone()).unwrap();
    document.as_object_mut().unwrap().remove("gone");
    for (name, value) in document.as_object().unwrap() {
        assert_eq!(&event[name], value, "{name}");
    }
    assert_eq!(event.get("gone"), None);
}

#[test]
fn every_mistake_is_listed_with_its_pointer() {
    let wrong = json!({"type":"inventory-change","Time":"x","time":"yesterday",
        "data":{"productID":"1","oldQuantity":"7","newQuantity":1.5,"reason":null}});
    let mut found = pointers(wrong);
    found.sort();
    assert_eq!(
        found,
        [
            "/Time",
            "/data/newQuantity",
            "/data/oldQuantity",
            "/data/productID",
            "/data/productId",
            "/data/reason",
            "/time"
        ]
    );
    assert_eq!(pointers(json!({"type":"inventory-change"})), ["/data"]);
    assert_eq!(pointers(json!({"data":{}})), ["/type"]);
    assert_eq!(pointers(json!([])), [""]);
}

#[test]
fn an_unknown_field_gets_a_suggestion() {
    let refusal =
        validate(json!({"type":"data-update","data":{"resource":"r","id":"1","acton":"update"}})).unwrap_err();
    assert!(refusal.mistakes.iter().any(|mistake| mistake.message.contains("did you mean `action`?")), "{refusal:?}");
}

#[test]
fn an_unknown_type_has_its_own_kind_of_refusal() {
    let refusal = validate(json!({"type":"inventory-chnage","data":{}})).unwrap_err();
    assert_eq!((refusal.unknown_type.as_deref(), refusal.mistakes), (Some("inventory-chnage"), vec![]));
}

#[test]
fn attributes_follow_cloud_events() {
    for (name, value) in [
        ("id", json!("")),
        ("id", json!(7)),
        ("id", json!("tab\there")),
        ("specversion", json!("0.3")),
        ("source", json!("two words")),
        ("source", json!("")),
        ("time", json!("2026-02-30T00:00:00Z")),
        ("time", json!("2026-02-28 00:00:00Z")),
        ("dataschema", json!("relative")),
        ("datacontenttype", json!("text/plain")),
        ("data_base64", json!("AAAA")),
        ("extension", json!(1.5)),
        ("extension", json!({})),
        ("extension", json!(4_000_000_000_u32)),
        ("camelCase", json!("x")),
    ] {
        let mut document = sale();
        document[name] = value.clone();
        assert_eq!(pointers(document), [format!("/{name}")], "{name} = {value}");
    }
}

#[test]
fn an_event_has_its_parsed_data() {
    let event = Catalog::builtin().validate(sale(), "", 100, DEFAULTS).unwrap();
    assert_eq!(*event.data, sale()["data"]);
}

#[test]
fn own_types_are_validated_as_their_schema_says() {
    let mut catalog = Catalog::builtin();
    let schema =
        r#"{"type":"object","x-tidings-key":"sku","required":["sku"],"properties":{"sku":{"type":"integer"}}}"#;
    catalog.add("price-change", schema).unwrap();
    let event = catalog.validate(json!({"type":"price-change","data":{"sku":7,"more":1}}), "", 100, DEFAULTS).unwrap();
    let event: Value = serde_json::from_str(&event.json).unwrap();
    assert_eq!(event["subject"], "7");
    let refusal = catalog.validate(json!({"type":"price-change","data":{}}), "/3", 100, DEFAULTS).unwrap_err();
    assert_eq!(refusal.mistakes[0].pointer, "/3/data/sku");
}

#[test]
fn an_invalid_schema_is_refused_with_the_place_of_the_mistake() {
    let mut catalog = Catalog::builtin();
    let mut place = |name: &str, text: &str| catalog.add(name, text).unwrap_err().0.remove(0).place;
    assert_eq!(place("x", "{\n  oops"), "line 2, column 3");
    assert_eq!(place("x", r#"{"type":"objekt"}"#), "/type");
    assert_eq!(place("x", r#"{"x-tidings-key":"id"}"#), "/x-tidings-key");
    assert_eq!(place("x", r#"{"$schema":"http://json-schema.org/draft-07/schema#"}"#), "/$schema");
    assert_eq!(place("order-status", "{}"), "its name");
    assert_eq!(place("a/b", "{}"), "its name");
    assert_eq!(place("gap", "{}"), "its name");
    assert_eq!(place("error", "{}"), "its name");
}

#[test]
fn an_own_schemas_id_is_a_unique_absolute_uri() {
    let with = |id: Value| json!({"$id":id,"type":"object"}).to_string();
    let mut catalog = Catalog::builtin();
    catalog.add("mine", &with(json!("https://example.com/mine"))).unwrap();
    for id in [
        json!(7),
        json!(""),
        json!("mine"),
        json!("/mine"),
        json!("https://example.com/x#"),
        json!("https://example.com/x#y"),
        json!("https://example.com/two words"),
        json!("https:///"),
        json!(format!("urn:{}", "x".repeat(1024))),
        json!("https://example.com/mine"),
        json!("HTTPS://EXAMPLE.com/a/../mine"),
        json!("urn:tidings:schema:event"),
        json!("urn:tidings:schema:order-status"),
        json!(DRAFT),
    ] {
        let wrong = catalog.add("other", &with(id.clone()));
        assert_eq!(wrong.map(drop).map_err(|error| error.0[0].place.clone()), Err("/$id".into()), "{id}");
    }
    // The `$id` of an embedded schema must be unique, too.
    let embedding = json!({"$defs":{"a/b":{"allOf":[{"$id":"urn:tidings:schema:order-status"}]}}}).to_string();
    assert_eq!(catalog.add("other", &embedding).unwrap_err().0[0].place, "/$defs/a~1b/allOf/0/$id");
    let relative = json!({"$id":"https://example.com/b","$defs":{"x":{"$id":"mine"}}}).to_string();
    assert_eq!(catalog.add("other", &relative).unwrap_err().0[0].place, "/$defs/x/$id");
    // The `$id` that is made from a type's name must be unique, too.
    catalog.add("squatter", &with(json!("urn:tidings:schema:victim"))).unwrap();
    assert_eq!(catalog.add("victim", "{}").unwrap_err().0[0].place, "/$id");
    // `$id` within a value, or as the name of a field, identifies no schema.
    let harmless = json!({"properties":{"$id":{"const":{"$id":"mine"}}},"examples":[{"$id":"mine"}]}).to_string();
    catalog.add("harmless", &harmless).unwrap();
}

#[test]
fn the_event_schema_covers_own_types() {
    let mut catalog = Catalog::builtin();
    let own = json!({"$id":"https://example.com/types/price","type":"object","required":["sku"],
        "properties":{"sku":{"$ref":"#/$defs/sku"},"parts":{"type":"array","items":{"$ref":"#"}},"unit":{"$ref":"unit"}},
        "$defs":{"sku":{"type":"integer"},"unit":{"$id":"unit","enum":["kg"]}}});
    catalog.add("price-change", &own.to_string()).unwrap();
    catalog.add("note", r#"{"type":"string"}"#).unwrap();
    let whole = compile(&catalog.event_schema()).unwrap();
    for (document, right) in [
        (json!({"type":"price-change","data":{"sku":1,"parts":[{"sku":2}],"unit":"kg"}}), true),
        (json!({"type":"price-change","data":{"sku":"1"}}), false),
        (json!({"type":"price-change","data":{"sku":1,"parts":[{}]}}), false),
        (json!({"type":"price-change","data":{"sku":1,"unit":"g"}}), false),
        (json!({"type":"note","data":"x"}), true),
        (json!({"type":"note","data":1}), false),
        (sale(), true),
        (json!({"type":"order-status","data":{"sku":1}}), false),
    ] {
        assert_eq!(catalog.validate(document.clone(), "", 100, DEFAULTS).is_ok(), right, "{document}");
        assert_eq!(whole.is_valid(&document), right, "{document}");
    }
}

#[test]
fn the_event_schema_accepts_what_the_catalogue_accepts() {
    let catalog = Catalog::builtin();
    let whole = compile(&catalog.event_schema()).unwrap();
    let mut wrong = sale();
    wrong["data"]["extra"] = json!(1);
    for document in [sale(), wrong, json!({"type":"nope","data":{}}), json!({"type":"data-update"})] {
        let accepted = catalog.validate(document.clone(), "", 100, DEFAULTS).is_ok();
        assert_eq!(whole.is_valid(&document), accepted, "{document}");
    }
}
