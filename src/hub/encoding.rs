//! The encodings of a connection: WebSocket frames, plain or compressed, or Server-Sent Events.
//!
//! This module turns the daemon's frames into the bytes of an encoding. Most encodings give an event the same bytes for all
//! their connections ([`Encoding::is_shared`]), so [`ChannelStep`](super::ChannelStep) keeps them. For the others it keeps
//! the common block, to which the shard gives the connection's id and framing. This module does not know which connection
//! gets what.

use std::borrow::Cow;
use std::fmt::Write;

use bytes::{Bytes, BytesMut};

use super::frame;
use crate::event::Position;
use crate::protocol::{CloseCode, ServerFrame};

/// The encoding in which frames are written to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// WebSocket frames. With `deflate`, events are compressed (RFC 7692).
    WebSocket { deflate: bool },
    /// Server-Sent Events. With several channels, an event's `id` is a cursor over all of them. It differs between
    /// connections. `chunked` is false for HTTP/1.0, whose body ends with the connection.
    Events { channels: u16, chunked: bool },
}

/// The shortest `retry` of a drain, in milliseconds. EventSource keeps it for every later attempt, without a backoff of its
/// own: without a pause, it would storm a node that is down.
const MIN_RETRY_MS: u64 = 500;
/// The last chunk of a body (RFC 9112, section 7.1).
const END: &str = "0\r\n\r\n";

impl Encoding {
    /// Encodes a frame that carries no event; `None` where Server-Sent Events have no counterpart of it.
    pub fn encode(self, frame: &ServerFrame<'_>) -> Option<Bytes> {
        let Self::Events { channels, .. } = self else {
            return Some(frame::server(frame));
        };
        let chunk = match frame {
            ServerFrame::Gap { channel, position, .. } => {
                let (block, end) = (sse_gap(channel, position, &frame.to_json(), channels == 1), sse_id(None));
                let parts = if channels == 1 { vec![block] } else { vec![block, end] };
                return Some(parts.into_iter().map(|part| self.framed(part)).collect::<Vec<_>>().concat().into());
            }
            // No empty line follows: a client takes `retry` when it reads the line.
            ServerFrame::Draining { reconnect_in_ms } => sse_retry(MIN_RETRY_MS + reconnect_in_ms),
            _ => return None,
        };
        Some(self.framed(chunk))
    }

    /// What tells an event stream's client why its stream ends. A WebSocket's client is told by the Close.
    pub fn error(self, error: &ServerFrame<'_>) -> Option<Bytes> {
        let Self::Events { .. } = self else { return None };
        Some(self.framed(chunk(&["event: error\ndata: ", &data_lines(&error.to_json()), "\n\n"])))
    }

    /// A chunk in the framing of the connection's body.
    pub fn framed(self, chunk: Bytes) -> Bytes {
        match self {
            Self::Events { chunked: false, .. } => without_chunk(&chunk),
            _ => chunk,
        }
    }

    /// Whether its events' bytes are the same for all connections of the encoding.
    pub fn is_shared(self) -> bool {
        matches!(self, Self::WebSocket { .. } | Self::Events { channels: 1, chunked: true })
    }

    /// The bytes that end the stream in order: a Close frame, or the reason and the last chunk of the body.
    ///
    /// No empty line follows the reason, so that a client which keeps to the standard reports no message. The PyPI
    /// package `sseclient` does not decode chunks. Without the reason, it would report the last chunk as an empty message.
    pub fn close(self, code: CloseCode, reason: &str) -> Bytes {
        let Self::Events { chunked, .. } = self else {
            return frame::close(code, reason);
        };
        let data = serde_json::json!({ "type": "closed", "code": code.as_u16(), "reason": reason });
        let text = format!("event: closed\ndata: {data}\n");
        match chunked {
            true => [chunk(&[&text]), END.into()].concat().into(),
            false => text.into(),
        }
    }
}

/// An event as a Server-Sent Event. Without an id, [`sse_id`] must follow.
pub fn sse_event(channel: &str, position: &Position, json: &str, with_id: bool) -> Bytes {
    block(channel, channel, position, json, with_id)
}

/// A lost range as a Server-Sent Event. Without an id, [`sse_id`] must follow.
pub fn sse_gap(channel: &str, position: &Position, json: &str, with_id: bool) -> Bytes {
    block("gap", channel, position, json, with_id)
}

