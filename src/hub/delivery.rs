//! What the relay hands to the hub: one event or gap of a channel, encoded once for everyone.

use std::sync::OnceLock;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{encoding, frame};
use crate::deflate::Deflater;
use crate::event::{ChannelId, Position};
use crate::protocol::{ServerFrame, event_frame};

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
    Gap(Lost),
}

/// A lost range as every receiver gets it.
#[derive(Debug)]
pub struct Lost {
    /// The WebSocket frame, header included.
    frame: Bytes,
    /// The JSON text.
    text: String,
    blocks: [OnceLock<Bytes>; 2],
}

/// An event as every receiver gets it.
#[derive(Debug)]
pub struct Encoded {
    /// The WebSocket frame, header included.
    pub frame: Bytes,
    /// Within `frame`: the JSON text.
    text: Bytes,
    /// Within `frame`: the event's `data`, once somebody has asked.
    data: OnceLock<Option<Bytes>>,
    deflated: OnceLock<Bytes>,
    /// As Server-Sent Events, without an id and with one.
    blocks: [OnceLock<Bytes>; 2],
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
            step: Step::Event(Encoded {
                frame,
                text,
                data: OnceLock::new(),
                deflated: OnceLock::new(),
                blocks: Default::default(),
            }),
        }
    }

    /// What it puts on the socket of one who wants it.
    pub fn frame(&self) -> Option<&Bytes> {
        match &self.step {
            Step::Known => None,
            Step::Event(event) => Some(&event.frame),
            Step::Gap(lost) => Some(&lost.frame),
        }
    }

    /// The same as a Server-Sent Event of the channel of this name.
    pub fn block(&self, name: &str, with_id: bool) -> Option<&Bytes> {
        match &self.step {
            Step::Known => None,
            Step::Event(event) => Some(
                event.blocks[usize::from(with_id)]
                    .get_or_init(|| encoding::event(name, &self.position, event.json(&self.position), with_id)),
            ),
            Step::Gap(lost) => Some(
                lost.blocks[usize::from(with_id)]
                    .get_or_init(|| encoding::gap(name, &self.position, &lost.text, with_id)),
            ),
        }
    }

    /// The bytes of its frame.
    pub fn size(&self) -> usize {
        self.frame().map_or(0, Bytes::len)
    }

    /// A range that is lost: all after `from`, up to and including `position`.
    pub fn gap(channel: ChannelId, name: &str, from: Position, position: Position) -> Self {
        let text = ServerFrame::Gap { channel: name.into(), from, position: position.clone() }.to_json();
        let lost = Lost { frame: frame::text(text.as_bytes()), text, blocks: Default::default() };
        Self { channel, position, step: Step::Gap(lost) }
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

    /// The CloudEvent within the frame.
    fn json(&self, position: &Position) -> &str {
        let text = std::str::from_utf8(&self.text).unwrap_or_default();
        let head = event_frame(position, "").len() - 1;
        text.get(head..text.len() - 1).unwrap_or_default()
    }

    /// The event's `data`, parsed: for those who look at it as a whole.
    pub fn data_value(&self) -> Option<Value> {
        serde_json::Deserializer::from_str(self.data()?).into_iter().next()?.ok()
    }

    /// The event's `data` for filters: JSON that begins with it. Looked for when the first shard asks, never where nobody
    /// filters.
    pub fn data(&self) -> Option<&str> {
        let data = self.data.get_or_init(|| {
            let text = std::str::from_utf8(&self.text).ok()?;
            let data = written_here(text).or_else(|| {
                anywhere(text)
                    .inspect_err(|error| tracing::error!(%error, "an event cannot be matched with filters"))
                    .ok()
            })?;
            Some(self.text.slice_ref(data.as_bytes()))
        });
        std::str::from_utf8(data.as_ref()?).ok()
    }
}

