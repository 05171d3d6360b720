//! Which filters are accepted, what they match, and the errors of those that are refused.

use super::*;
use crate::event::Catalog;
use serde_json::{Map, json};

fn parse(channel: &str, filter: Value) -> Result<Filter, FilterError> {
    let mut catalog = Catalog::builtin();
    let own = json!({"type":"object","properties":{
        "a.b":{"type":"string"},
        "a":{"$ref":"#/$defs/node"},
        "labels":{"type":"object","additionalProperties":{"type":"string"}},
        "maybe":{"type":["string","null"]}},
        "$defs":{"node":{"type":"object","properties":{"b":{"type":"integer"},"next":{"$ref":"#/$defs/node"}}}}});
    catalog.add("own", &own.to_string()).unwrap();
    Filter::parse(&filter.into(), catalog.get(catalog.channel(channel).unwrap()))
}

fn matches(channel: &str, filter: Value, data: Value) -> bool {
    parse(channel, filter).unwrap().matches(&data.into())
}

#[test]
fn all_conditions_must_hold() {
    let filter = json!({"productId":"1","newQuantity":[0,1]});
    assert!(matches("inventory-change", filter.clone(), json!({"productId":"1","newQuantity":1.0})));
    assert!(!matches("inventory-change", filter.clone(), json!({"productId":"1","newQuantity":2})));
    assert!(!matches("inventory-change", filter, json!({"newQuantity":1})));
    assert!(matches("inventory-change", json!({}), json!({})));
}

#[test]
fn a_condition_on_an_array_means_contains() {
    assert!(matches("cache-invalidate", json!({"tags":["x","b"]}), json!({"tags":["a","b"]})));
    assert!(matches("cache-invalidate", json!({"keys":{"prefix":"user:"}}), json!({"keys":["a","user:7"]})));
    assert!(!matches("cache-invalidate", json!({"tags":"c"}), json!({"tags":["a","b"]})));
}

#[test]
fn nested_fields_are_dotted_and_a_name_with_a_dot_wins() {
    assert!(matches("own", json!({"a.next.next.b": 7}), json!({"a":{"next":{"next":{"b":7}}}})));
    assert!(matches("own", json!({"a.b":"x"}), json!({"a.b":"x","a":{"b":1}})));
    assert!(matches("own", json!({"labels.any":"x"}), json!({"labels":{"any":"x"}})));
    assert!(matches("own", json!({"maybe":null}), json!({"maybe":null})));
    assert!(!matches("own", json!({"maybe":null}), json!({})));
}

#[test]
fn an_unknown_field_gets_a_suggestion() {
    let FilterError::UnknownField(message) = parse("inventory-change", json!({"productid":"1"})).unwrap_err() else {
        panic!("another error")
    };
    let text = FilterError::UnknownField(message).to_string();
    assert!(text.starts_with("/where/productid: ") && text.contains("did you mean `productId`?"), "{text}");
    assert!(matches!(parse("own", json!({"a.c":1})), Err(FilterError::UnknownField(_))));
    assert!(matches!(parse("inventory-change", json!({"reason.x":1})), Err(FilterError::UnknownField(_))));
}

#[test]
fn a_condition_that_can_never_match_is_refused() {
    for filter in [
        json!([]),
        json!("productId"),
        json!({"productId":7}),
        json!({"newQuantity":"7"}),
        json!({"newQuantity":1.5}),
        json!({"newQuantity":{"prefix":"7"}}),
        json!({"productId":null}),
        json!({"productId":[]}),
        json!({"productId":[["1"]]}),
        json!({"productId":{"prefix":7}}),
        json!({"productId":{"suffix":"7"}}),
        json!({"productId":{"prefix":"7","also":1}}),
    ] {
        assert!(matches!(parse("inventory-change", filter.clone()), Err(FilterError::Invalid(_))), "{filter}");
    }
}