/// The id is the block's last line. npm's `fetch-event-source` takes an id when it reads the line: if the connection broke
/// between an id and its event, that client would resume after an event that it never got.
fn block(kind: &str, channel: &str, position: &Position, json: &str, with_id: bool) -> Bytes {
    let (data, position) = (data_lines(json), position.to_string());
    let event = ["event: ", kind, "\ndata: ", &data, "\n"];
    match with_id {
        true => chunk(&[&event[..], &["id: ", channel, "=", &position, "\n\n"]].concat()),
        false => chunk(&event),
    }
}

/// JSON as the value of `data`: with a field for each of its lines. Nearly all is one line and is not copied; another
/// program may have written an event of several lines into the log.
///
/// Escapes the characters that Unicode, but not the standard of Server-Sent Events, counts as the end of a line. Python
/// splits lines there, and with it the PyPI package `sseclient`. In JSON they stand within strings only.
fn data_lines(json: &str) -> Cow<'_, str> {
    const SEPARATORS: [(char, &str); 3] = [('\u{85}', "\\u0085"), ('\u{2028}', "\\u2028"), ('\u{2029}', "\\u2029")];
    let mut data = Cow::from(json);
    if memchr::memchr2(b'\n', b'\r', json.as_bytes()).is_some() {
        data = json.split(['\n', '\r']).collect::<Vec<_>>().join("\ndata: ").into();
    }
    if !json.is_ascii() {
        for (separator, escaped) in SEPARATORS.into_iter().filter(|(separator, _)| json.contains(*separator)) {
            data = data.replace(separator, escaped).into();
        }
    }
    data
}

/// The end of a block without an id: the id and the empty line. `None` ends the block without an id.
pub fn sse_id(cursor: Option<&str>) -> Bytes {
    match cursor {
        Some(cursor) => chunk(&["id: ", cursor, "\n\n"]),
        None => chunk(&["\n"]),
    }
}

/// The time that the client waits before it reconnects.
pub fn sse_retry(milliseconds: u64) -> Bytes {
    chunk(&["retry: ", &milliseconds.to_string(), "\n"])
}

/// A heartbeat: a comment. No empty line follows: several clients would report the end of an empty block as a message.
pub fn sse_heartbeat() -> Bytes {
    chunk(&[": heartbeat\n"])
}

/// Moves the client's last id without an event of a channel.
///
/// It has a name and `data`. npm's `eventsource` and `event-source-polyfill` take no id of a block without data, and other
/// clients report such a block as an empty message.
pub fn sse_cursor(cursor: &str) -> Bytes {
    chunk(&["event: cursor\ndata: {\"type\":\"cursor\"}\nid: ", cursor, "\n\n"])
}

/// A chunk of these parts. Each part is copied once.
fn chunk(parts: &[&str]) -> Bytes {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let digits = len.checked_ilog(16).unwrap_or_default() as usize + 1;
    // Exactly as many bytes as are needed: then `freeze` allocates nothing more.
    let mut chunk = BytesMut::with_capacity(digits + len + 4);
    // Memory takes everything.
    let _ = write!(chunk, "{len:x}\r\n");
    parts.iter().for_each(|part| chunk.extend_from_slice(part.as_bytes()));
    chunk.extend_from_slice(b"\r\n");
    chunk.freeze()
}

/// The text of one chunk.
fn without_chunk(chunk: &Bytes) -> Bytes {
    let start = chunk.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    chunk.slice(start..chunk.len() - 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data_of(json: &str) -> String {
        let block = sse_event("c", &"k3:42".parse().unwrap(), json, true);
        let chunk = String::from_utf8(block.to_vec()).unwrap();
        let (len, text) = chunk.split_once("\r\n").unwrap();
        let text = text.strip_suffix("\r\n").unwrap();
        assert_eq!(usize::from_str_radix(len, 16), Ok(text.len()));
        text.strip_prefix("event: c\n").unwrap().strip_suffix("id: c=k3:42\n\n").unwrap().to_owned()
    }

    #[test]
    fn each_line_of_an_event_is_a_field_and_no_character_within_looks_like_the_end_of_one() {
        assert_eq!(data_of(r#"{"a":"é"}"#), "data: {\"a\":\"é\"}\n");
        assert_eq!(data_of("{\n\"a\":1\r\n}"), "data: {\ndata: \"a\":1\ndata: \ndata: }\n");
        assert_eq!(data_of("[\"\u{85}\u{2028}\",\n\"\u{2029}\"]"), "data: [\"\\u0085\\u2028\",\ndata: \"\\u2029\"]\n");
    }

    #[test]
    fn a_chunk_has_room_for_exactly_its_bytes() {
        for len in [1, 15, 16, 255, 256, 65_535, 65_536] {
            let text = "x".repeat(len);
            assert_eq!(chunk(&[&text, ""]), format!("{len:x}\r\n{text}\r\n"));
        }
    }
}
