//! The schemas of answers that have no Rust type, because the handlers copy the events from the log as bytes.

use serde_json::{Value, json};

use super::references::reference;
use super::schemas::Schemas;
use crate::event::Position;

impl Schemas {
    /// A reference to the schema of an event with its position.
    pub fn positioned_event(&mut self) -> Value {
        let position = self.written::<Position>();
        self.add(
            "PositionedEvent",
            json!({
                "title": "PositionedEvent",
                "description": "An event, and where in its channel's log it is.",
                "type": "object",
                "required": ["position", "event"],
                "properties": { "position": position, "event": reference("DeliveredEvent") },
                "additionalProperties": false,
            }),
        )
    }

    /// A reference to the schema of the answer of history and of a long-poll.
    pub fn event_page(&mut self) -> Value {
        let (event, gap) = (self.positioned_event(), self.gaps("The ranges that are lost."));
        self.add(
            "EventPage",
            json!({
                "title": "EventPage",
                "description": "Events of the log, each channel's in order.",
                "type": "object",
                "required": ["events", "cursor", "gap"],
                "properties": {
                    "events": { "type": "array", "items": event },
                    "cursor": {
                        "description": "The `since` of the next request.",
                        "allOf": [reference("Cursor")],
                    },
                    "gap": gap,
                },
                "additionalProperties": false,
            }),
        )
    }

    /// The schema of lost ranges.
    pub fn gaps(&mut self, description: &str) -> Value {
        json!({
            "description": description,
            "anyOf": [
                { "type": "boolean", "const": false },
                { "type": "array", "items": self.written::<crate::bus::Gap>(), "minItems": 1 },
            ],
        })
    }
}
