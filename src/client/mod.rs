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
//!         Update::Connected { .. } | Update::Disconnected { .. } | Update::Delayed { .. } | Update::Gap { .. } => {}
//!     }
//! }
//! # }
//! ```

mod backoff;
mod error;
mod filter;
mod publish;
mod streams;
mod subscriber;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::header;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::timeout;
use url::Url;

pub use error::{Error, Place, Problem};
pub use publish::MAX_BATCH;
pub use subscriber::{Delivery, Subscriber, Subscription, Update};

use crate::event::Position;

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

/// How long a daemon may take until it answers: it gives up on its broker itself before that.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the whole of an answer may take, which may be long.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Less than for an answer, so that it is known that nothing was sent.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

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
        Ok(Self { http, bases, node: Arc::default(), token: None, patience: publish::PATIENCE })
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

    /// Asks each node once, until one answers.
    async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, String)]) -> Result<T, Error> {
        let mut node = self.node();
        let last = node.wrapping_add(self.bases.len() - 1);
        loop {
            let request = self.http.get(route(self.base(node), path)).query(query);
            match self.call(node, request, ANSWER_TIMEOUT).await {
                Err(error) if error.is_transient() && node != last => node = node.wrapping_add(1),
                answer => return answer,
            }
        }
    }

    /// Sends a request to a node, which has `limit` to begin its answer. Where that may be better off with another one,
    /// that is asked from then on.
    async fn call<T: DeserializeOwned>(
        &self,
        node: usize,
        mut request: reqwest::RequestBuilder,
        limit: Duration,
    ) -> Result<T, Error> {
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let base = self.base(node);
        let answered = async {
            let answer = match timeout(limit, request.send()).await {
                Ok(answer) => answer.map_err(|error| Error::unreachable(base, &error, !error.is_connect()))?,
                Err(_) => {
                    let cause = format!("no answer within {limit:.1?}");
                    return Err(Error::Unreachable { url: error::shown(base), cause, sent: true });
                }
            };
            let status = answer.status();
            let retry_after = answer.headers().get(header::RETRY_AFTER).cloned();
            let body = answer.bytes().await.map_err(|error| Error::unreachable(base, &error, true))?;
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
    let wrong = |cause: &str| Error::Url(format!("{:?} is no daemon's URL: {cause}", error::shown_unread(url)));
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

#[cfg(test)]
mod tests;
