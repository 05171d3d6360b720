//! Plain pub/sub with any Redis, beside the broker: for bridges. No other call goes over these connections.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use fred::interfaces::{EventInterface, PubsubInterface};
use fred::types::{Message, Value};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::broadcast::{self, error::RecvError};

use super::errors::{describe, from_fred};
use super::link::{Connection, Link, SignsOfLife, verified_ping};
use super::target::Target;
use super::{BrokerError, Topology};
use crate::config::RedisUrl;

/// Messages that are buffered while the receiver has other work. See `MESSAGE_BUFFER` in `listener.rs` for its cost.
const MESSAGE_BUFFER: usize = 8192;
/// How often an idle connection is checked.
const CHECK: Duration = Duration::from_secs(2);

/// A Redis with pub/sub: one server, the master that sentinels name, or any node of a cluster.
pub struct PubSub {
    link: Link,
    /// The nodes of a cluster that the URL names, and which of them is tried. Empty without a cluster.
    nodes: Vec<Target>,
    node: usize,
    /// Follows the sentinels, while it is polled.
    sentinels: Option<BoxFuture<'static, ()>>,
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

/// Subscribed to channels, or able to publish.
pub struct PubSubConnection {
    connection: Connection,
    messages: broadcast::Receiver<Message>,
    signs: SignsOfLife,
}

impl PubSub {
    /// A Redis by its URL.
    ///
    /// # Errors
    /// What is wrong with the URL, without its passwords.
    pub fn new(url: &RedisUrl) -> Result<Self, String> {
        let link = |target| Link::new(target, "bridge", MESSAGE_BUFFER);
        Ok(match Topology::of(url)? {
            Topology::Server(target, sentinels) => Self { link: link(target), nodes: Vec::new(), node: 0, sentinels },
            Topology::Rest(_) => {
                return Err(
                    "a bridge cannot use the REST interface: give it the server's redis:// or rediss:// URL".into()
                );
            }
            // Each node of a cluster passes plain messages on to all others.
            Topology::Cluster(options, nodes) => {
                let nodes: Vec<_> = nodes.into_iter().map(|node| Target::at(&options, node)).collect();
                let first = nodes.first().cloned().ok_or("the URL names no server")?;
                Self { link: link(first).or_replica(), nodes, node: 0, sentinels: None }
            }
        })
    }

    /// Connects, and subscribes to channels and to patterns. Tries until it succeeds.
    pub async fn connect(&mut self, channels: &[String], patterns: &[String]) -> PubSubConnection {
        let Self { link, nodes, node, sentinels } = self;
        let connecting = async {
            loop {
                let Ok(connection) = link.connect().await else {
                    *node += 1;
                    if let Some(next) = nodes.get(*node % nodes.len().max(1)) {
                        link.set_target(next.clone());
                    }
                    continue;
                };
                let messages = connection.client.message_rx();
                let opened = PubSubConnection { connection, messages, signs: SignsOfLife::after_each(CHECK) };
                match opened.subscribe(channels, patterns).await {
                    Ok(()) => {
                        link.established();
                        return opened;
                    }
                    Err(cause) => link.failed(&cause),
                }
            }
        };
        match sentinels {
            None => connecting.await,
            Some(sentinels) => tokio::select! {
                connection = connecting => connection,
                () = sentinels => std::future::pending().await,
            },
        }
    }

    /// Reports why a connection has ended.
    pub fn failed(&mut self, cause: &str) {
        self.link.failed(cause);
    }
}

impl PubSubConnection {
    async fn subscribe(&self, channels: &[String], patterns: &[String]) -> Result<(), String> {
        let client = &self.connection.client;
        let subscribed = async {
            if !channels.is_empty() {
                client.subscribe(channels.to_vec()).await?;
            }
            if !patterns.is_empty() {
                client.psubscribe(patterns.to_vec()).await?;
            }
            // fred returns before the server has answered, and says nothing of a refusal.
            verified_ping(client).await
        };
        subscribed.await.map_err(|error: fred::error::Error| describe(&error))
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
                Some(message) => all.push(received(message)?),
                None => break,
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
