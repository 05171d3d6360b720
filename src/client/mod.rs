//! The Rust client: publish and subscribe to a tidings daemon. The command line and the tests use it, too.
//!
//! ```no_run
//! use tidings::client::{Client, Subscription, Update};
//! use tidings::event::{InventoryChange, Payload};
//!
//! # async fn example() -> Result<(), tidings::client::Error> {
//! let client = Client::new("http://127.0.0.1:7400")?;
//! let mut subscriber = client.subscribe([Subscription::to("inventory-change")]);
//! let sale = Payload::InventoryChange(InventoryChange {
//!     product_id: "123".into(),
//!     variant_id: None,
//!     old_quantity: 100,
//!     new_quantity: 95,
//!     reason: "sale".into(),
//! });
//! loop {
//!     match subscriber.next().await? {
//!         // It hears what is published from now on.
//!         Update::Subscribed { .. } => drop(client.publish(&sale).await?),
//!         Update::Event(delivery) => println!("{} {}", delivery.position, delivery.event),
//!         Update::Connected { .. } | Update::Disconnected { .. } | Update::Gap { .. } => {}
//!     }
//! }
//! # }
//! ```

mod backoff;
mod error;
mod filter;
mod streams;
mod subscriber;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::Instant;
use url::Url;

pub use error::{Error, Place, Problem};
pub use subscriber::{Delivery, Subscriber, Subscription, Update};

use crate::event::Position;
use backoff::Backoff;

/// A daemon, by its address, or the nodes of one bus, of which any will do. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    /// Of each node.
    bases: Arc<[Url]>,
    /// Counts up: which of them is asked.
    node: Arc<AtomicUsize>,
    token: Option<Arc<str>>,
    patience: Duration,
}

/// An event that the daemon has taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    pub id: String,
    #[serde(rename = "type")]
    pub event_type: String,
    pub position: Position,
    /// The event had been published before; `position` is where.
    pub duplicate: bool,
}

/// A channel of the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// Its name, which is that of its events' type.
    #[serde(rename = "type")]
    pub name: String,
    /// The URI of the schema of `data`.
    pub schema: String,
    /// Where its newest event stands.
    pub position: Position,
    /// Events that its log holds.
    pub retained: u64,
    /// Connections of this node that are subscribed.
    pub subscribers: u64,
}

/// A node of the daemon's broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    pub id: String,
    pub address: String,
    pub version: String,
    /// RFC 3339, as all times.
    pub started: String,
    pub last_heartbeat: String,
    /// As of the last heartbeat.
    pub connections: u64,
    /// `up`, `draining` or `lost`.
    pub state: String,
}

/// What [`Client::history`] is asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wanted {
    /// All where none is named.
    pub channels: Vec<String>,
    /// `where`; see [`Filter`](crate::event::Filter).
    pub filter: Option<Value>,
    /// From where: see [`Since`](crate::event::Since). From the oldest that is retained where there is none.
    pub since: Option<String>,
    /// The most events, 1,000 at most; 100 where nothing is said.
    pub limit: Option<u32>,
}

/// A part of the log.
#[derive(Debug, Clone, Deserialize)]
pub struct History {
    pub events: Vec<Recorded>,
    /// Where the next part begins.
    pub cursor: String,
    /// What is missing; empty where nothing is.
    #[serde(rename = "gap", deserialize_with = "gaps")]
    pub gaps: Vec<Gap>,
}

/// An event of the log.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Recorded {
    pub position: Position,
    /// The CloudEvent's JSON.
    pub event: Box<RawValue>,
}

/// The events after `from` up to and including `position` are gone.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Gap {
    pub channel: String,
    pub from: Position,
    pub position: Position,
}

/// `false`, or a list.
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

/// The most events of one [`Client::publish_all`].
pub const MAX_BATCH: usize = 1_000;

/// How long an answer may take. The daemon itself gives up on its broker after a few seconds.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(15);

impl Client {
    /// A client of the daemon at `url`, such as `http://127.0.0.1:7400`. Nothing is connected yet.
    ///
    /// # Errors
    /// [`Error::Url`] where that is no URL of a daemon.
    pub fn new(url: &str) -> Result<Self, Error> {
        Self::of_any([url])
    }

