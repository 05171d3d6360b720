//! One step of a channel: an event, a gap or the head of the log, encoded once for all subscribers.
//!
//! The relay makes a step of each event that comes out of the broker, a replay makes one of each event that it reads
//! from the log, and the shards write its bytes to sockets. Every encoding other than the plain WebSocket frame is made
//! when a shard first needs it, and is then shared by all shards. This module does not know subscribers or sockets.

use std::sync::OnceLock;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{encoding, frame};
use crate::deflate::Deflater;
use crate::event::{Catalog, ChannelId, Json, Position};
use crate::protocol::{HISTORY_ENTRY, ServerFrame, event_frame_len, write_event_frame};

/// One step of a channel's stream.
#[derive(Debug)]
pub struct ChannelStep {
    pub channel: ChannelId,
    /// The channel's position after this step.
    pub position: Position,
    pub kind: StepKind,
}

/// The kinds of steps.
#[derive(Debug)]
pub enum StepKind {
    /// The position of the log's head, read when the node starts. Subscribers are sent nothing.
    Known,
    Event(EncodedEvent),
    /// The events up to the position are lost. Every subscriber of the channel is sent a `gap` frame.
    Gap(EncodedGap),
}

/// A lost range in the encodings that subscribers share.
#[derive(Debug)]
pub struct EncodedGap {
    /// The WebSocket frame, header included.
    frame: Bytes,
    /// The JSON text.
    text: String,
    /// As Server-Sent Events, without an id and with one.
    sse_blocks: [OnceLock<Bytes>; 2],
}

/// An event in the encodings that subscribers share.
#[derive(Debug)]
pub struct EncodedEvent {
    /// The WebSocket frame, header included.
    pub frame: Bytes,
    /// Where the JSON text begins in `frame`.
    text: usize,
    /// Where the CloudEvent begins in `frame`; it ends before the last byte.
    json: usize,
    /// The event's `data`, a slice of `frame`; found when a filter first needs it.
    data: OnceLock<Option<Bytes>>,
    /// The compressed WebSocket frame.
    deflated: OnceLock<Bytes>,
    /// As Server-Sent Events, without an id and with one.
    sse_blocks: [OnceLock<Bytes>; 2],
}

impl ChannelStep {
    /// The head of the log, read when the node starts.
    pub fn known(channel: ChannelId, position: Position) -> Self {
        Self { channel, position, kind: StepKind::Known }
    }

    /// An event of the log. Its JSON is copied once, into the WebSocket frame. All that is sent of it is a part of that
    /// frame, or made of one.
    pub fn event(channel: ChannelId, position: Position, json: &str) -> Self {
        let len = event_frame_len(&position, json);
        let frame = frame::text_of(len, |frame| write_event_frame(frame, &position, json));
        let (text, json) = (frame.len() - len, frame.len() - 1 - json.len());
        Self {
            channel,
            position,
            kind: StepKind::Event(EncodedEvent {
                frame,
                text,
                json,
                data: OnceLock::new(),
                deflated: OnceLock::new(),
                sse_blocks: Default::default(),
            }),
        }
    }

    /// The plain WebSocket frame; `None` where there is nothing to send.
    pub fn frame(&self) -> Option<&Bytes> {
        match &self.kind {
            StepKind::Known => None,
            StepKind::Event(event) => Some(&event.frame),
            StepKind::Gap(lost) => Some(&lost.frame),
        }
    }

    /// The step as a Server-Sent Event. `catalog` has the channel's name.
    pub fn sse_block(&self, catalog: &Catalog, with_id: bool) -> Option<&Bytes> {
        let name = || &*catalog.get(self.channel).name;
        match &self.kind {
            StepKind::Known => None,
            StepKind::Event(event) => Some(
                event.sse_blocks[usize::from(with_id)]
                    .get_or_init(|| encoding::sse_event(name(), &self.position, event.json(), with_id)),
            ),
            StepKind::Gap(lost) => Some(
                lost.sse_blocks[usize::from(with_id)]
                    .get_or_init(|| encoding::sse_gap(name(), &self.position, &lost.text, with_id)),
            ),
        }
    }

    /// The event as an entry of history, without the first brace; empty if the step is no event.
    pub fn history_entry(&self) -> Bytes {
        match &self.kind {
            StepKind::Event(event) => event.frame.slice(event.text + HISTORY_ENTRY..),
            StepKind::Known | StepKind::Gap(_) => Bytes::new(),
        }
    }

    /// The size of the plain WebSocket frame, in bytes.
    pub fn size(&self) -> usize {
        self.frame().map_or(0, Bytes::len)
    }

    /// Whether it is an event, and no gap.
    pub fn is_event(&self) -> bool {
        matches!(self.kind, StepKind::Event(_))
    }

