//! The schemas of events and of what selects them, which both documents have.

use serde_json::{Map, Value, json};

use super::references::{AT, reference};
use super::types::{NamedType, Types};

/// The name of an event type: see `Catalog::add`.
const TYPE_NAME: &str = "^[A-Za-z0-9][A-Za-z0-9._-]*$";

/// How many of the events that are examples stand in the schema of all events.
const SHOWN: usize = 5;

/// The schemas of events, with the definitions that they refer to.
///
/// `Event` is what a publisher sends: an event of one of `types`, or, if there are `others`, one of another type, whose
/// `data` the document does not know. `DeliveredEvent` is what subscribers get: the daemon has added the attributes that were
/// absent.
pub(super) fn schemas(types: &Types<'_>, others: bool) -> Map<String, Value> {
    let mut events = types.schema.clone();
    let variants = events["oneOf"].take();
    let mut text = json!({ "definitions": events["$defs"].take(), "variants": variants }).to_string();
    text = text.replace("\"#/$defs/", &format!("\"{AT}"));
    // It was JSON, and still is.
    let mut read: Value = serde_json::from_str(&text).unwrap_or_default();
    let Value::Object(mut schemas) = read["definitions"].take() else { return Map::new() };
    for NamedType { event, example, .. } in &types.types {
        if let (Some(Value::Object(schema)), Some(example)) = (schemas.get_mut(event), example) {
            schema.insert("examples".into(), json!([example.published]));
        }
    }
    let mut variants = read["variants"].take();
    if let (Some(variants), true) = (variants.as_array_mut(), others) {
        variants.push(reference("OwnEvent"));
        schemas.insert("OwnEvent".into(), own_event(types));
    }
    schemas.insert(
        "Event".into(),
        match variants.as_array().is_some_and(|variants| !variants.is_empty()) {
            true => json!({
                "title": "Event",
                "description": "A CloudEvents 1.0 event, as a publisher sends it. `type` names the channel and decides the \
                    schema of `data`. The daemon adds the other attributes if they are absent.",
                "oneOf": variants,
            }),
            false => json!({ "title": "Event", "description": "This caller may see no event type.", "not": {} }),
        },
    );
    schemas.insert(
        "DeliveredEvent".into(),
        json!({
            "title": "DeliveredEvent",
            "description": "An event as subscribers get it.",
            "allOf": [reference("Event")],
            "type": "object",
            "required": ["specversion", "id", "source", "type", "time", "dataschema", "data"],
            "examples": types.examples().take(SHOWN).map(|example| &example.delivered).collect::<Vec<_>>(),
        }),
    );
    let streamed = types.examples().take(SHOWN).map(|example| {
        let channel = example.delivered["type"].as_str().unwrap_or_default();
        json!({ "event": channel, "data": example.delivered.to_string(), "id": format!("{channel}=k3:42") })
    });
    let begin =
        json!({ "event": "cursor", "data": r#"{"type":"cursor"}"#, "id": "order-status=k3:41", "retry": 2_210 });
    let streamed: Vec<Value> = [begin].into_iter().chain(streamed).collect();
    schemas.insert(
        "StreamEvent".into(),
        json!({
            "title": "StreamEvent",
            "description": "Each event of an event stream, with its fields.",
            "type": "object",
            "required": ["event", "data"],
            "properties": {
                "event": { "type": "string", "description": "The type of an event; or `gap`, `cursor`, `closed`, `error`." },
                "data": {
                    "type": "string",
                    "description": "A `DeliveredEvent`, or a frame of the daemon.",
                    "contentMediaType": "application/json",
                    "contentSchema": { "anyOf": [
                        reference("DeliveredEvent"),
                        reference("GapFrame"),
                        reference("ErrorFrame"),
                        {
                            "type": "object",
                            "required": ["type"],
                            "properties": { "type": { "enum": ["cursor", "closed"] } },
                        },
                    ] },
                },
                "id": reference("Cursor"),
                "retry": { "type": "integer", "description": "Milliseconds until the client should reconnect." },
            },
            "examples": streamed,
        }),
    );
    schemas.insert(
        "Filter".into(),
        json!({
            "title": "Filter",
            "description": "Fields of `data` (dotted for a nested one) with the value that they must have, a list of \
                values of which one suffices, or a prefix. All conditions must hold. The fields and values must be \
                possible in the channel's schema.",
            "type": "object",
            "examples": [{ "orderId": "o-1" }],
            "maxProperties": 16,
            "additionalProperties": { "anyOf": [
                reference("Scalar"),
                { "type": "array", "items": reference("Scalar"), "minItems": 1, "maxItems": 128 },
                {
                    "type": "object",
                    "required": ["prefix"],
                    "properties": { "prefix": { "type": "string", "maxLength": 1024 } },
                    "additionalProperties": false,
                },
            ] },
        }),
    );
    schemas.insert(
        "Scalar".into(),
        json!({
            "title": "Scalar",
            "description": "A value that a filter compares.",
            "type": ["string", "number", "boolean", "null"],
            "maxLength": 1024,
        }),
    );
    schemas.insert(
        "Cursor".into(),
        json!({
            "title": "Cursor",
            "description": "A position in each of several channels; opaque. The daemon gives it out.",
            "type": "string",
            "examples": ["order-status=k3:42"],
        }),
    );
    schemas.insert(
        "Since".into(),
        json!({
            "title": "Since",
            "description": "Where in the log to begin.",
            "type": "string",
            "examples": ["10m", "start"],
            "anyOf": [
                { "enum": ["start", "now"], "description": "The oldest event; the next one." },
                { "pattern": "^[0-9]+(?:ms|s|m|h|d)$", "description": "An age: what the broker took from then on." },
                { "format": "date-time", "description": "A time: what the broker took from then on." },
                { "pattern": "^[0-9a-z]{1,32}:[0-9]+$", "description": "After a position. Only with one channel." },
                { "pattern": "^[^=,]+=", "description": "After a cursor, which has every channel of the request." },
                { "pattern": "^c[.]", "description": "The same, with many channels." },
            ],
        }),
    );
    schemas
}

/// The schema of an event of a type that is none of `types`.
fn own_event(types: &Types<'_>) -> Value {
    let names: Vec<_> = types.types.iter().map(|known| known.name).collect();
    json!({
        "title": "OwnEvent",
        "description": "An event of a type that the daemon's operator has added. `GET /v1/schemas/{type}` has the \
            schema of its `data`.",
        "type": "object",
        "allOf": [reference("Attributes")],
        "required": ["type", "data"],
        "properties": {
            "type": { "type": "string", "maxLength": 64, "pattern": TYPE_NAME, "not": { "enum": names } },
            "data": {},
        },
    })
}
