//! The protocol: WebSocket frames, close codes, and the one list of error codes, as serde types. Pure: no I/O.
//!
//! Each message is a text frame with one JSON object; the subprotocol is [`SUBPROTOCOL`]. The daemon reads
//! [`ClientFrame`] and writes [`ServerFrame`], and a client does the reverse. Both the daemon and the Rust client use
//! these types.

mod close_code;
mod error_code;
mod frame_check;
#[cfg(feature = "server")]
mod problem;
mod read;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Write};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

pub use close_code::CloseCode;
pub use error_code::ErrorCode;
#[cfg(feature = "server")]
pub use problem::Problem;
pub use read::{BadFrame, read_client_frame};

use crate::event::{JsonText, Position};
use crate::secret::Secret;

/// The name of the subprotocol (`Sec-WebSocket-Protocol`). A client may offer it, but need not.
pub const SUBPROTOCOL: &str = "tidings.v1";

/// The protocol version, which `welcome` contains.
pub const VERSION: u32 = 1;

/// The maximum length of `sub`, and of the `id` of a `sync`, in characters.
pub const MAX_SUB: usize = 64;

/// The most `sync` frames of a connection that are not answered yet.
pub const MAX_SYNCS: usize = 8;

/// A frame from a client to the daemon.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "server", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum ClientFrame {
    Subscribe(Subscribe),
    Unsubscribe(Unsubscribe),
    Sync(Sync),
    Ping(Ping),
    Auth(Auth),
}

/// Subscribes to a channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Subscribe {
    /// The subscription's name: chosen by the client, unique on its connection, 1 to 64 characters.
    #[cfg_attr(feature = "server", schemars(length(min = 1, max = MAX_SUB), example = &"s1"))]
    pub sub: String,
    /// The channel, which is the name of an event type.
    #[cfg_attr(feature = "server", schemars(example = &"order-status"))]
    pub channel: String,
    /// The filter; all events if it is absent. See [`Filter`](crate::event::Filter).
    #[serde(rename = "where", default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub filter: Option<JsonText>,
    /// Where to begin: a position or another form of [`Since`](crate::event::Since). Only new events if it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

/// Reads `null` as an (invalid) filter, and not as an absent one.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<JsonText>, D::Error> {
    JsonText::deserialize(deserializer).map(Some)
}

/// Ends a subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Unsubscribe {
    /// The subscription's name.
    #[cfg_attr(feature = "server", schemars(length(min = 1, max = MAX_SUB), example = &"s1"))]
    pub sub: String,
}

/// Asks for a proof that this connection has everything: the response is `synced`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Sync {
    /// Chosen by the client, 1 to 64 characters, not that of another `sync` of this connection without a response.
    #[cfg_attr(feature = "server", schemars(length(min = 1, max = MAX_SUB), example = &"7"))]
    pub id: String,
}

/// Requests a `pong`: for clients that cannot send a WebSocket Ping, such as browsers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Ping {}

/// Presents a credential: as the first frame of a connection whose handshake had none, or to renew the one that the
/// connection has.
#[derive(Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "server", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "server", schemars(deny_unknown_fields))]
pub struct Auth {
    /// A JSON Web Token or an API key.
    #[serde(serialize_with = "exposed")]
    #[cfg_attr(feature = "server", schemars(with = "String", length(min = 1), example = &"eyJhbGciOiJFZERTQSJ9.e30.c2lnbmF0dXJl"))]
    pub token: Secret,
}

/// Without the token.
impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").finish_non_exhaustive()
    }
}

/// Writes a secret into the frame that is meant for it.
fn exposed<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

