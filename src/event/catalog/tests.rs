//! Which documents and own types the catalogue accepts, and the errors of those that it refuses.

use super::*;

const DEFAULTS: Defaults<'static> = Defaults { source: "test", time: "2026-11-21T00:00:00Z" };

fn validate(document: Value) -> Result<Value, Refusal> {
    let event = Catalog::builtin().validate(document.into(), "", 100, DEFAULTS)?;
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
fn attributes_are_delivered_as_they_were_written() {
    for (name, value) in [
        ("time", json!("2016-12-31T23:59:60Z")),
        ("time", json!("2016-12-31t15:59:60.25-08:00")),
        ("time", json!("2026-02-28T23:59:59.999999999999z")),
        ("source", json!("http://[::1]:7400/a?b#c")),
        ("source", json!("..")),
        ("source", json!("urn:a:b")),
        ("dataschema", json!("/schemas/sale.json")),
        ("datacontenttype", json!("application/json; charset=utf-8")),
        ("datacontenttype", json!("application/x+json;charset=\"UTF-8\";a=\"charset\"")),
    ] {
        let mut document = sale();
        document[name] = value.clone();
        assert_eq!(validate(document).unwrap()[name], value, "{name}");
    }
}

#[test]
fn numbers_are_delivered_as_they_were_written() {
    let mut catalog = Catalog::builtin();
    catalog.add("any", "{}").unwrap();
    let long = "9".repeat(400);
    for number in ["18446744073709551616", "1e-400", "1E400", "-0", "1E5", "1.10", &long] {
        let text = format!(r#"{{"type":"any","count":1E2,"data":{{"n":[{number}]}}}}"#);
        let event = catalog.validate(Json::parse(&text).unwrap(), "", 100, DEFAULTS).unwrap();
        let end = format!(r#","count":1E2,"data":{{"n":[{number}]}}}}"#);
        assert!(event.json.ends_with(&end), "{}", event.json);
    }
}

#[test]
fn large_numbers_are_validated_by_their_value() {
    for (schema, right, wrong) in [
        (
            json!({"type":"integer"}),
            &["18446744073709551616", "1e400", "5.0", "1E5", "-0"][..],
            &["1.5", "1e-1", "4.9999999999999999999999", "9007199254740991.4", "1e-400", "1e-9999999999999999"][..],
        ),
        (json!({"minimum":0}), &["1e400", "18446744073709551616", "0"], &["-1e400", "-18446744073709551616"]),
        (
            json!({"exclusiveMaximum":u64::MAX}),
            &["18446744073709551614", "-1e400"],
            &["18446744073709551615", "1e400", "18446744073709551616"],
        ),
        (
            json!({"multipleOf":10}),
            &["18446744073709551610", "184467440737095516160", "1e400", "1e25"],
            &["18446744073709551616", "184467440737095516161"],
        ),
        (json!({"multipleOf":0.01}), &["19.99", "0", "1E2"], &["19.999"]),
        (json!({"enum":[5, "a"]}), &["5", "5.0", "0.5e1", "\"a\""], &["5.5", "\"5\""]),
        (json!({"const":{"a":[1.50]}}), &["{\"a\":[1.5]}", "{\"a\":[15e-1]}"], &["{\"a\":[1]}"]),
        (json!({"uniqueItems":true}), &["[1, 1.5, \"1\"]"], &["[1, 1.0]", "[100, 1E2]"]),
        (
            json!({"maxLength":1,"propertyNames":{"maxLength":1},"minProperties":1}),
            &["\"\u{1f600}\"", "{\"\u{1f600}\":1}"],
            &["\"ab\"", "{\"ab\":1}", "{}"],
        ),
    ] {
        let mut catalog = Catalog::builtin();
        let channel = catalog.add("own", &schema.to_string()).unwrap().channel;
        for (texts, is_valid) in [(right, true), (wrong, false)] {
            for text in texts {
                assert_eq!(catalog.get(channel).is_valid(&Json::parse(text).unwrap()), is_valid, "{schema} {text}");
            }
        }
    }
}

#[test]
fn equal_keys_give_one_subject() {
    let mut catalog = Catalog::builtin();
    catalog.add("own", r#"{"x-tidings-key":"k","properties":{"k":{}}}"#).unwrap();
    let subject = |key: &str| {
        let text = format!(r#"{{"type":"own","data":{{"k":{key}}}}}"#);
        let event = catalog.validate(Json::parse(&text).unwrap(), "", 100, DEFAULTS).unwrap();
        Json::parse(&event.json).unwrap().get("subject").map(Json::to_value).unwrap_or_default()
    };
    for (keys, expected) in [
        (&["5", "5.0", "50e-1"][..], json!("5")),
        (&["100000", "1E5"], json!("100000")),
        (&["18446744073709551616", "1.8446744073709551616e19"], json!("18446744073709551616")),
        (&["-0", "0.0"], json!("0")),
        // No `subject` may have these values.
        (&["1e9999", "\"\"", "\"a\\nb\"", "null", "[]"], Value::Null),
    ] {
        for key in keys {
            assert_eq!(subject(key), expected, "{key}");
        }
    }
    assert_eq!(subject(&format!("\"{}\"", "x".repeat(1024))), json!("x".repeat(1024)));
    assert_eq!(subject(&format!("\"{}\"", "x".repeat(1025))), Value::Null);
}

#[test]
fn a_schema_with_a_member_twice_is_refused() {
    let error = Catalog::builtin().add("own", "{\"type\":\"object\",\n \"type\":\"array\"}").unwrap_err();
    assert_eq!(error.0[0].place, "line 2, column 2");
    assert!(error.0[0].message.contains("occurs twice"), "{error}");
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
        ("source", json!("http://[::1")),
        ("source", json!("a\\b")),
        ("source", json!("/caf\u{e9}")),
        ("source", json!("/100%")),
        ("source", json!("1:2")),
        ("source", json!("//host:port")),
        ("time", json!("2016-12-31T24:00:00Z")),
        ("time", json!("2016-12-31T12:00:60Z")),
        ("time", json!("2016-12-31T23:59:61Z")),
        ("time", json!("2026-02-30T00:00:00Z")),
        ("time", json!("2026-02-28 00:00:00Z")),
        ("dataschema", json!("")),
        ("dataschema", json!("https://[1::2::3]/x")),
        ("datacontenttype", json!("text/plain")),
        ("datacontenttype", json!("application/json; charset=utf-16")),
        ("datacontenttype", json!("application/json;a=b ;CHARSET=\"latin1\"")),
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
fn a_long_list_of_parameters_does_not_stop_the_regular_expression() {
    let allowed = |value: &str| Catalog::builtin().validate(with_content_type(value), "", 100, DEFAULTS);
    for value in [&format!("application/json{}", " ;".repeat(100)), "application/json  ;a=b  ; charset=utf-8 "] {
        assert!(allowed(value).is_ok(), "{value}");
    }
    for value in [&format!("application/json{}\u{e9}", " ;".repeat(100)), "application/json ", "application/json ; \t"]
    {
        let mistakes = allowed(value).unwrap_err().mistakes;
        assert_eq!(mistakes[0].message, "must be application/json or application/\u{2026}+json, in UTF-8", "{value}");
    }
}

fn with_content_type(value: &str) -> Json<'static> {
    let mut document = sale();
    document["datacontenttype"] = json!(value);
    document.into()
}

#[test]
fn the_names_of_server_sent_events_are_reserved() {
    for name in ["gap", "cursor", "closed", "open", "error", "message"] {
        let errors = Catalog::builtin().add(name, r#"{"type":"object"}"#).expect_err(name);
        assert!(errors.to_string().contains("is reserved for Server-Sent Events"), "{errors}");
    }
}

#[test]
fn own_types_are_validated_as_their_schema_says() {
    let mut catalog = Catalog::builtin();
    let schema =
        r#"{"type":"object","x-tidings-key":"sku","required":["sku"],"properties":{"sku":{"type":"integer"}}}"#;
    catalog.add("price-change", schema).unwrap();
    let event =
        catalog.validate(json!({"type":"price-change","data":{"sku":7,"more":1}}).into(), "", 100, DEFAULTS).unwrap();
    let event: Value = serde_json::from_str(&event.json).unwrap();
    assert_eq!(event["subject"], "7");
    let refusal = catalog.validate(json!({"type":"price-change","data":{}}).into(), "/3", 100, DEFAULTS).unwrap_err();
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
fn a_mistake_in_one_field_does_not_hide_one_in_a_field_with_a_shorter_name() {
    let schema = r#"{"properties":{"a":7,"ab":{"type":"strnig"}}}"#;
    let errors = Catalog::builtin().add("x", schema).unwrap_err().0;
    let places: Vec<_> = errors.iter().map(|error| error.place.as_str()).collect();
    assert_eq!(places, ["/properties/ab/type", "/properties/a"]);
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
    let whole = compile(&catalog.event_schema(|_| true, &[]), PatternOptions::fancy_regex()).unwrap();
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
        assert_eq!(catalog.validate(document.clone().into(), "", 100, DEFAULTS).is_ok(), right, "{document}");
        assert_eq!(whole.is_valid(&document.clone().into()), right, "{document}");
    }
}

#[test]
fn the_event_schema_accepts_what_the_catalogue_accepts() {
    let catalog = Catalog::builtin();
    let whole = compile(&catalog.event_schema(|_| true, &[]), PatternOptions::fancy_regex()).unwrap();
    let mut wrong = sale();
    wrong["data"]["extra"] = json!(1);
    for document in [sale(), wrong, json!({"type":"nope","data":{}}), json!({"type":"data-update"})] {
        let accepted = catalog.validate(document.clone().into(), "", 100, DEFAULTS).is_ok();
        assert_eq!(whole.is_valid(&document.clone().into()), accepted, "{document}");
    }
}
