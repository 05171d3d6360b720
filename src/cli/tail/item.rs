//! What `tidings tail --forward-to` and `--exec` hand on, and what an attempt to do so comes to.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::event::Position;
use crate::flows::webhook::{Message, gap};

/// What is delivered: an event, or the news of a gap.
pub struct Item {
    pub channel: Arc<str>,
    /// Everything up to here is done when this is.
    pub position: Position,
    pub kind: String,
    pub subject: Option<String>,
    pub message: Message,
}

impl Item {
    /// An event of a channel.
    pub fn event(channel: &Arc<str>, position: &Position, event: &RawValue) -> Self {
        #[derive(Deserialize, Default)]
        struct Attributes {
            id: Option<String>,
            subject: Option<String>,
        }
        let Attributes { id, subject } = serde_json::from_str(event.get()).unwrap_or_default();
        let id = id.unwrap_or_else(|| position.to_string());
        let message = Message { id: id.into(), body: event.get().as_bytes().to_vec().into() };
        Self { channel: channel.clone(), position: position.clone(), kind: channel.to_string(), subject, message }
    }

    /// The news that the events between two positions are lost, as webhooks tell it.
    pub fn gap(channel: &Arc<str>, from: &Position, position: &Position) -> Self {
        let (message, subject) = (gap(channel, from, position), Some(channel.to_string()));
        Self { channel: channel.clone(), position: position.clone(), kind: "tidings.gap".into(), subject, message }
    }
}

/// What an attempt came to.
pub enum Attempt {
    Taken { status: Option<u16> },
    Refused(Refusal),
}

/// Why an event was not taken.
pub struct Refusal {
    pub status: Option<u16>,
    pub reason: String,
    /// Whether no further attempt is wanted, of this event or another.
    pub is_final: bool,
    pub retry_after: Option<Duration>,
}
