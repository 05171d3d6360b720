//! The hub: from what comes out of the broker to the sockets of those who want it.
//!
//! Each connection belongs to one shard; a shard is a thread of its own with the subscriptions of its connections, so
//! that fan-out takes no lock that another thread waits for and never holds up the runtime that feeds it. Everything that
//! concerns a shard's connections goes through its one inbox, in order: events, subscriptions, ends. That order is what
//! makes `subscribed` name the exact position after which a stream begins.

mod backlog;
mod delivery;
mod encoding;
mod feed;
pub mod frame;
mod inbox;
mod index;
mod outgoing;
mod send_buffer;
mod shard;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

pub use delivery::{Delivery, Step};
pub use encoding::Encoding;
use feed::Begun;
pub use feed::{Feed, FeedOutcome};
pub use index::{Index, Member, Slot};
pub use send_buffer::SendBuffer;

use crate::admission::AdmissionPermit;
use crate::event::{Catalog, ChannelId, Filter, Position};
use crate::metrics::Metrics;
use inbox::Inbox;
use outgoing::Outgoing;
use shard::{Item, Shard};

/// How long nearly all connections are given to take what they were sent, for each half of a send buffer.
const MAX_SETTLE: Duration = Duration::from_millis(100);

/// The fan-out of one node.
#[derive(Debug)]
pub struct Hub {
    shards: Vec<Arc<Inbox>>,
    /// The shard that the next connection gets.
    next: AtomicUsize,
    outgoing: Arc<Outgoing>,
    subscribers: Arc<[AtomicU64]>,
    /// The channels of which something was delivered: their positions are known.
    known: Box<[AtomicBool]>,
    /// Bytes of one connection's share that were handed over since the shards last had a moment to catch up.
    handed: AtomicUsize,
}

/// How the hub is set up.
#[derive(Debug, Clone)]
pub struct HubConfig {
    /// Shards, each with a thread.
    pub shards: usize,
    pub heartbeat: Duration,
    pub max_subscriptions: usize,
    pub outbox_bytes: usize,
}

/// A shard's thread has died: nothing can be delivered to its connections any more.
#[derive(Debug, thiserror::Error)]
#[error("a fan-out thread has died")]
pub struct ShardDied;

impl Hub {
    /// Starts the shards. Their sockets are waited for on the runtime that this is called on.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn start(config: &HubConfig, catalog: &Arc<Catalog>, metrics: &Arc<Metrics>) -> std::io::Result<Self> {
        let outgoing = Arc::new(Outgoing::new(config.outbox_bytes, metrics.clone(), Handle::current()));
        let subscribers: Arc<[AtomicU64]> = catalog.channels().map(|_| AtomicU64::new(0)).collect();
        let shards = (0..config.shards)
            .map(|number| {
                let (shard, inbox) = Inbox::new();
                Shard::new(config, catalog.clone(), metrics.clone(), subscribers.clone()).spawn(number, inbox)?;
                Ok(shard)
            })
            .collect::<std::io::Result<_>>()?;
        let known = catalog.channels().map(|_| AtomicBool::new(false)).collect();
        Ok(Self { known, shards, next: AtomicUsize::new(0), outgoing, subscribers, handed: AtomicUsize::new(0) })
    }

    /// Hands a delivery to every shard; waits while one is behind, and for a moment where many connections are.
    ///
    /// # Errors
    /// [`ShardDied`]: the node cannot go on.
    pub async fn deliver(&self, delivery: Delivery) -> Result<(), ShardDied> {
        let size = delivery.size();
        let delivery = Arc::new(delivery);
        for shard in &self.shards {
            shard.send(Item::Deliver(delivery.clone())).await?;
        }
        self.known[delivery.channel.0 as usize].store(true, Ordering::Relaxed);
        if self.handed.fetch_add(size, Ordering::Relaxed) + size > self.outgoing.limit / 2 {
            self.handed.store(0, Ordering::Relaxed);
            self.settle().await?;
        }
        Ok(())
    }

    /// Lets the shards write all they were given, and nearly all peers take it: without that, a burst that is larger than an
    /// send buffer would overrun peers that read as fast as they can. Few that are stuck among many are waited for by nobody;
    /// where they are many, they outrun their send buffers soon, are closed, and no longer count.
    async fn settle(&self) -> Result<(), ShardDied> {
        for shard in &self.shards {
            let (done, settled) = oneshot::channel();
            shard.send(Item::Settle(done)).await?;
            // It drops its end when it has come to it.
            let _ = settled.await;
        }
        let _ = tokio::time::timeout(MAX_SETTLE, self.outgoing.flowing()).await;
        Ok(())
    }

    /// Takes a connection in: it gets a shard and a send buffer, is subscribed to what it asked for at once, and greeted.
    pub fn join(&self, stream: TcpStream, new: NewConnection) -> ConnectionHandle {
        self.admit(stream, new, None)
    }

    /// The same for one whose subscriptions may begin in the log: it comes with their feeds.
    pub async fn join_from_log(&self, stream: TcpStream, new: NewConnection) -> (ConnectionHandle, Vec<Feed>) {
        let (sender, begun) = oneshot::channel();
        let handle = self.admit(stream, new, Some(sender));
        let begun = begun.await.unwrap_or_default();
        let feeds = begun.into_iter().map(|begun| handle.feed(begun)).collect();
        (handle, feeds)
    }

    fn admit(
        &self,
        stream: TcpStream,
        new: NewConnection,
        begun: Option<oneshot::Sender<Vec<Begun>>>,
    ) -> ConnectionHandle {
        let send_buffer = SendBuffer::new(stream, new.encoding, self.outgoing.clone());
        let shard = self.next.fetch_add(1, Ordering::Relaxed) % self.shards.len();
        let handle = ConnectionHandle { shard: self.shards[shard].clone(), send_buffer };
        handle.shard.ask(Item::Join { send_buffer: handle.send_buffer.clone(), new, begun });
        handle
    }

    /// Whether a channel's position is known, so that it can be subscribed to.
    pub fn knows(&self, channel: ChannelId) -> bool {
        self.known[channel.0 as usize].load(Ordering::Relaxed)
    }

    /// Connections of this node that are subscribed to a channel.
    pub fn subscribers(&self, channel: ChannelId) -> u64 {
        self.subscribers[channel.0 as usize].load(Ordering::Relaxed)
    }

    /// Sends every connection away, and who still comes, until it is told otherwise.
    pub async fn evict(&self, away: Option<EvictReason>) {
        for shard in &self.shards {
            // A shard that has died has no connections left to tell.
            let _ = shard.send(Item::Evict(away)).await;
        }
    }
}

