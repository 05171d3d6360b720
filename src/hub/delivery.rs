//! What the relay hands to the hub: one event or gap of a channel, encoded once for everyone.

use std::sync::OnceLock;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::frame;
use crate::deflate::Deflater;
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
    deflated: OnceLock<Bytes>,
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
        Self {
            channel,
            position,
            step: Step::Event(Encoded { frame, text, data: OnceLock::new(), deflated: OnceLock::new() }),
        }
    }

    /// Bytes that it puts on the socket of one who wants it.
    pub fn size(&self) -> usize {
        match &self.step {
            Step::Known => 0,
            Step::Event(event) => event.frame.len(),
            Step::Gap(frame) => frame.len(),
        }
    }

    /// A range that is lost: all after `from`, up to and including `position`.
    pub fn gap(channel: ChannelId, name: &str, from: Position, position: Position) -> Self {
        let frame = frame::server(&ServerFrame::Gap { channel: name.into(), from, position: position.clone() });
        Self { channel, position, step: Step::Gap(frame) }
    }
}

impl Encoded {
    /// The frame for those who take compressed ones: made when the first shard with one of them asks, and the plain frame
    /// where compression does not pay. `made` is called where this compressed it.
    pub fn deflated(&self, deflater: &mut Deflater, made: impl FnOnce()) -> &Bytes {
        self.deflated.get_or_init(|| match deflater.deflate(&self.text) {
            Some(payload) => {
                made();
                frame::deflated_text(payload)
            }
            None => self.frame.clone(),
        })
    }

    /// The event's `data`, for filters: parsed when the first shard asks, never where nobody filters.
    pub fn data(&self) -> Option<&Value> {
        #[derive(Deserialize)]
        struct Frame<'a> {
            #[serde(borrow)]
            event: Event<'a>,
        }
        // In two steps: within the frame, the deepest `data` that was accepted would be too deep for serde_json.
        #[derive(Deserialize)]
        struct Event<'a> {
            #[serde(borrow)]
            data: &'a RawValue,
        }
        let parse = || {
            let frame: Frame<'_> = serde_json::from_slice(&self.text)?;
            serde_json::from_str(frame.event.data.get())
        };
        let parsed = self.data.get_or_init(|| {
            parse().inspect_err(|error| tracing::error!(%error, "an event cannot be matched with filters")).ok()
        });
        parsed.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Catalog, Defaults};
    use crate::protocol::event_frame;

    #[test]
    fn what_was_accepted_can_be_matched_however_deep_it_is() {
        let mut catalog = Catalog::builtin();
        catalog.add("deep", r#"{"type":"object"}"#).unwrap();
        let defaults = Defaults { source: "test", time: "2026-11-21T00:00:00Z" };
        let mut deepest = 0;
        for depth in 100..200 {
            let nested = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            let document = format!(r#"{{"type":"deep","data":{{"k":"a","nested":{nested}}}}}"#);
            let Ok(document) = serde_json::from_str(&document) else { break };
            let event = catalog.accept(document, "", 100, defaults).unwrap();
            let position: Position = "k3:1".parse().unwrap();
            let text = event_frame(&position, &event.json);
            let delivery = Delivery::event(event.channel, position, &text);
            let Step::Event(encoded) = &delivery.step else { panic!("no event") };
            assert!(encoded.data().is_some(), "{depth}");
            deepest = depth;
        }
        assert!(deepest > 120, "{deepest}");
    }
}
