//! The encodings in which a connection is written to: WebSocket frames, compressed ones, or Server-Sent Events.
//!
//! What is the same for everyone of a encoding is encoded once ([`Delivery`](super::Delivery)); here stands what differs.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::frame;
use crate::event::{Cursor, Position};
use crate::protocol::{CloseCode, ServerFrame};

/// How a connection is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// WebSocket frames, events compressed (RFC 7692) where that was agreed.
    WebSocket { deflate: bool },
    /// Server-Sent Events in the chunks of an HTTP/1.1 body. With several channels, each event's `id` is a cursor that only
    /// its connection knows.
    Events { channels: u16 },
}

/// The last chunk of a body (RFC 9112, section 7.1).
const END: &[u8] = b"0\r\n\r\n";

impl Encoding {
    /// A frame that is not an event's; nothing where the encoding has no such thing.
    pub fn said(self, said: &ServerFrame<'_>) -> Option<Bytes> {
        match (self, said) {
            (Self::WebSocket { .. }, said) => Some(frame::server(said)),
            (Self::Events { channels }, ServerFrame::Gap { channel, position, .. }) => {
                Some(gap(channel, position, &said.to_json(), channels == 1))
            }
            // Where EventSource is to wait before it connects again.
            (Self::Events { .. }, ServerFrame::Draining { reconnect_in_ms }) => {
                Some(chunk(&format!("retry: {reconnect_in_ms}\n\n")))
            }
            (Self::Events { .. }, ServerFrame::Heartbeat { positions }) => Some(heartbeat(positions)),
            (Self::Events { .. }, _) => None,
        }
    }

    /// What ends the stream in good order.
    pub fn close(self, code: CloseCode, reason: &str) -> Bytes {
        match self {
            Self::WebSocket { .. } => frame::close(code, reason),
            Self::Events { .. } => Bytes::from_static(END),
        }
    }
}

/// An event of a channel.
pub fn event(channel: &str, position: &Position, json: &str, with_id: bool) -> Bytes {
    block(channel, channel, position, json, with_id)
}

/// A lost range of a channel.
pub fn gap(channel: &str, position: &Position, json: &str, with_id: bool) -> Bytes {
    block("gap", channel, position, json, with_id)
}

fn block(kind: &str, channel: &str, position: &Position, json: &str, with_id: bool) -> Bytes {
    let id = if with_id { format!("id: {channel}={position}\n") } else { String::new() };
    // The log may have events that somebody else wrote into it, over several lines.
    let data = json.split(['\n', '\r']).map(|line| format!("data: {line}\n")).collect::<String>();
    chunk(&format!("{id}event: {kind}\n{data}\n"))
}

/// The `id` of the block that follows.
pub fn id(cursor: &Cursor) -> Bytes {
    chunk(&format!("id: {cursor}\n"))
}

/// A comment; and an `id` without an event, which moves EventSource's last id past what a filter kept back.
fn heartbeat(positions: &BTreeMap<std::borrow::Cow<'_, str>, Position>) -> Bytes {
    let cursor = positions.iter().map(|(channel, position)| (channel.to_string(), position.clone())).collect();
    chunk(&format!(": heartbeat\nid: {}\n\n", Cursor(cursor)))
}

fn chunk(text: &str) -> Bytes {
    format!("{:x}\r\n{text}\r\n", text.len()).into()
}
