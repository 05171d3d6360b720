//! The schemas of a document: made by schemars of the types that the handlers read and write, and of the event types.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::events;
use super::frames::{self, Frame};
use super::references::{AT, plain, reachable, reference};
use super::types::Types;
use crate::protocol::{ClientFrame, ErrorCode, ServerFrame};
use crate::schema::example::{self, ExampleEvent};

/// The schemas of a document.
pub(in crate::http) struct Schemas {
    read: SchemaGenerator,
    written: SchemaGenerator,
    more: Map<String, Value>,
    frames: Vec<Frame>,
    examples: Vec<(String, ExampleEvent)>,
}

impl Schemas {
    /// With the events of `types`, and of `others` that the document does not name.
    pub fn new(types: &Types<'_>, others: bool) -> Self {
        let settings =
            || SchemaSettings::draft2020_12().with(|settings| settings.definitions_path = "/components/schemas".into());
        let read = settings().for_deserialize().into_generator();
        let mut written = settings().for_serialize().into_generator();
        let mut more = events::schemas(types, others);
        let mut all_frames = Vec::new();
        let sides = [
            ("ClientFrame", frames::of::<ClientFrame>(&mut written)),
            ("ServerFrame", frames::of::<ServerFrame<'static>>(&mut written)),
        ];
        for (name, (description, frames)) in sides {
            let references: Vec<_> = frames.iter().map(|frame| reference(&frame.schema_name)).collect();
            more.insert(name.into(), json!({ "title": name, "description": description, "oneOf": references }));
            more.extend(frames.iter().map(|frame| (frame.schema_name.clone(), frame.schema.clone())));
            all_frames.extend(frames);
        }
        written.subschema_for::<ErrorCode>();
        written.subschema_for::<crate::http::problem::Document<'static>>();
        let examples = types.types.iter().filter_map(|known| Some((known.name.to_owned(), known.example?.clone())));
        Self { read, written, more, frames: all_frames, examples: examples.collect() }
    }

    /// The events that are examples, by type.
    pub fn examples(&self) -> &[(String, ExampleEvent)] {
        &self.examples
    }

    /// The frames of the WebSocket: the client's, then the daemon's.
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// A reference to the schema of what a handler reads.
    pub fn read<T: JsonSchema>(&mut self) -> Value {
        self.read.subschema_for::<T>().to_value()
    }

    /// A reference to the schema of what a handler writes.
    pub fn written<T: JsonSchema>(&mut self) -> Value {
        self.written.subschema_for::<T>().to_value()
    }

    /// Adds a schema that has no Rust type; returns a reference to it.
    pub fn add(&mut self, name: &str, schema: Value) -> Value {
        self.more.insert(name.to_owned(), schema);
        reference(name)
    }

    /// All of them so far, by name.
    pub fn all(&self) -> Map<String, Value> {
        let mut all = self.more.clone();
        for generator in [&self.read, &self.written] {
            all.extend(generator.clone().take_definitions(true));
        }
        all.values_mut().for_each(plain);
        all.sort_keys();
        all
    }

    /// An example of the schema to which `reference` refers.
    pub fn example(&self, reference: &Value) -> Option<Value> {
        let name = reference["$ref"].as_str()?.strip_prefix(AT)?;
        example_of(name, &self.all())
    }
}

/// An example of the schema of this name, one of `all`. The same name gives the same example.
pub(in crate::http) fn example_of(name: &str, all: &Map<String, Value>) -> Option<Value> {
    let used: Map<String, Value> =
        reachable(all, [name]).into_iter().filter_map(|name| Some((name.clone(), all.get(&name)?.clone()))).collect();
    let mut schema = reference(name);
    schema["components"] = json!({ "schemas": used });
    example::of_schema(&schema, name)
}