/// A schema with every way in which a value can be possible or not.
fn rules() -> Value {
    json!({
        "type": "object",
        "properties": {
            "status": { "$ref": "#/$defs/status" },
            "maybe": { "anyOf": [{ "$ref": "#/$defs/status" }, { "type": "null" }] },
            "only": { "const": "this" },
            "code": { "type": "string", "pattern": "^[A-Z]{3}$" },
            "mail": { "type": "string", "format": "email" },
            "short": { "type": "string", "maxLength": 3 },
            "stars": { "type": "integer", "minimum": 1, "maximum": 5 },
            "labels": { "type": "array", "items": { "enum": ["late", "urgent"] } },
            "pair": { "type": "array", "prefixItems": [{ "const": "a" }, { "const": "b" }], "items": false },
            "either": { "oneOf": [{ "type": "array", "items": { "type": "integer" } }, { "const": "all" }] },
            "buyer": { "type": "object", "properties": { "kind": { "enum": ["person", "company"] } } },
            "open": {},
            "not": { "not": { "const": "x" } },
        },
        "anyOf": [{ "properties": { "labels": { "minItems": 1 } } }, { "required": ["open"] }],
        "allOf": [{ "if": { "required": ["only"] }, "then": { "properties": { "short": { "const": "abc" } } } }],
        "$defs": { "status": { "type": "string", "enum": ["pending", "shipped"] } },
    })
}

#[test]
fn a_value_that_the_schema_excludes_is_refused_with_what_is_possible() {
    for (filter, pointer, message) in [
        (
            json!({"status":"shippd"}),
            "/where/status",
            "status is never \"shippd\": it must be one of \"pending\", \"shipped\"; did you mean `shipped`?",
        ),
        (json!({"status":["pending","nonsense"]}), "/where/status/1", "it must be one of \"pending\", \"shipped\""),
        (json!({"status":7}), "/where/status", "status is never 7: it must be of type string"),
        (json!({"status":null}), "/where/status", "it must be of type string"),
        (
            json!({"status":{"prefix":"shipx"}}),
            "/where/status/prefix",
            "status never begins with \"shipx\": it must be one of",
        ),
        (json!({"maybe":"shippd"}), "/where/maybe", "it must be one of \"pending\", \"shipped\""),
        (json!({"only":"that"}), "/where/only", "it must be \"this\""),
        (json!({"code":"abc"}), "/where/code", "it must match the pattern ^[A-Z]{3}$"),
        (json!({"mail":"no"}), "/where/mail", "it must be an e-mail address"),
        (json!({"short":"long"}), "/where/short", "it must have at most 3 characters"),
        (json!({"short":{"prefix":"long"}}), "/where/short/prefix", "it must have at most 3 characters"),
        (json!({"stars":6}), "/where/stars", "it must be at most 5"),
        (json!({"stars":"6"}), "/where/stars", "it must be of type integer"),
        (json!({"labels":"lat"}), "/where/labels", "did you mean `late`?"),
        (json!({"labels":["late","lat"]}), "/where/labels/1", "must be one of"),
        (json!({"labels":{"prefix":"lax"}}), "/where/labels/prefix", "must be one of"),
        (json!({"pair":"c"}), "/where/pair", "must be"),
        (json!({"either":"one"}), "/where/either", "must be"),
        (json!({"buyer.kind":"compny"}), "/where/buyer.kind", "did you mean `company`?"),
    ] {
        match Filter::read(&filter.clone().into(), "rules", &rules()) {
            Err(FilterError::Invalid(mistakes)) => {
                assert_eq!(mistakes[0].pointer, pointer, "{filter}");
                assert!(mistakes[0].message.contains(message), "{filter}: {}", mistakes[0].message);
            }
            other => panic!("{filter}: {other:?}"),
        }
    }
    let both = Filter::read(&json!({"status":"shippd","stars":6}).into(), "rules", &rules()).unwrap_err();
    assert_eq!(both.into_mistakes().len(), 2);
}

