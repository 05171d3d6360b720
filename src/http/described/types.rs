//! The event types that a document names, each with an example.

use std::sync::OnceLock;

use serde_json::Value;

use crate::event::{Catalog, ChannelId};
use crate::schema::example::{ExampleEvent, Examples};

/// Names that no definition of an event type gets, because the documents have schemas of these names.
pub(in crate::http) const RESERVED: [&str; 34] = [
    "Accepted",
    "AuthFrame",
    "AuthenticatedFrame",
    "ClientFrame",
    "CloseCode",
    "Cursor",
    "DaemonErrorCode",
    "DeliveredEvent",
    "DrainingFrame",
    "ErrorFrame",
    "EventBatch",
    "EventFrame",
    "EventPage",
    "Filter",
    "Gap",
    "GapFrame",
    "HeartbeatFrame",
    "Mistake",
    "PingFrame",
    "PongFrame",
    "PositionedEvent",
    "Problem",
    "Published",
    "Scalar",
    "ServerFrame",
    "Since",
    "StreamEvent",
    "SubscribeFrame",
    "SubscribedFrame",
    "SyncFrame",
    "SyncedFrame",
    "UnsubscribeFrame",
    "UnsubscribedFrame",
    "WelcomeFrame",
];

/// An example of an event of each type of a catalogue.
#[derive(Debug, Default)]
pub struct TypeExamples(OnceLock<Vec<Option<ExampleEvent>>>);

impl TypeExamples {
    /// The examples by channel, `None` where none was found. They are made at the first call, which may take long: a schema to
    /// which no example fits costs many attempts. Every call must have the same catalogue.
    pub fn of(&self, catalog: &Catalog) -> &[Option<ExampleEvent>] {
        let event = |channel| Examples::new(catalog, channel, 0).event(0);
        self.0.get_or_init(|| catalog.channels().map(event).collect())
    }
}

/// The event types that a document names.
#[derive(Debug)]
pub(in crate::http) struct Types<'a> {
    /// The schema of their events.
    pub(super) schema: Value,
    pub types: Vec<NamedType<'a>>,
}

/// An event type.
#[derive(Debug)]
pub(in crate::http) struct NamedType<'a> {
    pub name: &'a str,
    /// What its schema says that it is.
    pub description: Option<&'a str>,
    /// The name of the schema of its events.
    pub event: String,
    /// `None` if none was found.
    pub example: Option<&'a ExampleEvent>,
}

impl<'a> Types<'a> {
    /// Those types of the catalogue that are `shown`.
    pub fn of(catalog: &'a Catalog, examples: &'a [Option<ExampleEvent>], shown: impl Fn(ChannelId) -> bool) -> Self {
        let schema = catalog.event_schema(&shown, &RESERVED);
        let events: Vec<_> = schema["oneOf"].as_array().into_iter().flatten().filter_map(name_of_definition).collect();
        let shown = catalog.channels().zip(examples).filter(|(channel, _)| shown(*channel));
        let types = shown.zip(events).map(|((channel, example), event)| {
            let known = catalog.get(channel);
            let description = known.schema.get("description").and_then(Value::as_str);
            NamedType { name: &known.name, description, event, example: example.as_ref() }
        });
        Self { types: types.collect(), schema }
    }

    /// The examples.
    pub fn examples(&self) -> impl Iterator<Item = &'a ExampleEvent> {
        self.types.iter().filter_map(|known| known.example)
    }
}

/// The name in a reference to a definition.
fn name_of_definition(reference: &Value) -> Option<String> {
    reference["$ref"].as_str()?.strip_prefix("#/$defs/").map(str::to_owned)
}
