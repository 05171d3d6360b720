//! The messages: each frame, the events of each type, and what goes over HTTP. The examples are made of the schemas.

use serde_json::{Map, Value, json};

use super::super::described::{NamedType, Schemas, Types, example_of, reference};
use crate::bus::Published;
use crate::http::envelope::MAX_EVENTS;
use crate::http::problem;

/// The messages of a document, by the name under which `components` has them.
pub(super) struct Messages(Map<String, Value>);

/// The message of a frame.
pub(super) fn of_frame(frame: &str) -> String {
    format!("frame.{frame}")
}

/// The message of an event of this type.
pub(super) fn of_type(name: &str) -> String {
    format!("event.{name}")
}

/// Several events.
pub(super) const BATCH: &str = "http.batch";
/// The answer to a publisher.
pub(super) const PUBLISHED: &str = "http.published";
/// The answer to a request that is refused.
pub(super) const PROBLEM: &str = "http.problem";
/// The answer to a long-poll.
pub(super) const PAGE: &str = "http.page";
/// The newest event of a subject.
pub(super) const LATEST: &str = "http.latest";
/// An event of an event stream.
pub(super) const STREAMED: &str = "http.streamed";

impl Messages {
    pub fn new(schemas: &mut Schemas, types: &Types<'_>) -> Self {
        let mut all = Map::new();
        for frame in schemas.frames() {
            let message = json!({
                "name": frame.name,
                "title": frame.schema_name,
                "summary": first_sentence(frame.description()),
                "description": frame.description(),
                "tags": [{ "name": "frames" }],
                "payload": reference(&frame.schema_name),
            });
            all.insert(of_frame(&frame.name), message);
        }
        for known in &types.types {
            all.insert(of_type(known.name), event(known));
        }
        let batch = json!({
            "title": "EventBatch",
            "description": "Up to 1,000 events. The daemon validates all of them before it publishes any.",
            "type": "array",
            "items": reference("Event"),
            "maxItems": MAX_EVENTS,
            "examples": [types.examples().take(2).map(|example| &example.delivered).collect::<Vec<_>>()],
        });
        let of_http = [
            (BATCH, "Several events.", "application/cloudevents-batch+json", schemas.add("EventBatch", batch)),
            (PUBLISHED, "The broker has the events.", "application/json", schemas.written::<Published>()),
            (PROBLEM, "The request is refused.", problem::MEDIA_TYPE, reference("Problem")),
            (PAGE, "Events of the log, and where to go on.", "application/json", schemas.event_page()),
            (LATEST, "The newest event of a subject.", "application/json", schemas.positioned_event()),
            (STREAMED, "An event of an event stream.", "text/event-stream", reference("StreamEvent")),
        ];
        for (key, summary, content_type, payload) in of_http {
            let message = json!({
                "name": key.trim_start_matches("http."),
                "summary": summary,
                "contentType": content_type,
                "tags": [{ "name": "http" }],
                "payload": payload,
            });
            all.insert(key.into(), message);
        }
        Self(all)
    }

    /// A channel's list of these messages.
    pub fn listed<'n>(&self, keys: impl IntoIterator<Item = &'n str>) -> Value {
        let message = |key: &str| (key.to_owned(), json!({ "$ref": format!("#/components/messages/{key}") }));
        keys.into_iter().map(message).collect::<Map<_, _>>().into()
    }

    /// The names of all messages that begin so.
    pub fn beginning(&self, prefix: &str) -> Vec<String> {
        self.0.keys().filter(|key| key.starts_with(prefix)).cloned().collect()
    }

    /// All messages, each with examples. `schemas` has all schemas.
    pub fn finish(mut self, schemas: &Map<String, Value>) -> Value {
        for message in self.0.values_mut().filter(|message| message.get("examples").is_none()) {
            let name = message.pointer("/payload/$ref").and_then(Value::as_str).and_then(|to| to.rsplit('/').next());
            if let Some(example) = name.and_then(|name| example_of(name, schemas)) {
                message["examples"] = json!([{ "payload": example }]);
            }
        }
        self.0.into()
    }
}

/// The message of an event of a type.
fn event(known: &NamedType<'_>) -> Value {
    let NamedType { name, description, event, example } = known;
    let mut message = json!({
        "name": name,
        "title": event,
        "summary": description.map_or_else(|| format!("An event of the type `{name}`."), first_sentence),
        "tags": [{ "name": "events" }],
        "traits": [{ "$ref": "#/components/messageTraits/cloudEvent" }],
        "payload": reference(event),
    });
    message["examples"] = example.map_or_else(
        || json!([]),
        |example| {
            json!([
                { "name": "published", "summary": "As a publisher sends it.", "payload": example.published },
                { "name": "delivered", "summary": "As subscribers get it.", "payload": example.delivered },
            ])
        },
    );
    message
}

/// What all events have in common.
pub(super) fn cloud_event() -> Value {
    json!({
        "contentType": "application/cloudevents+json",
        "description": "A CloudEvents 1.0 event as a JSON object. The daemon adds the attributes that the publisher leaves out.",
        "externalDocs": { "url": "https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md" },
    })
}

/// The first sentence of a text.
fn first_sentence(text: &str) -> String {
    text.split_once(". ").map_or_else(|| text.to_owned(), |(first, _)| format!("{first}."))
}