/// A frame from the daemon to a client.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "lowercase", rename_all_fields = "camelCase")]
pub enum ServerFrame<'a> {
    /// The first frame of every connection.
    Welcome {
        /// The version of the protocol.
        #[cfg_attr(feature = "server", schemars(example = VERSION))]
        protocol: u32,
        /// The id of the connection.
        #[cfg_attr(feature = "server", schemars(example = &"01a2208d-1bdc-717d-8191-9c4f5cd9df52"))]
        session: Cow<'a, str>,
        /// The id of the node.
        #[cfg_attr(feature = "server", schemars(example = &"eu-1"))]
        node: Cow<'a, str>,
        /// The time between two heartbeats.
        #[cfg_attr(feature = "server", schemars(example = 25_000))]
        heartbeat_ms: u64,
        /// How long the credential of the connection is still valid. Absent if it has no end, or there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_in_ms: Option<u64>,
    },
    /// The response to an `auth` that renews: its credential and its grants have replaced the former ones.
    Authenticated {
        /// How long the credential is valid. Absent if it has no end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_in_ms: Option<u64>,
    },
    /// The subscription is active; its stream begins after `position`.
    Subscribed {
        #[cfg_attr(feature = "server", schemars(example = &"s1"))]
        sub: Cow<'a, str>,
        #[cfg_attr(feature = "server", schemars(example = &"order-status"))]
        channel: Cow<'a, str>,
        position: Position,
        /// Whether the stream begins at `since`, without a loss. If false, a `gap` follows. Absent without `since`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        recovered: Option<bool>,
    },
    /// An event that a subscription of the connection matches.
    // The daemon writes this frame with `event_frame`, once for all its subscribers.
    Event {
        position: Position,
        #[serde(borrow)]
        #[cfg_attr(feature = "server", schemars(with = "serde_json::Value"))]
        event: &'a RawValue,
    },
    /// The events after `from`, up to and including `position`, are lost. The stream continues after `position`.
    Gap {
        #[cfg_attr(feature = "server", schemars(example = &"order-status"))]
        channel: Cow<'a, str>,
        from: Position,
        position: Position,
    },
    /// The subscription has ended.
    Unsubscribed {
        #[cfg_attr(feature = "server", schemars(example = &"s1"))]
        sub: Cow<'a, str>,
    },
    /// Every matching event up to these positions was sent on this connection. A client may resume from them.
    Heartbeat {
        #[cfg_attr(feature = "server", schemars(extend("examples" = [{ "order-status": "k3:42" }])))]
        positions: BTreeMap<Cow<'a, str>, Position>,
    },
    /// The response to `sync`: everything that the log held of the connection's channels when the `sync` came was sent before
    /// this frame, or reported by a `gap`.
    Synced {
        /// The `id` of the `sync`.
        #[cfg_attr(feature = "server", schemars(example = &"7"))]
        id: Cow<'a, str>,
        /// For each channel of the connection: everything that matches up to here was sent.
        #[cfg_attr(feature = "server", schemars(extend("examples" = [{ "order-status": "k3:42" }])))]
        positions: BTreeMap<Cow<'a, str>, Position>,
    },
    /// The response to `ping`.
    Pong,
    /// The daemon refused a frame. The connection stays open.
    Error {
        #[cfg_attr(feature = "server", schemars(example = ErrorCode::UnknownChannel))]
        code: ErrorCode,
        /// What is wrong, for people.
        #[cfg_attr(feature = "server", schemars(example = &"there is no channel \"order-statu\" here; did you mean `order-status`?"))]
        message: Cow<'a, str>,
        /// The subscription that the frame named, if it named one.
        #[cfg_attr(feature = "server", schemars(example = &"s1"))]
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sub: Option<Cow<'a, str>>,
        /// The `id` of the `sync` that this answers.
        #[cfg_attr(feature = "server", schemars(example = &"7"))]
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<Cow<'a, str>>,
    },
    /// This node is about to stop. The client reconnects, to another node if it can, after this many milliseconds.
    Draining { reconnect_in_ms: u64 },
}

