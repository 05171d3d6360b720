use serde_json::json;

use super::*;

/// Adds an own type, and makes `count` examples of it.
fn examples(schema: &Value, count: u64) -> Vec<Value> {
    let mut catalog = Catalog::builtin();
    let channel = catalog.add("own", &schema.to_string()).unwrap().channel;
    let examples = Examples::new(&catalog, channel, 7);
    let make = |number| examples.make(number, &Json::Object(Vec::new()));
    (0..count)
        .map(|number| make(number).unwrap_or_else(|mistakes| panic!("{schema}: {mistakes:?}")).to_value())
        .collect()
}

#[test]
fn every_built_in_type_has_valid_examples_that_differ() {
    let catalog = Catalog::builtin();
    for channel in catalog.channels() {
        let examples = Examples::new(&catalog, channel, 1);
        let made: Vec<_> =
            (0..200).map(|number| examples.make(number, &Json::Object(Vec::new())).unwrap().to_string()).collect();
        let different: std::collections::HashSet<_> = made.iter().collect();
        assert!(different.len() > 100, "{}: {made:?}", catalog.get(channel).name);
        let again = Examples::new(&catalog, channel, 1);
        assert_eq!(again.make(5, &Json::Object(Vec::new())).unwrap().to_string(), made[5]);
    }
}

/// Each keyword that limits a value, alone and beside others. [`Examples::make`] has the catalogue judge each example.
#[test]
fn examples_fit_every_kind_of_schema() {
    let schemas = [
        json!({"type":"object","properties":{"a":{"type":"string","minLength":30},"b":{"type":"string","maxLength":2}},"required":["a","b"]}),
        json!({"properties":{"code":{"type":"string","pattern":"^[A-Z]{2}-\\d{4}$"},"part":{"pattern":"x+"}},"required":["code","part"]}),
        json!({"properties":{"n":{"type":"integer","minimum":5,"exclusiveMaximum":7},"m":{"type":"integer","multipleOf":25},
            "p":{"type":"number","minimum":0,"maximum":1},"q":{"type":"number","exclusiveMinimum":10},
            "r":{"type":"number","maximum":-5},"s":{"type":"number","multipleOf":0.5}},"required":["n","m","p","q","r","s"]}),
        json!({"properties":{"l":{"type":"array","items":{"enum":["a","b","c"]},"minItems":3,"uniqueItems":true},
            "t":{"prefixItems":[{"type":"integer"},{"type":"string"}],"items":false,"minItems":2},
            "c":{"type":"array","contains":{"const":5},"items":{"type":"integer"},"minItems":2}},"required":["l","t","c"]}),
        json!({"oneOf":[{"properties":{"kind":{"const":"card"},"digits":{"type":"string","pattern":"^\\d{4}$"}},"required":["kind","digits"],"additionalProperties":false},
            {"properties":{"kind":{"const":"cash"},"drawer":{"type":"integer"}},"required":["kind","drawer"],"additionalProperties":false}]}),
        json!({"allOf":[{"$ref":"#/$defs/base"},{"properties":{"size":{"type":"integer","minimum":1}},"required":["size"]}],
            "$defs":{"base":{"type":"object","properties":{"id":{"type":"string","format":"uuid"}},"required":["id"]}}}),
        json!({"properties":{"country":{"enum":["DE","US"]},"zip":{"type":"string"}},"required":["country","zip"],
            "if":{"properties":{"country":{"const":"DE"}}},"then":{"properties":{"zip":{"pattern":"^[0-9]{5}$"}}},
            "else":{"properties":{"zip":{"pattern":"^US[0-9]{5}$"}}}}),
        json!({"type":"object","additionalProperties":{"type":"integer"},"minProperties":3,"propertyNames":{"pattern":"^[a-z]{4,}$"}}),
        json!({"type":"object","patternProperties":{"^x":{"type":"boolean"}},"additionalProperties":false,"propertyNames":{"pattern":"^x[a-z]+$"},"minProperties":1}),
        json!({"$ref":"#/$defs/tree","$defs":{"tree":{"type":"object","properties":{"name":{"type":"string"},"children":{"type":"array","items":{"$ref":"#/$defs/tree"}}},"required":["name"]}}}),
        json!({"properties":{"a":{"type":["null","string"]},"b":{"type":["integer","null"]}},"required":["a","b"]}),
        json!({"properties":{"x":{"type":"string","not":{"pattern":"5"}}},"required":["x"]}),
        json!({"properties":{"a":{"type":"integer"},"b":{"type":"integer"}},"dependentRequired":{"a":["b"]}}),
        json!({"examples":[{"stars":5},{"stars":1}],"properties":{"stars":{"type":"integer"}}}),
        json!({"type":"object","required":["free"]}),
    ];
    for schema in schemas {
        examples(&schema, 50);
    }
    let formats = [
        "date",
        "time",
        "date-time",
        "duration",
        "email",
        "idn-email",
        "hostname",
        "idn-hostname",
        "ipv4",
        "ipv6",
        "uri",
        "iri",
        "uri-reference",
        "iri-reference",
        "uuid",
        "uri-template",
        "json-pointer",
        "relative-json-pointer",
        "regex",
        "own-format",
    ];
    for format in formats {
        examples(&json!({"properties":{"value":{"type":"string","format":format}},"required":["value"]}), 50);
    }
}

