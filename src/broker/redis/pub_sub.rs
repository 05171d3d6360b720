//! Plain pub/sub with any Redis, beside the broker: for bridges. No other call goes over these connections.
//! [`missing_rights`](PubSub::missing_rights) tries what a bridge does, for `tidings config check --connect`.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::{ClientLike, EventInterface, PubsubInterface};
use fred::types::config::Server;
use fred::types::{ClusterHash, CustomCommand, Message, Value};
use futures_util::FutureExt;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::errors::{describe, from_fred};
use super::link::{Connection, Link, SignsOfLife, verified_ping};
use super::rights::{advised, missing_right};
use super::target::Target;
use super::{BrokerError, Topology};
use crate::config::RedisUrl;

/// Messages that are buffered while the receiver has other work. See `MESSAGE_BUFFER` in `listener.rs` for its cost.
const MESSAGE_BUFFER: usize = 8192;
/// How often an idle connection is checked.
const CHECK: Duration = Duration::from_secs(2);
/// How long [`missing_rights`](PubSub::missing_rights) tries to connect.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a bridge is told that is given a REST interface.
pub const NO_REST: &str = "a bridge cannot use the REST interface: give it the server's redis:// or rediss:// URL";

/// A Redis with pub/sub: one server, the master that sentinels name, or any node of a cluster.
pub struct PubSub {
    link: Link,
    /// The nodes of a cluster that the URL names, and which of them is tried. Empty without a cluster.
    nodes: Vec<Target>,
    node: usize,
    /// Follows the sentinels. A connection ends as soon as they name another master, even if the old one still answers.
    _sentinels: Option<AbortOnDropHandle<()>>,
}

/// What a subscriber receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    Message {
        channel: String,
        payload: Bytes,
    },
    /// The receiver was too slow: so many messages are lost.
    Missed(u64),
}

/// What a user may not do with channels.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ChannelRights {
    /// The rights that it lacks, each as a sentence that says what to grant.
    pub missing: Vec<String>,
    /// Whether it may publish could not be tried.
    pub unknown: bool,
}

/// Subscribed to channels, or able to publish.
pub struct PubSubConnection {
    connection: Connection,
    messages: broadcast::Receiver<Message>,
    signs: SignsOfLife,
}

impl PubSub {
    /// A Redis by its URL, for the bridge of this name. Needs a tokio runtime.
    ///
    /// # Errors
    /// What is wrong with the URL, without its passwords.
    pub fn new(url: &RedisUrl, bridge: &str) -> Result<Self, String> {
        let link = |target| Link::new(target, "bridge", MESSAGE_BUFFER).of_bridge(bridge);
        Ok(match Topology::of(url)? {
            Topology::Server(target, sentinels) => {
                let sentinels = sentinels.map(|follow| AbortOnDropHandle::new(tokio::spawn(follow)));
                Self { link: link(target), nodes: Vec::new(), node: 0, _sentinels: sentinels }
            }
            Topology::Rest(_) => return Err(NO_REST.into()),
            // Each node of a cluster passes plain messages on to all others.
            Topology::Cluster(options, nodes) => {
                let nodes: Vec<_> = nodes.into_iter().map(|node| Target::at(&options, node)).collect();
                let first = nodes.first().cloned().ok_or("the URL names no server")?;
                Self { link: link(first).or_replica(), nodes, node: 0, _sentinels: None }
            }
        })
    }

    /// Connects, and subscribes to channels and to patterns. Tries until it succeeds.
    pub async fn connect(&mut self, channels: &[String], patterns: &[String]) -> PubSubConnection {
        loop {
            let Ok(opened) = self.open().await else { continue };
            match opened.subscribe(channels, patterns).await {
                Ok(()) => {
                    self.link.established();
                    return opened;
                }
                Err(cause) => self.link.failed(&cause),
            }
        }
    }

    /// Tries once to connect, and goes on to the next node of a cluster if that fails.
    async fn open(&mut self) -> Result<PubSubConnection, BrokerError> {
        match self.link.connect().await {
            Ok(connection) => {
                let messages = connection.client.message_rx();
                Ok(PubSubConnection { connection, messages, signs: SignsOfLife::after_each(CHECK) })
            }
            Err(error) => {
                self.node += 1;
                if let Some(next) = self.nodes.get(self.node % self.nodes.len().max(1)) {
                    self.link.set_target(next.clone());
                }
                Err(error)
            }
        }
    }

    /// Tries to connect, until it succeeds, the server refuses, or the time is over.
    pub(super) async fn open_within(&mut self, patience: Duration) -> Result<PubSubConnection, BrokerError> {
        let deadline = Instant::now() + patience;
        let mut failure = BrokerError::Unavailable("no server answered in time".into());
        while let Ok(opened) = timeout_at(deadline, self.open()).await {
            match opened {
                Err(error) if !matches!(error, BrokerError::Rejected(_)) => failure = error,
                opened => return opened,
            }
        }
        Err(failure)
    }