    /// A lost range: every event after `from`, up to and including `position`.
    pub fn gap(channel: ChannelId, name: &str, from: Position, position: Position) -> Self {
        let text = ServerFrame::Gap { channel: name.into(), from, position: position.clone() }.to_json();
        let lost = EncodedGap { frame: frame::text(text.as_bytes()), text, sse_blocks: Default::default() };
        Self { channel, position, kind: StepKind::Gap(lost) }
    }
}

impl EncodedEvent {
    /// The frame for connections that agreed on compression. It is the plain frame where compression makes it no
    /// smaller. The first shard that needs it compresses it. `on_compressed` is called if this call did so.
    pub fn deflated(&self, deflater: &mut Deflater, on_compressed: impl FnOnce()) -> &Bytes {
        self.deflated.get_or_init(|| match deflater.deflate(&self.frame[self.text..]) {
            Some(payload) => {
                on_compressed();
                frame::deflated_text(payload)
            }
            None => self.frame.clone(),
        })
    }

    /// The CloudEvent without the `event` frame around it.
    fn json(&self) -> &str {
        std::str::from_utf8(&self.frame[self.json..self.frame.len() - 1]).unwrap_or_default()
    }

    /// The event's `data`, parsed as a whole. Replays match their filters against it.
    pub fn data_value(&self) -> Option<Json<'_>> {
        Json::parse_logged(self.data()?).ok()
    }

    /// JSON text that begins with the event's `data`; the filter index reads no further than that. The first shard that
    /// needs it searches for it, so a channel without filters never pays for the search.
    pub fn data(&self) -> Option<&str> {
        let data = self.data.get_or_init(|| {
            let text = std::str::from_utf8(&self.frame[self.text..]).ok()?;
            let data = scan_for_data(text).or_else(|| {
                parse_for_data(text)
                    .inspect_err(|error| tracing::error!(%error, "an event in the log cannot be matched with filters"))
                    .ok()
            })?;
            Some(self.frame.slice_ref(data.as_bytes()))
        });
        std::str::from_utf8(data.as_ref()?).ok()
    }
}

/// Finds `data` in an event that a daemon wrote: no white space, and `data` after attributes that are no objects.
///
/// Parsing these attributes would cost more than the rest of matching. A result is right for any JSON: a quote after a
/// comma begins a string, and a quote before a colon ends a name. Only two braces precede it, so the name is the
/// event's.
fn scan_for_data(text: &str) -> Option<&str> {
    let (before, data) = text.split_once(r#","data":"#)?;
    let braces = before.bytes().filter(|byte| *byte == b'{').count();
    (braces == 2).then_some(data)
}

/// Finds `data` in an event that another program wrote into the log, in any valid JSON.
fn parse_for_data(text: &str) -> serde_json::Result<&str> {
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
    use crate::event::Defaults;
    use serde_json::{Value, json};

    /// The `data` that filters are given of an event in the log.
    fn data_of(event: &str) -> Option<Value> {
        let position: Position = "k3:1".parse().unwrap();
        let step = ChannelStep::event(Catalog::builtin().channel("order-status").unwrap(), position, event);
        let StepKind::Event(encoded) = &step.kind else { panic!("no event") };
        let mut data = serde_json::Deserializer::from_str(encoded.data()?).into_iter();
        Some(data.next()?.unwrap())
    }

    #[test]
    fn every_valid_event_can_be_matched_whatever_its_depth() {
        let mut catalog = Catalog::builtin();
        catalog.add("deep", r#"{"type":"object"}"#).unwrap();
        let defaults = Defaults { source: "test", time: "2026-11-21T00:00:00Z" };
        let mut deepest = 0;
        for depth in 100..200 {
            let nested = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            let document = format!(r#"{{"type":"deep","data":{{"k":"a","nested":{nested}}}}}"#);
            let Ok(document) = serde_json::from_str::<Value>(&document) else { break };
            let event = catalog.validate(document.clone().into(), "", 100, defaults).unwrap();
            assert_eq!(data_of(&event.json).as_ref(), Some(&document["data"]), "{depth}");
            deepest = depth;
        }
        assert!(deepest > 120, "{deepest}");
    }

    #[test]
    fn attributes_that_look_like_data_are_not_matched() {
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
                let event = catalog.validate(document.into(), "", 100, defaults).unwrap();
                assert_eq!(data_of(&event.json).as_ref(), Some(&data), "{}", event.json);
            }
        }
    }

    #[test]
    fn data_is_found_in_events_that_another_program_wrote() {
        let data = json!({ "productId": "1" });
        for event in [
            r#"{ "type" : "t", "data" : {"productId": "1"} }"#,
            r#"{"data":{"productId":"1"},"type":"t"}"#,
            r#"{"type":"t","data":{"productId":"1"},"more":{"a":1,"data":2}}"#,
            r#"{"type":"t","more":{"a":1,"data":2},"data":{"productId":"1"}}"#,
        ] {
            assert_eq!(data_of(event).as_ref(), Some(&data), "{event}");
        }
        assert_eq!(data_of(r#"{"type":"t","more":{"a":1,"data":2}}"#), None);
        assert_eq!(data_of("{"), None);
    }
}