#[test]
fn a_text_is_named_after_its_field() {
    let schema = json!({"properties":{"customerId":{"type":"string"},"display_name":{"type":"string"}},"required":["customerId","display_name"]});
    let made = &examples(&schema, 1)[0];
    assert!(made["customerId"].as_str().unwrap().starts_with("customer-"), "{made}");
    assert!(made["display_name"].as_str().unwrap().starts_with("display-name-"), "{made}");
}

#[test]
fn given_members_stay_as_they_are() {
    let mut catalog = Catalog::builtin();
    let schema = json!({"properties":{"at":{"properties":{"x":{"type":"number"},"y":{"type":"number"}},"required":["x","y"]}},"required":["at"]});
    let channel = catalog.add("own", &schema.to_string()).unwrap().channel;
    let given = Json::parse(r#"{"at":{"x":1.10},"more":18446744073709551617}"#).unwrap();
    let made = Examples::new(&catalog, channel, 3).make(0, &given).unwrap();
    assert_eq!(made.get("at").unwrap().get("x"), Some(&Json::Number("1.10".into())));
    assert!(made.get("at").unwrap().get("y").is_some());
    assert_eq!(made.get("more"), Some(&Json::Number("18446744073709551617".into())));
}

/// No instance fits: each node would need 1,000 further ones.
#[test]
fn a_schema_that_contains_itself_without_end_is_given_up() {
    let mut catalog = Catalog::builtin();
    let schema = json!({"$ref":"#/$defs/tree","$defs":{"tree":{"type":"object","required":["children"],
        "properties":{"children":{"type":"array","minItems":1000,"items":{"$ref":"#/$defs/tree"}}}}}});
    let channel = catalog.add("own", &schema.to_string()).unwrap().channel;
    let event_type = catalog.get(channel);
    let mut dice = StdRng::seed_from_u64(1);
    let made = value::make(SchemaNode::root(&event_type.schema), "own", &mut dice);
    assert!(!event_type.is_valid(&made));
}

#[test]
fn what_no_example_can_mend_is_named() {
    let catalog = Catalog::builtin();
    let channel = catalog.channel("order-status").unwrap();
    let given = Json::parse(r#"{"newStatus":"lost"}"#).unwrap();
    let mistakes = Examples::new(&catalog, channel, 3).make(0, &given).unwrap_err();
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    assert_eq!(mistakes[0].pointer, "/data/newStatus");
}

#[test]
fn null_is_chosen_only_where_there_is_nothing_else() {
    assert_eq!(of_schema(&json!({"enum":[null,"1.0"]}), "version"), Some(json!("1.0")));
    assert_eq!(of_schema(&json!({"enum":[null]}), "version"), Some(json!(null)));
    assert_eq!(of_schema(&json!({"enum":["a"],"not":{"const":"a"}}), "nothing"), None);
}

#[test]
fn an_event_is_shown_as_it_is_sent_and_as_it_is_delivered() {
    let catalog = Catalog::builtin();
    for channel in catalog.channels() {
        let ExampleEvent { published, delivered } = Examples::new(&catalog, channel, 0).event(0).unwrap();
        assert_eq!(published["data"], delivered["data"]);
        assert_eq!(delivered["dataschema"], catalog.get(channel).id());
        let subject = catalog.get(channel).key.as_deref().map(|key| &published["data"][key]);
        assert_eq!(delivered.get("subject"), subject);
    }
}