    /// A client of the nodes of one bus. The first is asked, and another where that does not answer or is about to stop.
    ///
    /// # Errors
    /// [`Error::Url`] where one is no URL of a daemon, or there is none.
    pub fn of_any<U: AsRef<str>>(urls: impl IntoIterator<Item = U>) -> Result<Self, Error> {
        let bases: Arc<[Url]> = urls.into_iter().map(|url| base(url.as_ref())).collect::<Result<_, _>>()?;
        if bases.is_empty() {
            return Err(Error::Url("a client needs the URL of a daemon".into()));
        }
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            .tcp_nodelay(true)
            // The WebSocket goes straight to the daemon, so that the rest does too.
            .no_proxy()
            .user_agent(concat!("tidings/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Error::Url(error.to_string()))?;
        Ok(Self { http, bases, node: Arc::default(), token: None, patience: PATIENCE })
    }

    /// Sends this token with everything.
    pub fn with_token(mut self, token: impl Into<Arc<str>>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// For how long publishing is tried again, instead of 15 s; zero tries once.
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The address of the daemon that is asked, without what may be secret in it.
    pub fn url(&self) -> String {
        error::shown(self.base(self.node()))
    }

    /// Publishes one event: a CloudEvent, or anything that serialises as one, such as a
    /// [`Payload`](crate::event::Payload).
    ///
    /// An event without an `id` gets one here, so that it is published once, however often it has to be sent.
    ///
    /// # Errors
    /// [`Error::Refused`] with what is wrong with the event; [`Error::Unreachable`] where it stays unknown whether it was
    /// taken: publishing it again with the same `id` is safe.
    pub async fn publish(&self, event: &impl Serialize) -> Result<Accepted, Error> {
        let mut event = serde_json::to_value(event).map_err(|error| self.unexpected(error.to_string()))?;
        identify(&mut event);
        let accepted = self.send(&event).await?.into_iter().next();
        accepted.ok_or_else(|| self.unexpected("it accepted no event".into()))
    }

    /// Publishes up to [`MAX_BATCH`] events, all or (where one is refused) none, in this order.
    ///
    /// Those without an `id` get one, in place: publishing the same slice again is safe.
    ///
    /// # Errors
    /// As [`Client::publish`]; the pointers of a refusal begin with the index of the event.
    pub async fn publish_all(&self, events: &mut [Value]) -> Result<Vec<Accepted>, Error> {
        events.iter_mut().for_each(identify);
        let accepted = self.send(&events).await?;
        match accepted.len() == events.len() {
            true => Ok(accepted),
            false => Err(self.unexpected(format!("it accepted {} of {} events", accepted.len(), events.len()))),
        }
    }

    /// The channels of the daemon.
    ///
    /// # Errors
    /// Where the daemon does not answer, or refuses.
    pub async fn channels(&self) -> Result<Vec<Channel>, Error> {
        #[derive(Deserialize)]
        struct Channels {
            channels: Vec<Channel>,
        }
        let answer: Channels = self.get(&["v1", "channels"], &[]).await?;
        Ok(answer.channels)
    }

    /// The nodes that share the daemon's broker, itself among them.
    ///
    /// # Errors
    /// Where the daemon does not answer, or refuses.
    pub async fn nodes(&self) -> Result<Vec<Node>, Error> {
        #[derive(Deserialize)]
        struct Nodes {
            nodes: Vec<Node>,
        }
        let answer: Nodes = self.get(&["v1", "nodes"], &[]).await?;
        Ok(answer.nodes)
    }

    /// Events that the log has.
    ///
    /// # Errors
    /// Where the daemon does not answer, or refuses what `wanted` says.
    pub async fn history(&self, wanted: &Wanted) -> Result<History, Error> {
        let mut query: Vec<(&str, String)> =
            wanted.channels.iter().map(|channel| ("channel", channel.clone())).collect();
        query.extend(wanted.filter.as_ref().map(|filter| ("where", filter.to_string())));
        query.extend(wanted.since.clone().map(|since| ("since", since)));
        query.extend(wanted.limit.map(|limit| ("limit", limit.to_string())));
        self.get(&["v1", "events"], &query).await
    }

    /// The JSON Schema of a type's `data`.
    ///
    /// # Errors
    /// Where the daemon does not answer, or has no such type.
    pub async fn schema(&self, event_type: &str) -> Result<Value, Error> {
        self.get(&["v1", "schemas", event_type], &[]).await
    }

    /// A subscriber to these channels. It connects when it is first asked for what there is.
    pub fn subscribe(&self, subscriptions: impl IntoIterator<Item = Subscription>) -> Subscriber {
        Subscriber::new(self.clone(), subscriptions.into_iter().collect())
    }

    async fn send(&self, body: &impl Serialize) -> Result<Vec<Accepted>, Error> {
        #[derive(Deserialize)]
        struct Answer {
            accepted: Vec<Accepted>,
        }
        let body = serde_json::to_vec(body).map_err(|error| self.unexpected(error.to_string()))?;
        let body = Bytes::from(body);
        let end = Instant::now() + self.patience;
        let mut backoff = Backoff::default();
        loop {
            let node = self.node();
            let url = route(self.base(node), &["v1", "events"]);
            let request = self.http.post(url).header(header::CONTENT_TYPE, "application/json");
            let error = match self.call::<Answer>(node, request.body(body.clone())).await {
                Ok(answer) => return Ok(answer.accepted),
                Err(error) => error,
            };
            let asked = match &error {
                Error::Refused(problem) => problem.retry_after.unwrap_or_default(),
                _ => Duration::ZERO,
            };
            let pause = backoff.next().max(asked);
            if !error.is_transient() || Instant::now() + pause > end {
                return Err(error);
            }
            tracing::debug!(%error, ?pause, "publishing is tried again");
            tokio::time::sleep(pause).await;
        }
    }

    /// Asks each node once, until one answers.
    async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, String)]) -> Result<T, Error> {
        let mut left = self.bases.len();
        loop {
            let node = self.node();
            let request = self.http.get(route(self.base(node), path)).query(query);
            left -= 1;
            match self.call(node, request).await {
                Err(error) if error.is_transient() && left > 0 => {}
                answer => return answer,
            }
        }
    }

