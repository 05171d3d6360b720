//! What the relay hands to the hub: one event or gap of a channel, encoded once for everyone.

use std::sync::OnceLock;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use super::frame;
use crate::event::{ChannelId, Position};
use crate::protocol::ServerFrame;

/// A step of a channel's stream.
#[derive(Debug)]
pub struct Delivery {
    pub channel: ChannelId,
    /// Where the channel stands after this step.
    pub position: Position,
    pub step: Step,
}

/// What happened.
#[derive(Debug)]
pub enum Step {
    /// The channel's position became known; there is nothing to send.
    Known,
    Event(Encoded),
    /// The events up to the position are gone: a `gap` frame for everyone who is subscribed.
    Gap(Bytes),
}

/// An event as every receiver gets it.
#[derive(Debug)]
pub struct Encoded {
    /// The WebSocket frame, header included.
    pub frame: Bytes,
    /// Within `frame`: the JSON text.
    text: Bytes,
    data: OnceLock<Option<Value>>,
}

impl Delivery {
    /// The head of the log, found at the start.
    pub fn known(channel: ChannelId, position: Position) -> Self {
        Self { channel, position, step: Step::Known }
    }

    /// An event; `text` is the `event` frame's JSON.
    pub fn event(channel: ChannelId, position: Position, text: &str) -> Self {
        let frame = frame::text(text.as_bytes());
        let text = frame.slice(frame.len() - text.len()..);
        Self { channel, position, step: Step::Event(Encoded { frame, text, data: OnceLock::new() }) }
    }

    /// A range that is lost: all after `from`, up to and including `position`.
    pub fn gap(channel: ChannelId, name: &str, from: Position, position: Position) -> Self {
        let frame = frame::server(&ServerFrame::Gap { channel: name.into(), from, position: position.clone() });
        Self { channel, position, step: Step::Gap(frame) }
    }
}

impl Encoded {
    /// The event's `data`, for filters: parsed when the first shard asks, never where nobody filters.
    pub fn data(&self) -> Option<&Value> {
        #[derive(Deserialize)]
        struct Frame {
            event: Event,
        }
        #[derive(Deserialize)]
        struct Event {
            data: Value,
        }
        let parse = || serde_json::from_slice::<Frame>(&self.text).ok().map(|frame| frame.event.data);
        self.data.get_or_init(parse).as_ref()
    }
}
