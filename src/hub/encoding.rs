//! The encodings of a connection: WebSocket frames, plain or compressed, or Server-Sent Events.
//!
//! This module turns the daemon's frames into the bytes of an encoding. An event's bytes are the same for all
//! connections of an encoding, so [`ChannelStep`](super::ChannelStep) calls it once for them. It does not know which
//! connection gets what.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::frame;
use crate::event::{Cursor, Position};
use crate::protocol::{CloseCode, ServerFrame};

/// The encoding in which frames are written to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// WebSocket frames. With `deflate`, events are compressed (RFC 7692).
    WebSocket { deflate: bool },
    /// Server-Sent Events in the chunks of an HTTP/1.1 body. With several channels, an event's `id` is a cursor over
    /// all of them. It differs between connections.
    Events { channels: u16 },
}

/// The shortest `retry` of a drain, in milliseconds. EventSource keeps it for every later attempt, without a backoff of its
/// own: without a pause, it would storm a node that is down.
const MIN_RETRY_MS: u64 = 500;
/// The last chunk of a body (RFC 9112, section 7.1).
const END: &[u8] = b"0\r\n\r\n";

impl Encoding {
    /// Encodes a frame that carries no event; `None` where Server-Sent Events have no counterpart of it.
    pub fn encode(self, frame: &ServerFrame<'_>) -> Option<Bytes> {
        match (self, frame) {
            (Self::WebSocket { .. }, frame) => Some(frame::server(frame)),
            (Self::Events { channels }, ServerFrame::Gap { channel, position, .. }) => {
                Some(sse_gap(channel, position, &frame.to_json(), channels == 1))
            }
            // The time that EventSource waits before it connects again.
            (Self::Events { .. }, ServerFrame::Draining { reconnect_in_ms }) => {
                Some(chunk(&format!("retry: {}\n\n", MIN_RETRY_MS + reconnect_in_ms)))
            }
            (Self::Events { .. }, ServerFrame::Heartbeat { positions }) => Some(sse_heartbeat(positions)),
            (Self::Events { .. }, _) => None,
        }
    }

    /// The bytes that end the stream in order: a Close frame, or the last chunk of the body.
    pub fn close(self, code: CloseCode, reason: &str) -> Bytes {
        match self {
            Self::WebSocket { .. } => frame::close(code, reason),
            Self::Events { .. } => Bytes::from_static(END),
        }
    }
}

/// An event as a Server-Sent Event.
pub fn sse_event(channel: &str, position: &Position, json: &str, with_id: bool) -> Bytes {
    block(channel, channel, position, json, with_id)
}

/// A lost range as a Server-Sent Event.
pub fn sse_gap(channel: &str, position: &Position, json: &str, with_id: bool) -> Bytes {
    block("gap", channel, position, json, with_id)
}

fn block(kind: &str, channel: &str, position: &Position, json: &str, with_id: bool) -> Bytes {
    let id = if with_id { format!("id: {channel}={position}\n") } else { String::new() };
    // Another program may have written an event of several lines into the log.
    let data = json.split(['\n', '\r']).map(|line| format!("data: {line}\n")).collect::<String>();
    chunk(&format!("{id}event: {kind}\n{data}\n"))
}

/// The `id` line of the block that follows.
pub fn sse_id(cursor: &Cursor) -> Bytes {
    chunk(&format!("id: {cursor}\n"))
}

/// A comment, and an `id` without an event. The `id` moves EventSource's last id past the events that a filter held
/// back.
fn sse_heartbeat(positions: &BTreeMap<std::borrow::Cow<'_, str>, Position>) -> Bytes {
    let cursor = positions.iter().map(|(channel, position)| (channel.to_string(), position.clone())).collect();
    chunk(&format!(": heartbeat\nid: {}\n\n", Cursor(cursor)))
}

fn chunk(text: &str) -> Bytes {
    format!("{:x}\r\n{text}\r\n", text.len()).into()
}
