//! The protocol's types: WebSocket frames, close codes, and the one list of error codes. No I/O.
//!
//! Text frames, one JSON object each, subprotocol [`SUBPROTOCOL`]. The daemon reads [`ClientFrame`] and writes
//! [`ServerFrame`], a client the other way round; both sides are generated from or built on what stands here.

mod error_code;
#[cfg(feature = "server")]
mod problem;

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

pub use error_code::ErrorCode;
#[cfg(feature = "server")]
pub use problem::Problem;

use crate::event::Position;

/// The subprotocol's name (`Sec-WebSocket-Protocol`); offering it is not required.
pub const SUBPROTOCOL: &str = "tidings.v1";

/// The version that `welcome` names.
pub const VERSION: u32 = 1;

/// The longest `sub`, in characters.
pub const MAX_SUB: usize = 64;

/// What a client says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum ClientFrame {
    Subscribe(Subscribe),
    Unsubscribe(Unsubscribe),
    Ping(Ping),
}

/// Asks for the events of a channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscribe {
    /// The subscription's name: chosen by the client, unique on its connection, 1 to [`MAX_SUB`] characters.
    pub sub: String,
    pub channel: String,
    /// Which of the channel's events; all where it is left out. See [`Filter`](crate::event::Filter).
    #[serde(rename = "where", default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub filter: Option<Value>,
    /// From where: a position, or what else [`Since`](crate::event::Since) says. From now on where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

/// `null` is no filter, rather than none.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Ends a subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unsubscribe {
    pub sub: String,
}

/// Asks for a `pong`; for clients that cannot send WebSocket Pings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ping {}