impl ServerFrame<'_> {
    /// The frame as JSON text.
    pub fn to_json(&self) -> String {
        // Strings, numbers and maps with string keys always serialize.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// What an `event` frame has around its position and its event.
const AROUND_EVENT: [&str; 3] = [r#"{"type":"event","position":""#, r#"","event":"#, "}"];

/// Where in an `event` frame the text begins that an entry of history has after its first brace:
/// `"position":…,"event":…}`.
pub const HISTORY_ENTRY: usize = r#"{"type":"event","#.len();

/// The JSON text of an `event` frame, which is the same on the WebSocket and on Redis pub/sub.
pub fn event_frame(position: &Position, event: &str) -> String {
    let mut frame = String::with_capacity(event_frame_len(position, event));
    write_event_frame(&mut frame, position, event);
    frame
}

/// Writes the JSON text of an `event` frame. The event's own text ends one byte before the end.
pub fn write_event_frame(frame: &mut impl Write, position: &Position, event: &str) {
    let [start, middle, end] = AROUND_EVENT;
    // Memory takes everything.
    let _ = frame.write_str(start);
    let _ = write!(frame, "{position}");
    let _ = [middle, event, end].into_iter().try_for_each(|part| frame.write_str(part));
}

/// The length of the JSON text of an `event` frame, in bytes.
pub fn event_frame_len(position: &Position, event: &str) -> usize {
    AROUND_EVENT.into_iter().map(str::len).sum::<usize>() + position.text_len() + event.len()
}

/// The message on Redis pub/sub with the setting `bus_message = "position"`: the log has events up to this position. It has
/// no event, so its type is not that of an `event` frame.
pub fn position_message(position: &Position) -> String {
    format!(r#"{{"type":"position","position":"{position}"}}"#)
}

/// The position of a message on Redis pub/sub that [`event_frame`] or [`position_message`] wrote. The rest of the message is
/// not checked.
pub fn bus_message_position(message: &[u8]) -> Option<Position> {
    let rest = message
        .strip_prefix(AROUND_EVENT[0].as_bytes())
        .or_else(|| message.strip_prefix(br#"{"type":"position","position":""#))?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
}

/// The HTTP statuses of a temporary failure: a client may retry the request, perhaps at another node.
pub const TEMPORARY_STATUSES: [u16; 5] = [408, 429, 502, 503, 504];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn frames_have_the_documented_json() {
        let frame = ClientFrame::Subscribe(Subscribe {
            sub: "s".into(),
            channel: "c".into(),
            filter: Some(json!({"a":1}).into()),
            since: Some("start".into()),
        });
        let text = serde_json::to_string(&frame).unwrap();
        assert_eq!(text, r#"{"type":"subscribe","sub":"s","channel":"c","where":{"a":1},"since":"start"}"#);
        assert_eq!(read_client_frame(&text), Ok(frame));
        let welcome = |expires_in_ms| {
            let (session, node) = ("s".into(), "n".into());
            ServerFrame::Welcome { protocol: 1, session, node, heartbeat_ms: 25_000, expires_in_ms }.to_json()
        };
        assert_eq!(welcome(None), r#"{"type":"welcome","protocol":1,"session":"s","node":"n","heartbeatMs":25000}"#);
        assert!(welcome(Some(60_000)).ends_with(r#""heartbeatMs":25000,"expiresInMs":60000}"#));
        let positions = [("order-status".into(), "k3:42".parse().unwrap())].into();
        let synced = ServerFrame::Synced { id: "7".into(), positions }.to_json();
        assert_eq!(synced, r#"{"type":"synced","id":"7","positions":{"order-status":"k3:42"}}"#);
        let authenticated = |expires_in_ms| ServerFrame::Authenticated { expires_in_ms }.to_json();
        assert_eq!(authenticated(Some(5)), r#"{"type":"authenticated","expiresInMs":5}"#);
        assert_eq!(authenticated(None), r#"{"type":"authenticated"}"#);
    }

    #[test]
    fn the_position_of_a_message_on_the_bus_is_read() {
        let position: Position = "k3:42".parse().unwrap();
        let frame = event_frame(&position, r#"{"id":"1"}"#);
        assert_eq!(frame, r#"{"type":"event","position":"k3:42","event":{"id":"1"}}"#);
        assert_eq!(frame.len(), event_frame_len(&position, r#"{"id":"1"}"#));
        assert_eq!(frame[HISTORY_ENTRY..], *r#""position":"k3:42","event":{"id":"1"}}"#);
        assert_eq!(bus_message_position(frame.as_bytes()), Some(position.clone()));
        let message = position_message(&position);
        assert_eq!(message, r#"{"type":"position","position":"k3:42"}"#);
        assert_eq!(bus_message_position(message.as_bytes()), Some(position));
        for other in ["", "hello", r#"{"type":"event","position":"k3"}"#, r#"{"type":"event","position":"k3:42"#] {
            assert_eq!(bus_message_position(other.as_bytes()), None, "{other}");
        }
        assert_eq!(bus_message_position(b"{\"type\":\"event\",\"position\":\"\xff:1\""), None);
    }
}
