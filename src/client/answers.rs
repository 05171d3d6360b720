//! What the calls of a client ask for and return, beside events that are published or received.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::event::{JsonText, Position};

/// The daemon's confirmation of a published event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Accepted {
    /// The id of the event.
    pub id: String,
    /// The type of the event, which is also the name of its channel.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The position of the event in its channel.
    pub position: Position,
    /// Whether an event with this id was published before. If so, `position` is that of the first one, and the event is
    /// not delivered again.
    pub duplicate: bool,
}

/// One channel of the daemon, as [`Client::channels`](super::Client::channels) lists it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ChannelInfo {
    /// The name of the channel, which is the type of its events.
    #[serde(rename = "type")]
    pub name: String,
    /// The URI of the JSON Schema of `data`.
    pub schema: String,
    /// The position of the newest event.
    pub position: Position,
    /// How many events the log holds. `None` if the credential grants a part of them only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retained: Option<u64>,
    /// How many connections of this node are subscribed. `None` as above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscribers: Option<u64>,
    /// Events of all nodes in a second, averaged over the last ten seconds. `None` as above, or if the daemon is older than
    /// this count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_per_second: Option<f64>,
    /// How many events were appended through this node since it started, with those of cascades. `None` as above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<u64>,
    /// How many events were published through this node whose `id` had been published before. `None` as above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplicates: Option<u64>,
    /// How many events this node refused, for a mistake or a missing grant. `None` as above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<u64>,
}

/// One node of the cluster, as [`Client::nodes`](super::Client::nodes) lists it. Times are in RFC 3339.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct NodeInfo {
    /// The id of the node.
    pub id: String,
    /// The address at which the node listens.
    pub address: String,
    /// The version of tidings.
    pub version: String,
    /// When the node started.
    pub started: String,
    /// When the node wrote its last heartbeat.
    pub last_heartbeat: String,
    /// How many WebSocket connections the node had at its last heartbeat.
    pub connections: u64,
    /// `up`, `draining` or `lost`.
    pub state: String,
}

/// One connection to the node, as [`Client::connections`](super::Client::connections) lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// The id of the connection: the `session` of its `welcome` frame.
    pub id: String,
    /// `websocket`, `sse` or `long-poll`.
    pub transport: String,
    /// The client's address, with its port where the node knows it.
    pub address: String,
    /// The name that the client's credential gives it.
    pub principal: Option<String>,
    /// The namespace of its events.
    pub namespace: String,
    /// When the connection began, in RFC 3339.
    pub since: String,
    /// How many subscriptions it has.
    pub subscriptions: u64,
    /// How many bytes wait in its send buffer.
    pub buffered_bytes: u64,
    /// How many events it was sent.
    pub delivered: u64,
}

/// Which credentials [`Client::revoke`](super::Client::revoke) ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub enum Revocation {
    /// The token with this claim `jti`.
    Token {
        /// The claim.
        jti: String,
    },
    /// The tokens with this claim `sub`. Tokens that are issued later are good.
    Subject {
        /// The claim.
        sub: String,
        /// In seconds since 1970: only tokens that were issued before, or in the same second. `None` means now.
        #[serde(skip_serializing_if = "Option::is_none")]
        issued_before: Option<i64>,
    },
    /// The API key with this id, which is the part between `tdg_` and the last `_`.
    Key {
        /// The id. Not the key itself.
        key: String,
    },
}

/// What [`Client::history`](super::Client::history) reads: `HistoryQuery::default().channel("order-status").since("10m")`.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct HistoryQuery {
    /// The channels to read. Empty means all of them.
    pub channels: Vec<String>,
    /// Only events that match this filter (`where`); see [`Filter`](crate::event::Filter).
    pub filter: Option<JsonText>,
    /// Where to begin; see [`Since`](crate::event::Since). `None` means the oldest retained event.
    pub since: Option<String>,
    /// The most events to return: at most 1,000. `None` means 100.
    pub limit: Option<u32>,
}

impl HistoryQuery {
    /// Adds a channel to read.
    pub fn channel(mut self, name: impl Into<String>) -> Self {
        self.channels.push(name.into());
        self
    }

    /// Returns only events that match this filter.
    pub fn filter(mut self, filter: impl Into<JsonText>) -> Self {
        self.filter = Some(filter.into());
        self
    }

    /// Begins at this position, cursor, time or age.
    pub fn since(mut self, since: impl Into<String>) -> Self {
        self.since = Some(since.into());
        self
    }

    /// Returns at most this many events (1,000 at most).
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = Some(limit);
        self
    }
}

/// One page of the log, as [`Client::history`](super::Client::history) returns it.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct History {
    /// The events, in order within each channel.
    pub events: Vec<LoggedEvent>,
    /// The `since` of the next page.
    pub cursor: String,
    /// The ranges that the log no longer has. Empty if nothing is missing.
    #[serde(rename = "gap", deserialize_with = "gaps")]
    pub gaps: Vec<Gap>,
}

/// One page of newest events, as [`Client::latest_list`](super::Client::latest_list) returns it.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct LatestList {
    /// The newest events of some subjects, in the order of the log.
    pub events: Vec<LoggedEvent>,
    /// The `cursor` of the next page.
    pub cursor: Position,
    /// Whether there may be further events.
    pub more: bool,
    /// The log of the `cursor` that was sent is lost: this page begins anew, and what earlier pages had does not count. Empty if
    /// it is not.
    #[serde(rename = "gap", deserialize_with = "gaps")]
    pub gaps: Vec<Gap>,
}

/// One event of the log.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[non_exhaustive]
pub struct LoggedEvent {
    /// The position of the event in its channel.
    pub position: Position,
    /// The CloudEvent as JSON.
    pub event: Box<RawValue>,
}

/// A range that the log no longer has: the events after `from`, up to and including `position`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Gap {
    /// The channel of the lost events.
    pub channel: String,
    /// The last position before the gap.
    pub from: Position,
    /// The last position of the gap.
    pub position: Position,
}

/// Reads the member `gap`, which is `false` or a list.
fn gaps<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Gap>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Gaps {
        None(#[expect(dead_code, reason = "it is always false")] bool),
        Some(Vec<Gap>),
    }
    Ok(match Gaps::deserialize(deserializer)? {
        Gaps::None(_) => Vec::new(),
        Gaps::Some(gaps) => gaps,
    })
}