    /// The rights that the user lacks to listen to these channels and patterns, and to publish to others. Nothing is published,
    /// and what is heard is dropped.
    ///
    /// # Errors
    /// Why no connection could be opened.
    pub async fn missing_rights(
        &mut self,
        channels: &[String],
        patterns: &[String],
        published: &[String],
    ) -> Result<ChannelRights, String> {
        let mut rights = ChannelRights::default();
        let listened =
            channels.iter().map(|name| ("subscribe", name)).chain(patterns.iter().map(|name| ("psubscribe", name)));
        for (command, name) in listened.chain(published.iter().map(|name| ("publish", name))) {
            // A connection for each: after a refusal, its replies may belong to other commands.
            let connection = self.open_within(PATIENCE).await.map_err(|error| advised(error, "").to_string())?;
            let name = std::slice::from_ref(name);
            let tried = match command {
                "subscribe" => connection.subscribe(name, &[]).await,
                "psubscribe" => connection.subscribe(&[], name).await,
                _ => match connection.may_publish(&name[0]).await {
                    None => {
                        rights.unknown = true;
                        continue;
                    }
                    Some(tried) => tried,
                },
            };
            if let Err(cause) = tried
                && !rights.missing.contains(&cause)
            {
                rights.missing.push(cause);
            }
        }
        Ok(rights)
    }

    /// Reports why a connection has ended.
    pub fn failed(&mut self, cause: &str) {
        self.link.failed(cause);
    }
}

impl PubSubConnection {
    /// The connection itself, for other commands.
    pub(super) fn client(&self) -> &Client {
        &self.connection.client
    }

    /// The server that the sentinels named. `None` without Sentinel.
    pub(super) fn named_master(&self) -> Option<&Server> {
        self.connection.endpoint.named_master()
    }

    async fn subscribe(&self, channels: &[String], patterns: &[String]) -> Result<(), String> {
        let client = &self.connection.client;
        let channels_heard =
            async { if channels.is_empty() { Ok(()) } else { client.subscribe(channels.to_vec()).await } };
        let patterns_heard =
            async { if patterns.is_empty() { Ok(()) } else { client.psubscribe(patterns.to_vec()).await } };
        // fred awaits no reply to SUBSCRIBE. It gives a refusal to the oldest command that waits for a reply, and drops it if
        // there is none. So the PING must be on its way before the refusal comes.
        let (channels_heard, patterns_heard, answered) =
            tokio::join!(biased; channels_heard, patterns_heard, verified_ping(client));
        let subscribed = channels_heard.and(patterns_heard).and(answered);
        let names = || channels.iter().chain(patterns).map(String::as_str).collect::<Vec<_>>();
        subscribed.map_err(|error| refusal(&error, &names().join(" &")))
    }

    /// Whether the user may publish to a channel. A command within MULTI is refused when it is queued, and DISCARD forgets it.
    /// `None` if the user may not run these.
    async fn may_publish(&self, channel: &str) -> Option<Result<(), String>> {
        let run = async |command: &'static str, arguments: Vec<&str>| {
            let command = CustomCommand::new_static(command, ClusterHash::Random, false);
            self.connection.client.custom::<Value, _>(command, arguments).await
        };
        run("MULTI", Vec::new()).await.ok()?;
        let queued = run("PUBLISH", vec![channel, ""]).await;
        let _ = run("DISCARD", Vec::new()).await;
        Some(queued.map(drop).map_err(|error| refusal(&error, channel)))
    }

    /// Waits for messages: those that have come, at least one and at most `limit`.
    ///
    /// # Errors
    /// Why the connection has ended. Messages that were published since are lost.
    pub async fn receive(&mut self, limit: usize) -> Result<Vec<Received>, String> {
        let Self { connection, messages, signs } = self;
        let mut ended = pin!(connection.ended(signs).fuse());
        let first = tokio::select! {
            biased;
            message = messages.recv() => received(message)?,
            cause = &mut ended => return Err(cause),
        };
        signs.message();
        let mut all = vec![first];
        while all.len() < limit {
            match messages.recv().now_or_never() {
                Some(Ok(message)) => all.push(received(Ok(message))?),
                Some(Err(RecvError::Lagged(missed))) => all.push(Received::Missed(missed)),
                // The next call returns the end: what has come is not lost with it.
                Some(Err(RecvError::Closed)) | None => break,
            }
        }
        Ok(all)
    }

    /// Publishes a message.
    ///
    /// # Errors
    /// The message may have been published.
    pub async fn publish(&self, channel: &str, message: &str) -> Result<(), BrokerError> {
        let published: Result<Value, _> = self.connection.client.publish(channel, message).await;
        published.map(drop).map_err(|error| from_fred(&error))
    }

    /// Waits until the connection has ended, and returns why.
    pub async fn ended(&mut self) -> String {
        self.connection.ended(&self.signs).await
    }
}

/// What a server refused, and what to grant if it was for a right to these channels or patterns.
fn refusal(error: &Error, names: &str) -> String {
    let text = describe(error);
    missing_right(&text, names).unwrap_or(text)
}

fn received(message: Result<Message, RecvError>) -> Result<Received, String> {
    match message {
        Ok(Message { channel, value, .. }) => {
            let payload = value.as_bytes().map(Bytes::copy_from_slice).unwrap_or_default();
            Ok(Received::Message { channel: channel.to_string(), payload })
        }
        Err(RecvError::Lagged(missed)) => Ok(Received::Missed(missed)),
        Err(RecvError::Closed) => Err("the connection was closed".into()),
    }
}