/// Why nobody may stay at this node.
#[derive(Debug, Clone, Copy)]
pub enum EvictReason {
    /// It is about to stop. Each is told to connect again, elsewhere, at a time of its own within this, so that the other
    /// nodes are not stormed, and closed with 1012.
    Draining(Duration),
    /// It is partitioned from its broker. They are closed with 1013.
    Partitioned,
}

/// A connection that comes to the hub.
#[derive(Debug)]
pub struct NewConnection {
    /// What it is sent before all else.
    pub greeting: Vec<Bytes>,
    pub wanted: Vec<SubscribeRequest>,
    pub encoding: Encoding,
    /// It counts as pending until it was greeted.
    pub permit: AdmissionPermit,
}

/// A subscription that is asked for.
#[derive(Debug)]
pub struct SubscribeRequest {
    pub sub: String,
    pub channel: ChannelId,
    pub filter: Arc<Filter>,
    pub begin: Begin,
}

/// Where a subscription begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begin {
    /// With what comes from now on. `recovered`: it was asked for with `since`.
    Live { recovered: bool },
    /// With what stands after this position in the log. What was asked for is `lost`, where the log no longer reaches
    /// back to it.
    After { position: Position, lost: Option<Position> },
}

/// A connection's place in the hub.
#[derive(Debug)]
pub struct ConnectionHandle {
    shard: Arc<Inbox>,
    send_buffer: Arc<SendBuffer>,
}

impl ConnectionHandle {
    pub fn send_buffer(&self) -> &Arc<SendBuffer> {
        &self.send_buffer
    }

    /// Subscribes. The shard answers with a `subscribed` or an `error` frame.
    pub fn subscribe(&self, wanted: SubscribeRequest) -> PendingReply {
        let (done, answered) = oneshot::channel();
        self.shard.ask(Item::Subscribe { send_buffer: self.send_buffer.clone(), wanted, done });
        PendingReply(answered)
    }

    /// Ends a subscription. The shard answers with an `unsubscribed` or an `error` frame.
    pub fn unsubscribe(&self, sub: String) -> PendingReply {
        let (done, answered) = oneshot::channel();
        self.shard.ask(Item::Unsubscribe { send_buffer: self.send_buffer.clone(), sub, done });
        PendingReply(answered)
    }

    /// Waits until the shard has answered. A subscription that begins in the log comes with a [`Feed`]: whoever has it brings
    /// what the log has.
    pub async fn answered(&self, PendingReply(answered): PendingReply) -> Option<Feed> {
        // The shard drops its end where there is nothing to feed.
        Some(self.feed(answered.await.ok()?))
    }

    fn feed(&self, Begun { replay_id, channel, position }: Begun) -> Feed {
        Feed { shard: self.shard.clone(), send_buffer: self.send_buffer.clone(), channel, replay_id, position }
    }

    /// Gives the place up; returns when the shard has written all that was before.
    pub async fn leave(self) {
        let (done, left) = oneshot::channel();
        self.shard.ask(Item::Leave { send_buffer: self.send_buffer.clone(), done });
        let _ = left.await;
    }
}

/// What a shard was asked, and answers after all that it was asked before.
#[must_use = "who sends something else on the connection must wait for it first"]
#[derive(Debug)]
pub struct PendingReply(oneshot::Receiver<Begun>);