/// Where `data` begins in the frame of an event that a daemon wrote: without white space, and `data` after attributes that
/// are no objects. To parse all of these would cost more than all else that is done to match the event. What is found is
/// right for any JSON: a quote behind a comma begins a string, one before a colon ends a name; and where no brace stands
/// in between, the name is the event's.
fn written_here(text: &str) -> Option<&str> {
    let (before, data) = text.split_once(r#","data":"#)?;
    let braces = before.bytes().filter(|byte| *byte == b'{').count();
    (braces == 2).then_some(data)
}

/// The same for an event that somebody else wrote into the log.
fn anywhere(text: &str) -> serde_json::Result<&str> {
    #[derive(Deserialize)]
    struct Frame<'a> {
        #[serde(borrow)]
        event: Event<'a>,
    }
    #[derive(Deserialize)]
    struct Event<'a> {
        #[serde(borrow)]
        data: &'a RawValue,
    }
    serde_json::from_str(text).map(|frame: Frame<'_>| frame.event.data.get())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Catalog, Defaults};
    use serde_json::json;

    /// What filters see of an event in the log.
    fn seen(event: &str) -> Option<Value> {
        let position: Position = "k3:1".parse().unwrap();
        let text = event_frame(&position, event);
        let delivery = Delivery::event(ChannelId(0), position, &text);
        let Step::Event(encoded) = &delivery.step else { panic!("no event") };
        let mut data = serde_json::Deserializer::from_str(encoded.data()?).into_iter();
        Some(data.next()?.unwrap())
    }

    #[test]
    fn what_was_accepted_can_be_matched_however_deep_it_is() {
        let mut catalog = Catalog::builtin();
        catalog.add("deep", r#"{"type":"object"}"#).unwrap();
        let defaults = Defaults { source: "test", time: "2026-11-21T00:00:00Z" };
        let mut deepest = 0;
        for depth in 100..200 {
            let nested = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            let document = format!(r#"{{"type":"deep","data":{{"k":"a","nested":{nested}}}}}"#);
            let Ok(document) = serde_json::from_str::<Value>(&document) else { break };
            let event = catalog.validate(document.clone(), "", 100, defaults).unwrap();
            assert_eq!(seen(&event.json).as_ref(), Some(&document["data"]), "{depth}");
            deepest = depth;
        }
        assert!(deepest > 120, "{deepest}");
    }

    #[test]
    fn attributes_are_not_taken_for_data() {
        let mut catalog = Catalog::builtin();
        catalog.add("any", r#"{}"#).unwrap();
        let defaults = Defaults { source: "test", time: "2026-11-21T00:00:00Z" };
        for data in
            [json!({ "data": { "data": 1 } }), json!({ "a": 1, "data": 2 }), json!("a,\"data\":{"), json!(7), json!([])]
        {
            for subject in
                [r#","data":{"a":9}"#, r#"{"a":1,"data":9"#, r#"\","data":9"#, "{{", "{", ",\"data\":", "data"]
            {
                let document = json!({ "type": "any", "subject": subject, "data": data, "xdata": subject });
                let event = catalog.validate(document, "", 100, defaults).unwrap();
                assert_eq!(seen(&event.json).as_ref(), Some(&data), "{}", event.json);
            }
        }
    }

    #[test]
    fn what_somebody_else_wrote_into_the_log_is_read_as_it_is() {
        let data = json!({ "productId": "1" });
        for event in [
            r#"{ "type" : "t", "data" : {"productId": "1"} }"#,
            r#"{"data":{"productId":"1"},"type":"t"}"#,
            r#"{"type":"t","data":{"productId":"1"},"more":{"a":1,"data":2}}"#,
            r#"{"type":"t","more":{"a":1,"data":2},"data":{"productId":"1"}}"#,
        ] {
            assert_eq!(seen(event).as_ref(), Some(&data), "{event}");
        }
        assert_eq!(seen(r#"{"type":"t","more":{"a":1,"data":2}}"#), None);
        assert_eq!(seen("{"), None);
    }
}