#[test]
fn a_value_that_may_occur_is_accepted() {
    for filter in [
        json!({"status":["pending","shipped"],"maybe":null}),
        json!({"status":{"prefix":"ship"},"code":"ABC","mail":"a@example.com","only":"this"}),
        json!({"code":{"prefix":"abc"}}),
        json!({"stars":5.0,"short":"lon"}),
        json!({"labels":["late"],"pair":"b"}),
        json!({"labels":{"prefix":"la"}}),
        json!({"either":7}),
        json!({"either":"all"}),
        json!({"buyer.kind":"person"}),
        json!({"open":{"prefix":"x"},"not":"x"}),
    ] {
        assert!(Filter::read(&filter.clone().into(), "rules", &rules()).is_ok(), "{filter}");
    }
}

#[test]
fn an_unknown_nested_field_gets_the_names_beside_it() {
    let refused = Filter::read(&json!({"buyer.knd":"x"}).into(), "rules", &rules()).unwrap_err().to_string();
    assert!(refused.contains("did you mean `buyer.kind`? (fields: buyer.kind;"), "{refused}");
}

#[test]
fn a_large_whole_number_is_an_integer() {
    assert!(matches("own", json!({"a.next.b": 1e20}), json!({"a":{"next":{"b":1e20}}})), "1e20 is a whole number");
}

#[test]
fn a_filter_is_bounded() {
    assert!(size_of::<Test>() <= 24, "a node keeps a hundred thousand of them");
    let invalid = |filter: Value| match parse("cache-invalidate", filter) {
        Err(FilterError::Invalid(mistakes)) => mistakes[0].message.clone(),
        other => panic!("{other:?}"),
    };
    let values: Vec<_> = (0..129).map(|n| n.to_string()).collect();
    assert!(parse("cache-invalidate", json!({"tags":values[1..]})).is_ok());
    assert_eq!(invalid(json!({"tags":values})), "a filter can have at most 128 values for one field, not 129");
    let long = "\u{20ac}".repeat(1024);
    for test in [json!(long), json!({"prefix":long}), json!(["a", long])] {
        assert!(parse("own", json!({"a.b":test})).is_ok());
    }
    let long = "x".repeat(1025);
    for test in [json!(long), json!({"prefix":long}), json!(["a", long])] {
        let message = invalid(json!({"tags":test}));
        assert_eq!(message, "a string in a filter can have at most 1024 characters, not 1025");
    }
}

#[test]
fn an_error_repeats_only_the_beginning_of_a_long_field_name() {
    let name = format!("a{}", "\u{20ac}".repeat(20_000));
    let Err(error @ FilterError::UnknownField(_)) = parse("own", json!({name:1})) else { panic!("another error") };
    let text = error.to_string();
    assert!(text.chars().count() < 400, "{} characters", text.chars().count());
}

#[test]
fn filters_with_the_same_meaning_are_equal() {
    let one = parse("inventory-change", json!({"productId":["b","a","b"],"newQuantity":5})).unwrap();
    let other = parse("inventory-change", json!({"newQuantity":5.0,"productId":["a","b"]})).unwrap();
    assert_eq!(one, other);
    let one = parse("inventory-change", json!({"productId":["a","a"]})).unwrap();
    assert_eq!(one, parse("inventory-change", json!({"productId":"a"})).unwrap());
}

#[test]
fn the_mistakes_of_a_filter_are_bounded() {
    let wrong: Vec<_> = (0..128).map(|number| format!("x{number}")).collect();
    let names: Vec<_> = (0..16).map(|number| format!("f{number}")).collect();
    let fields: Map<_, _> = names.iter().map(|name| (name.clone(), json!({"enum":["a","b"]}))).collect();
    let wide = json!({"type":"object","properties":fields});
    let all: Map<_, _> = names.iter().map(|name| (name.clone(), json!(wrong))).collect();
    for filter in [json!({"f0":wrong}), all.into()] {
        let mistakes = Filter::read(&filter.into(), "wide", &wide).unwrap_err().into_mistakes();
        assert_eq!(mistakes.len(), MAX_MISTAKES);
        assert_eq!(mistakes[99].pointer, "/where/f0/99");
    }
    let mistakes = parse("finance-change", json!({"currency":wrong})).unwrap_err().into_mistakes();
    assert_eq!(mistakes.len(), MAX_MISTAKES);
}
