//! The schemas of the bodies: made by schemars of the types that the handlers read and write, and of the event types.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// Where OpenAPI has schemas.
const AT: &str = "#/components/schemas/";

/// The name of an event type: see `Catalog::add`.
const TYPE_NAME: &str = "^[A-Za-z0-9][A-Za-z0-9._-]*$";

/// The schemas of the document.
pub(super) struct Schemas {
    read: SchemaGenerator,
    written: SchemaGenerator,
    more: Map<String, Value>,
}

impl Schemas {
    /// `events`: the schema of the events of the built-in types.
    pub fn new(events: Value) -> Self {
        let settings =
            || SchemaSettings::draft2020_12().with(|settings| settings.definitions_path = "/components/schemas".into());
        let read = settings().for_deserialize().into_generator();
        let written = settings().for_serialize().into_generator();
        Self { read, written, more: of_events(events) }
    }

    /// A reference to the schema of what a handler reads.
    pub fn read<T: JsonSchema>(&mut self) -> Value {
        self.read.subschema_for::<T>().to_value()
    }

    /// A reference to the schema of what a handler writes.
    pub fn written<T: JsonSchema>(&mut self) -> Value {
        self.written.subschema_for::<T>().to_value()
    }

    /// All of them, by name.
    pub fn finish(mut self) -> Map<String, Value> {
        self.written::<crate::protocol::ErrorCode>();
        self.written::<super::super::problem::Document<'static>>();
        let mut all = self.more;
        all.extend(self.read.take_definitions(true));
        all.extend(self.written.take_definitions(true));
        all.sort_keys();
        all
    }
}

/// A reference to a schema by name.
pub(super) fn reference(name: &str) -> Value {
    json!({ "$ref": format!("{AT}{name}") })
}

/// The schemas of events, with the definitions that they refer to.
///
/// `Event` is what a publisher sends: an event of a built-in type, or one of another type, whose `data` this document does
/// not know. `DeliveredEvent` is what subscribers get: the daemon has added the attributes that were absent.
fn of_events(mut events: Value) -> Map<String, Value> {
    let variants = events["oneOf"].take();
    let mut text = json!({ "definitions": events["$defs"].take(), "variants": variants }).to_string();
    text = text.replace("\"#/$defs/", &format!("\"{AT}"));
    // It was JSON, and still is.
    let mut read: Value = serde_json::from_str(&text).unwrap_or_default();
    let Value::Object(mut schemas) = read["definitions"].take() else { return Map::new() };
    let names: Vec<Value> =
        schemas.values().filter_map(|schema| schema.pointer("/properties/type/const").cloned()).collect();
    schemas.insert(
        "OwnEvent".into(),
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
        }),
    );
    let mut variants = read["variants"].take();
    if let Some(variants) = variants.as_array_mut() {
        variants.push(reference("OwnEvent"));
    }
    schemas.insert(
        "Event".into(),
        json!({
            "title": "Event",
            "description": "A CloudEvents 1.0 event, as a publisher sends it. `type` names the channel and decides the \
                schema of `data`. The daemon adds the other attributes if they are absent.",
            "oneOf": variants,
        }),
    );
    schemas.insert(
        "DeliveredEvent".into(),
        json!({
            "title": "DeliveredEvent",
            "description": "An event as subscribers get it.",
            "allOf": [reference("Event")],
            "type": "object",
            "required": ["specversion", "id", "source", "type", "time", "dataschema", "data"],
        }),
    );
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
                        {
                            "type": "object",
                            "required": ["type"],
                            "properties": { "type": { "enum": ["gap", "cursor", "closed", "error"] } },
                        },
                    ] },
                },
                "id": reference("Cursor"),
                "retry": { "type": "integer", "description": "Milliseconds until the client should reconnect." },
            },
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
        }),
    );
    schemas.insert(
        "Since".into(),
        json!({
            "title": "Since",
            "description": "Where in the log to begin.",
            "type": "string",
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
