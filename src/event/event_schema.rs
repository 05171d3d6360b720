//! The JSON Schema of the whole event: one document with every type, for validators and for code generators.
//!
//! The root is a `oneOf` of one definition for each type, told apart by the `const` of `type`. Generators make a union of
//! it. All definitions are in `$defs` of the root, and references have the form `#/$defs/NAME`.

use serde_json::{Map, Value, json};

use super::envelope;
use super::schema_definitions::Definitions;

const EVENT: &str = "Event";
const ATTRIBUTES: &str = "Attributes";
const EXTENSION: &str = "Extension";

/// The schema of an event of any of `types`, each a name and the schema of its `data`. It accepts exactly the documents that the daemon accepts.
///
/// One difference is possible: a `$dynamicRef` whose target depends on the instance accepts everything.
///
/// No definition has one of the `reserved` names.
pub(super) fn event_schema<'a>(types: impl IntoIterator<Item = (&'a str, &'a Value)>, reserved: &[&str]) -> Value {
    let mut definitions = Definitions::new(&[&[EVENT], reserved].concat());
    let extension = definitions.add(EXTENSION, envelope::extension());
    let attributes = definitions.add(ATTRIBUTES, attributes(&extension));
    let types: Vec<_> = types.into_iter().map(|(name, schema)| (name, definitions.root(name, schema))).collect();
    let mut variants = Vec::new();
    for (name, data) in &types {
        let variant = definitions.add(
            &format!("{data}Event"),
            json!({
                "description": format!("An event of the type `{name}`."),
                "type": "object",
                "allOf": [reference(&attributes)],
                "required": ["type", "data"],
                "properties": { "type": { "const": name }, "data": reference(data) },
            }),
        );
        variants.push(reference(&variant));
    }
    let mut envelope = envelope::schema();
    let mut schema = Map::new();
    for keyword in ["$schema", "$id", "title", "description"] {
        schema.insert(keyword.into(), envelope[keyword].take());
    }
    match variants.is_empty() {
        false => schema.insert("oneOf".into(), variants.into()),
        true => schema.insert("not".into(), json!({})),
    };
    schema.insert("$defs".into(), definitions.finish().into());
    Value::Object(schema)
}