/// What the daemon says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", rename_all_fields = "camelCase")]
pub enum ServerFrame<'a> {
    /// The first frame of every connection.
    Welcome { protocol: u32, session: Cow<'a, str>, node: Cow<'a, str>, heartbeat_ms: u64 },
    /// A subscription stands; its stream begins after `position`.
    Subscribed {
        sub: Cow<'a, str>,
        channel: Cow<'a, str>,
        position: Position,
        /// Whether that is where `since` asked for; a `gap` follows where it is not. Absent without `since`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        recovered: Option<bool>,
    },
    /// An event. The daemon writes this frame by [`event_frame`], once for all who get it.
    Event {
        position: Position,
        #[serde(borrow)]
        event: &'a RawValue,
    },
    /// The events after `from` up to and including `position` are gone; the stream goes on after `position`.
    Gap { channel: Cow<'a, str>, from: Position, position: Position },
    /// A subscription has ended.
    Unsubscribed { sub: Cow<'a, str> },
    /// All that is subscribed and stands up to these positions, by channel, was sent on this connection.
    Heartbeat { positions: BTreeMap<Cow<'a, str>, Position> },
    /// The answer to `ping`.
    Pong,
    /// A frame was not taken; the connection stays open.
    Error {
        code: ErrorCode,
        message: Cow<'a, str>,
        /// The subscription that it is about, where there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sub: Option<Cow<'a, str>>,
    },
    /// This node is about to stop; connect again (to another) after so many milliseconds.
    Draining { reconnect_in_ms: u64 },
}

impl ServerFrame<'_> {
    /// The frame as JSON text.
    pub fn to_json(&self) -> String {
        // Strings, numbers and maps with string keys: there is nothing that could fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The `event` frame: JSON text that is the same on the WebSocket and on the broker's bus.
pub fn event_frame(position: &Position, event: &str) -> String {
    const AROUND: [&str; 3] = [r#"{"type":"event","position":""#, r#"","event":"#, "}"];
    let position = position.to_string();
    [AROUND[0], &position, AROUND[1], event, AROUND[2]].concat()
}

/// The position in an `event` frame that was written by [`event_frame`], or that looks like one: what follows is not read.
pub fn event_frame_position(frame: &[u8]) -> Option<Position> {
    let rest = frame.strip_prefix(br#"{"type":"event","position":""#)?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
}

/// Why the daemon closed a connection (RFC 6455, section 7.4, and the application's own from 4000).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum CloseCode {
    Normal = 1000,
    GoingAway = 1001,
    Protocol = 1002,
    /// A binary frame: this protocol has none.
    Unsupported = 1003,
    /// Text that is not UTF-8, or a compressed message that cannot be inflated.
    InvalidText = 1007,
    TooBig = 1009,
    /// The daemon failed; the client may resume on a new connection (RFC 6455, section 7.4.1).
    Internal = 1011,
    /// This node is about to stop.
    Draining = 1012,
    /// This node is partitioned from its broker; another may not be.
    BrokerUnavailable = 1013,
    Unauthenticated = 4001,
    Forbidden = 4003,
    /// Its token was revoked.
    Revoked = 4004,
    TokenExpired = 4005,
    /// It did not read as fast as its events came.
    SlowConsumer = 4008,
    /// Nothing came from it for two heartbeat intervals.
    HeartbeatTimeout = 4009,
}

impl CloseCode {
    /// Those that say what does not change by connecting again; after any other a client comes back.
    pub const FINAL: [Self; 5] =
        [Self::TooBig, Self::Unauthenticated, Self::Forbidden, Self::Revoked, Self::TokenExpired];

    pub fn as_u16(self) -> u16 {
        self as u16
    }

    /// Whether a connection that was closed with this code is not to be made again.
    pub fn is_final(code: u16) -> bool {
        Self::FINAL.into_iter().any(|known| known.as_u16() == code)
    }
}

/// The HTTP statuses that say "not now": who asks again, perhaps another node, may be answered.
pub const PASSING_STATUSES: [u16; 5] = [408, 429, 502, 503, 504];

/// Reads a client's frame.
///
/// # Errors
/// The code and the sentence of the `error` frame, and the `sub` that the frame named, where it did.
pub fn read_client_frame(text: &str) -> Result<ClientFrame, (ErrorCode, String, Option<String>)> {
    let value: Value =
        serde_json::from_str(text).map_err(|error| (ErrorCode::MalformedJson, error.to_string(), None))?;
    let sub = value.get("sub").and_then(Value::as_str).filter(|sub| sub.chars().count() <= MAX_SUB).map(str::to_owned);
    let Value::Object(mut members) = value else {
        return Err((ErrorCode::InvalidFrame, "a frame is a JSON object".into(), None));
    };
    let Some(Value::String(kind)) = members.shift_remove("type") else {
        return Err((ErrorCode::InvalidFrame, "a frame has a `type`, which is a string".into(), sub));
    };
    let rest = Value::Object(members);
    let read = match kind.as_str() {
        "subscribe" => serde_json::from_value(rest).map(ClientFrame::Subscribe),
        "unsubscribe" => serde_json::from_value(rest).map(ClientFrame::Unsubscribe),
        "ping" => serde_json::from_value(rest).map(ClientFrame::Ping),
        _ => {
            let message = "no such frame: this daemon knows subscribe, unsubscribe and ping".to_owned();
            return Err((ErrorCode::UnknownFrame, message, sub));
        }
    };
    let frame = read.map_err(|error| (ErrorCode::InvalidFrame, format!("{kind}: {error}"), sub.clone()))?;
    if let ClientFrame::Subscribe(Subscribe { sub: name, .. }) | ClientFrame::Unsubscribe(Unsubscribe { sub: name }) =
        &frame
        && (name.is_empty() || name.chars().count() > MAX_SUB)
    {
        return Err((ErrorCode::InvalidFrame, format!("{kind}: `sub` has 1 to {MAX_SUB} characters"), sub));
    }
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn frames_are_refused_for_what_is_wrong_with_them() {
        let code = |text: &str| read_client_frame(text).unwrap_err().0;
        assert_eq!(code("{"), ErrorCode::MalformedJson);
        assert_eq!(code("[]"), ErrorCode::InvalidFrame);
        assert_eq!(code("{}"), ErrorCode::InvalidFrame);
        assert_eq!(code(r#"{"type":7}"#), ErrorCode::InvalidFrame);
        assert_eq!(code(r#"{"type":"subcribe"}"#), ErrorCode::UnknownFrame);
        assert_eq!(code(r#"{"type":"subscribe","sub":"s"}"#), ErrorCode::InvalidFrame);
        assert_eq!(code(r#"{"type":"subscribe","sub":"s","channel":"c","were":{}}"#), ErrorCode::InvalidFrame);
        assert_eq!(code(r#"{"type":"subscribe","sub":"","channel":"c"}"#), ErrorCode::InvalidFrame);
        assert_eq!(code(r#"{"type":"ping","x":1}"#), ErrorCode::InvalidFrame);
        let long = "é".repeat(65);
        assert_eq!(code(&format!(r#"{{"type":"unsubscribe","sub":"{long}"}}"#)), ErrorCode::InvalidFrame);
    }

    #[test]
    fn frames_are_read_as_they_are_written() {
        let frame = ClientFrame::Subscribe(Subscribe {
            sub: "s".into(),
            channel: "c".into(),
            filter: Some(json!({"a":1})),
            since: Some("start".into()),
        });
        let text = serde_json::to_string(&frame).unwrap();
        assert_eq!(text, r#"{"type":"subscribe","sub":"s","channel":"c","where":{"a":1},"since":"start"}"#);
        assert_eq!(read_client_frame(&text), Ok(frame));
        let welcome = ServerFrame::Welcome { protocol: 1, session: "s".into(), node: "n".into(), heartbeat_ms: 25_000 };
        assert_eq!(
            welcome.to_json(),
            r#"{"type":"welcome","protocol":1,"session":"s","node":"n","heartbeatMs":25000}"#
        );
    }

    #[test]
    fn the_typescript_client_gives_up_and_comes_back_where_the_rust_client_does() {
        /// The numbers of a list, from the words that begin it to the bracket that ends it.
        fn numbers(source: &str, begin: &str) -> Vec<u16> {
            let (_, list) = source.split_once(begin).unwrap();
            let (list, _) = list.split_once("]);").unwrap();
            list.split(|char: char| !char.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
        }
        let frames = include_str!("../../clients/typescript/src/frames.ts");
        assert_eq!(numbers(frames, "FINAL_CLOSE_CODES"), CloseCode::FINAL.map(CloseCode::as_u16));
        let publish = include_str!("../../clients/typescript/src/publish.ts");
        assert_eq!(numbers(publish, "PASSING: ReadonlySet<number>"), PASSING_STATUSES);
    }

    #[test]
    fn an_event_frame_says_its_position() {
        let position: Position = "k3:42".parse().unwrap();
        let frame = event_frame(&position, r#"{"id":"1"}"#);
        assert_eq!(event_frame_position(frame.as_bytes()), Some(position));
        for other in ["", "hello", r#"{"type":"event","position":"k3"}"#, r#"{"type":"event","position":"k3:42"#] {
            assert_eq!(event_frame_position(other.as_bytes()), None, "{other}");
        }
        assert_eq!(event_frame_position(b"{\"type\":\"event\",\"position\":\"\xff:1\""), None);
    }
}