    /// Sends a request to a node. Where that may be better off with another one, that is asked from then on.
    async fn call<T: DeserializeOwned>(&self, node: usize, mut request: reqwest::RequestBuilder) -> Result<T, Error> {
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let base = self.base(node);
        let answered = async {
            let answer = request.send().await.map_err(|error| Error::unreachable(base, &error))?;
            let status = answer.status();
            let retry_after = answer.headers().get(header::RETRY_AFTER).cloned();
            let body = answer.bytes().await.map_err(|error| Error::unreachable(base, &error))?;
            if !status.is_success() {
                let retry_after = retry_after.as_ref().and_then(|seconds| seconds.to_str().ok());
                return Err(Error::refused(base, status.as_u16(), retry_after, &body));
            }
            serde_json::from_slice(&body).map_err(|error| self.unexpected(error.to_string()))
        };
        let answered = answered.await;
        if let Err(error) = &answered
            && error.is_transient()
        {
            // Unless another request went there meanwhile.
            let _ = self.node.compare_exchange(node, node.wrapping_add(1), Ordering::Relaxed, Ordering::Relaxed);
        }
        answered
    }

    fn node(&self) -> usize {
        self.node.load(Ordering::Relaxed)
    }

    fn base(&self, node: usize) -> &Url {
        &self.bases[node % self.bases.len()]
    }

    fn unexpected(&self, cause: String) -> Error {
        Error::Unexpected { url: self.url(), cause }
    }
}

/// A daemon's URL, to which routes are added.
fn base(url: &str) -> Result<Url, Error> {
    let wrong = |cause: &str| Error::Url(format!("{url:?} is no daemon's URL: {cause}"));
    let mut base = Url::parse(url).map_err(|_| wrong("expected something like http://127.0.0.1:7400"))?;
    match base.scheme() {
        "http" => {}
        "https" => return Err(wrong("TLS is not supported by this version of the client; expected http://")),
        _ => return Err(wrong("expected http://HOST:PORT")),
    }
    base.set_query(None);
    base.set_fragment(None);
    Ok(base)
}

/// The URL of a route.
fn route(base: &Url, path: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    url
}

/// Gives an event an id, unless it has one or is none.
fn identify(event: &mut Value) {
    if let Some(attributes) = event.as_object_mut()
        && attributes.get("id").is_none_or(Value::is_null)
    {
        attributes.insert("id".into(), uuid::Uuid::now_v7().to_string().into());
    }
}

#[cfg(test)]
mod tests;