/// The schema of the attributes that events of all types have: the envelope without `type` and `data`.
///
/// The rule for extension attributes is in `then`. Generators ignore it there; in `additionalProperties` it would become
/// an index signature that `data` does not fit.
fn attributes(extension: &str) -> Value {
    let mut envelope = envelope::schema();
    let mut properties = envelope["properties"].take();
    let known: Map<String, Value> =
        properties.as_object().into_iter().flatten().map(|(name, _)| (name.clone(), true.into())).collect();
    if let Some(properties) = properties.as_object_mut() {
        properties.retain(|name, _| name != "type" && name != "data");
    }
    json!({
        "description": "The attributes that events of all types have beside `type` and `data`.",
        "type": "object",
        "properties": properties,
        "propertyNames": envelope["propertyNames"],
        "if": {},
        "then": { "properties": known, "additionalProperties": reference(extension) },
    })
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{name}") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Catalog, Defaults};

    const DEFAULTS: Defaults<'static> = Defaults { source: "/test", time: "2026-11-28T00:00:00Z" };

    /// A catalogue with types that use every form of reference, and names that collide.
    fn catalog() -> Catalog {
        let mut catalog = Catalog::builtin();
        let order = json!({
            "$id": "https://example.com/types/order",
            "title": "An order: of any kind",
            "type": "object",
            "x-tidings-key": "number",
            "properties": {
                "number": { "type": "integer" },
                "status": { "$ref": "#/$defs/OrderStatus", "description": "Not the built-in one." },
                "parts": { "type": "array", "items": { "$ref": "#" } },
                "unit": { "$ref": "unit" },
                "weight": { "$ref": "unit#/$defs/weight" },
                "total": { "$ref": "#money" },
                "again": { "$ref": "https://example.com/types/order#/properties/total" },
                "tree": { "$ref": "tree" },
                "$ref": { "const": { "$ref": "data" } },
                "extension": { "$ref": "#/$defs/Extension" },
            },
            "allOf": [{ "$ref": "#/definitions/a~1b%20c" }],
            "unevaluatedProperties": false,
            "definitions": { "a/b c": { "properties": { "note": { "enum": ["x", { "$id": "data" }] } } } },
            "$defs": {
                "OrderStatus": { "enum": ["open"] },
                "Extension": { "type": "boolean" },
                "money": { "$anchor": "money", "type": "object", "required": ["cents"], "properties": { "cents": { "type": "integer" } } },
                "unit": { "$id": "unit", "enum": ["kg"], "$defs": { "weight": { "type": "number", "minimum": 0 } } },
                "tree": {
                    "$id": "tree", "$dynamicAnchor": "node", "type": "object",
                    "properties": { "children": { "type": "array", "items": { "$dynamicRef": "#node" } } },
                    "unevaluatedProperties": false,
                },
            },
        });
        let strict_tree = json!({
            "$id": "https://example.com/types/strict", "$dynamicAnchor": "node", "$ref": "base", "required": ["name"],
            "$defs": { "base": {
                "$id": "base", "$dynamicAnchor": "node",
                "properties": { "name": { "type": "string" }, "children": { "items": { "$dynamicRef": "#node" } } },
            } },
        });
        catalog.add("order", &order.to_string()).unwrap();
        catalog.add("strict", &strict_tree.to_string()).unwrap();
        catalog
            .add("event-log", r#"{ "title": "Event", "$ref": "https://json-schema.org/draft/2020-12/schema" }"#)
            .unwrap();
        catalog.add("anything", "{}").unwrap();
        catalog
    }

    #[test]
    fn all_definitions_are_at_the_root() {
        fn check(value: &Value, definitions: &Map<String, Value>, at: &str) {
            for (name, member) in value.as_object().into_iter().flatten() {
                let at = format!("{at}/{name}");
                assert!(
                    !["$id", "$anchor", "$dynamicAnchor", "$defs", "definitions", "$dynamicRef"].contains(&&**name),
                    "{at}"
                );
                if let ("$ref", Some(reference)) = (name.as_str(), member.as_str()) {
                    let known = reference.strip_prefix("#/$defs/").is_some_and(|name| definitions.contains_key(name));
                    let is_published = reference == "https://json-schema.org/draft/2020-12/schema";
                    assert!(known || is_published, "{at}: {reference}");
                }
                if !["const", "enum"].contains(&&**name) {
                    check(member, definitions, &at);
                }
            }
            for item in value.as_array().into_iter().flatten() {
                check(item, definitions, at);
            }
        }
        let schema = catalog().event_schema(|_| true, &[]);
        let definitions = schema["$defs"].as_object().unwrap();
        for (name, definition) in definitions {
            assert_eq!(definition["title"], **name);
            check(definition, definitions, name);
        }
        for name in [
            "InventoryChange",
            "InventoryChangeEvent",
            "OrderStatus",
            "Currency",
            "Order",
            "Unit",
            "Weight",
            "OrderEvent",
        ] {
            assert!(definitions.contains_key(name), "{name}");
        }
        assert_eq!(definitions["OrderOrderStatus"]["enum"], json!(["open"]));
        assert_eq!(definitions["Order"]["description"], "An order: of any kind");
        assert_eq!(
            definitions["Order"]["properties"]["status"]["allOf"],
            json!([{ "$ref": "#/$defs/OrderOrderStatus" }])
        );
    }

    #[test]
    fn it_accepts_what_the_catalogue_accepts() {
        let catalog = catalog();
        let schema = catalog.event_schema(|_| true, &[]);
        let whole = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
        let order = |data: Value| json!({ "type": "order", "data": data });
        let strict = |data: Value| json!({ "type": "strict", "data": data });
        for (document, is_valid) in [
            (
                order(
                    json!({ "number": 1, "status": "open", "parts": [{ "number": 2 }], "unit": "kg", "weight": 0.5 }),
                ),
                true,
            ),
            (order(json!({ "status": "pending" })), false),
            (order(json!({ "parts": [{ "status": "pending" }] })), false),
            (order(json!({ "unit": "g" })), false),
            (order(json!({ "weight": -1 })), false),
            (order(json!({ "total": { "cents": 1 }, "again": { "cents": 2 } })), true),
            (order(json!({ "total": {} })), false),
            (order(json!({ "again": {} })), false),
            (order(json!({ "note": "x" })), true),
            (order(json!({ "note": "y" })), false),
            (order(json!({ "unknown": 1 })), false),
            (order(json!({ "$ref": { "$ref": "data" } })), true),
            (order(json!({ "$ref": "data" })), false),
            (order(json!({ "extension": "text" })), false),
            (order(json!({ "tree": { "children": [{ "children": [] }] } })), true),
            (order(json!({ "tree": { "children": [{ "other": 1 }] } })), false),
            (strict(json!({ "name": "a", "children": [{ "name": "b" }] })), true),
            (strict(json!({ "name": "a", "children": [{}] })), false),
            (json!({ "type": "event-log", "data": { "type": "string" } }), true),
            (json!({ "type": "event-log", "data": { "type": 7 } }), false),
            (json!({ "type": "anything", "data": null }), true),
            (json!({ "type": "anything" }), false),
            (json!({ "type": "anything", "data": 1, "own": "text", "id": null, "count": 7 }), true),
            (json!({ "type": "anything", "data": 1, "own": {} }), false),
            (json!({ "type": "anything", "data": 1, "count": 2_147_483_648_u32 }), false),
            (json!({ "type": "anything", "data": 1, "own": "a\u{7}" }), false),
            (json!({ "type": "anything", "data": 1, "Own": 1 }), false),
            (json!({ "type": "anything", "data": 1, "time": "yesterday" }), false),
            (json!({ "type": "none", "data": 1 }), false),
        ] {
            assert_eq!(catalog.validate(document.clone().into(), "", 100, DEFAULTS).is_ok(), is_valid, "{document}");
            assert_eq!(whole.is_valid(&document), is_valid, "{document}");
        }
    }
}
