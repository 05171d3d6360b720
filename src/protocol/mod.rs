//! The protocol: WebSocket frames, close codes, and the one list of error codes, as serde types. Pure: no I/O.
//!
//! Each message is a text frame with one JSON object; the subprotocol is [`SUBPROTOCOL`]. The daemon reads
//! [`ClientFrame`] and writes [`ServerFrame`], and a client does the reverse. Both the daemon and the Rust client use
//! these types.

mod error_code;
mod frame_check;
#[cfg(feature = "server")]
mod problem;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Write};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

pub use error_code::ErrorCode;
#[cfg(feature = "server")]
pub use problem::Problem;

use crate::event::{Json, JsonText, Position};
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
    pub sub: String,
    /// The channel, which is the name of an event type.
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
    pub sub: String,
}

/// Asks for a proof that this connection has everything: the response is `synced`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Sync {
    /// Chosen by the client, 1 to 64 characters, not that of another `sync` of this connection without a response.
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
    #[cfg_attr(feature = "server", schemars(with = "String"))]
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
        protocol: u32,
        session: Cow<'a, str>,
        node: Cow<'a, str>,
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
        sub: Cow<'a, str>,
        channel: Cow<'a, str>,
        position: Position,
        /// Whether the stream begins at `since`, without a loss. If false, a `gap` follows. Absent without `since`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        recovered: Option<bool>,
    },
    /// An event. The daemon writes this frame with [`event_frame`], once for all its subscribers.
    Event {
        position: Position,
        #[serde(borrow)]
        #[cfg_attr(feature = "server", schemars(with = "serde_json::Value"))]
        event: &'a RawValue,
    },
    /// The events after `from`, up to and including `position`, are lost. The stream continues after `position`.
    Gap { channel: Cow<'a, str>, from: Position, position: Position },
    /// The subscription has ended.
    Unsubscribed { sub: Cow<'a, str> },
    /// Every matching event up to these positions was sent on this connection. A client may resume from them.
    Heartbeat { positions: BTreeMap<Cow<'a, str>, Position> },
    /// The response to `sync`: everything that the log held of the connection's channels when the `sync` came was sent before
    /// this frame, or reported by a `gap`.
    Synced {
        /// The `id` of the `sync`.
        id: Cow<'a, str>,
        /// For each channel of the connection: everything that matches up to here was sent.
        positions: BTreeMap<Cow<'a, str>, Position>,
    },
    /// The response to `ping`.
    Pong,
    /// The daemon refused a frame. The connection stays open.
    Error {
        code: ErrorCode,
        message: Cow<'a, str>,
        /// The subscription that the frame named, if it named one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sub: Option<Cow<'a, str>>,
        /// The `id` of the `sync` that this answers.
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

/// Why the daemon closed a connection (RFC 6455, section 7.4, and the application's own from 4000).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum CloseCode {
    Normal = 1000,
    GoingAway = 1001,
    Protocol = 1002,
    /// The client sent a binary frame, which this protocol does not have.
    Unsupported = 1003,
    /// The client sent text that is not UTF-8, or a compressed message that cannot be inflated.
    InvalidText = 1007,
    TooBig = 1009,
    /// The daemon failed; the client may resume on a new connection (RFC 6455, section 7.4.1).
    Internal = 1011,
    /// This node is about to stop.
    Draining = 1012,
    /// This node is partitioned from its broker. Another node may still reach it.
    BrokerUnavailable = 1013,
    /// The client sent no credential in time, or one that is not accepted.
    Unauthenticated = 4001,
    /// The client sent a valid credential of somebody else on a connection that had one.
    Forbidden = 4003,
    /// The client's credential was revoked.
    Revoked = 4004,
    /// The client's token has expired and was not renewed. A client that can get a new one reconnects with it.
    TokenExpired = 4005,
    /// The client read more slowly than its events arrived, and its send buffer overflowed.
    SlowConsumer = 4008,
    /// The client sent nothing for two heartbeat intervals.
    HeartbeatTimeout = 4009,
    /// The client sent more frames than it may in that time.
    RateLimited = 4029,
}

impl CloseCode {
    /// All close codes, in the order of their numbers.
    pub const ALL: [Self; 16] = [
        Self::Normal,
        Self::GoingAway,
        Self::Protocol,
        Self::Unsupported,
        Self::InvalidText,
        Self::TooBig,
        Self::Internal,
        Self::Draining,
        Self::BrokerUnavailable,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::Revoked,
        Self::TokenExpired,
        Self::SlowConsumer,
        Self::HeartbeatTimeout,
        Self::RateLimited,
    ];

    /// The codes after which a client does not reconnect with the same token, because the cause would remain.
    pub const FINAL: [Self; 5] =
        [Self::TooBig, Self::Unauthenticated, Self::Forbidden, Self::Revoked, Self::TokenExpired];

    /// The code's name in the generated clients, in camel case.
    pub fn name(self) -> String {
        let name = format!("{self:?}");
        name[..1].to_lowercase() + &name[1..]
    }

    /// The code as a number.
    pub fn as_u16(self) -> u16 {
        self as u16
    }

    /// Whether a client must not reconnect after this code. See [`CloseCode::FINAL`].
    pub fn is_final(code: u16) -> bool {
        Self::FINAL.into_iter().any(|known| known.as_u16() == code)
    }
}

/// The HTTP statuses of a temporary failure: a client may retry the request, perhaps at another node.
pub const TEMPORARY_STATUSES: [u16; 5] = [408, 429, 502, 503, 504];

/// A client's frame that cannot be read: what the `error` frame says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadFrame {
    pub code: ErrorCode,
    pub message: String,
    /// The `sub` that the frame named.
    pub sub: Option<String>,
    /// The `id` of a `sync`.
    pub id: Option<String>,
}

/// Parses a frame from a client.
///
/// # Errors
/// [`BadFrame`].
pub fn read_client_frame(text: &str) -> Result<ClientFrame, BadFrame> {
    let bad = |code, message: &str| BadFrame { code, message: message.into(), sub: None, id: None };
    let value = Json::parse(text).map_err(|error| bad(ErrorCode::MalformedJson, &error.to_string()))?;
    let name = |member: &str| {
        value.get(member).and_then(Json::as_str).filter(|name| name.chars().count() <= MAX_SUB).map(str::to_owned)
    };
    let is_sync = value.get("type").and_then(Json::as_str) == Some("sync");
    let (sub, id) = (name("sub"), name("id").filter(|_| is_sync));
    let bad = |code, message: &str| BadFrame { sub: sub.clone(), id: id.clone(), ..bad(code, message) };
    let Json::Object(mut members) = value else {
        return Err(bad(ErrorCode::InvalidFrame, "a frame must be a JSON object"));
    };
    let kind = members.iter().position(|(name, _)| name == "type").map(|index| members.remove(index).1);
    let Some(Json::String(kind)) = kind else {
        let message = "a frame must have a `type`: subscribe, unsubscribe, sync, ping or auth";
        return Err(bad(ErrorCode::InvalidFrame, message));
    };
    frame_check::check(&kind, &members).map_err(|(code, message)| bad(code, &message))?;
    if kind == "auth" {
        // Taken from here, so that no second text has the token.
        let token = members.into_iter().find_map(|(name, value)| match value {
            Json::String(token) if name == "token" => Some(token.into_owned()),
            _ => None,
        });
        return Ok(ClientFrame::Auth(Auth { token: token.unwrap_or_default().into() }));
    }
    let rest = Json::Object(members).to_string();
    let read = match kind.as_ref() {
        "subscribe" => serde_json::from_str(&rest).map(ClientFrame::Subscribe),
        "unsubscribe" => serde_json::from_str(&rest).map(ClientFrame::Unsubscribe),
        "sync" => serde_json::from_str(&rest).map(ClientFrame::Sync),
        _ => serde_json::from_str(&rest).map(ClientFrame::Ping),
    };
    let frame = read.map_err(|error| {
        // The place is one in `rest`, which the client did not write.
        let message = error.to_string();
        let message = message.rsplit_once(" at line ").map_or(&*message, |(message, _)| message);
        bad(ErrorCode::InvalidFrame, &format!("{kind}: {message}"))
    })?;
    let (member, name) = match &frame {
        ClientFrame::Subscribe(Subscribe { sub, .. }) | ClientFrame::Unsubscribe(Unsubscribe { sub }) => ("sub", sub),
        ClientFrame::Sync(Sync { id }) => ("id", id),
        ClientFrame::Ping(_) | ClientFrame::Auth(_) => return Ok(frame),
    };
    if name.is_empty() || name.chars().count() > MAX_SUB {
        return Err(bad(ErrorCode::InvalidFrame, &format!("/{member}: must have 1 to {MAX_SUB} characters")));
    }
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_kind_of_invalid_frame_has_its_error_code() {
        let code = |text: &str| read_client_frame(text).unwrap_err().code;
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
        assert_eq!(code(&format!(r#"{{"type":"sync","id":"{long}"}}"#)), ErrorCode::InvalidFrame);
        assert_eq!(code(r#"{"type":"sync","id":""}"#), ErrorCode::InvalidFrame);
        assert_eq!(code(r#"{"type":"sync"}"#), ErrorCode::InvalidFrame);
        let named = |text: &str| read_client_frame(text).map_err(|bad| (bad.sub, bad.id)).unwrap_err();
        assert_eq!(named(r#"{"type":"sync","id":"7","x":1}"#), (None, Some("7".into())));
        assert_eq!(named(r#"{"type":"subscribe","sub":"s","id":"7"}"#), (Some("s".into()), None));
    }

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
    fn an_auth_frame_is_read_and_its_token_is_shown_nowhere() {
        let frame = ClientFrame::Auth(Auth { token: "s3cret".into() });
        let text = serde_json::to_string(&frame).unwrap();
        assert_eq!(text, r#"{"type":"auth","token":"s3cret"}"#);
        assert_eq!(format!("{frame:?}"), "Auth(Auth { .. })");
        assert!(read_client_frame(&text) == Ok(frame));
        for text in [
            r#"{"type":"auth"}"#,
            r#"{"type":"auth","token":["s3cret"]}"#,
            r#"{"type":"auth","token":{"s3cret":1}}"#,
            r#"{"type":"auth","token":"s3cret","sub":"x"}"#,
        ] {
            let BadFrame { code, message, .. } = read_client_frame(text).unwrap_err();
            assert_eq!(code, ErrorCode::InvalidFrame, "{text}");
            assert!(!message.contains("s3cret"), "{message}");
        }
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
