//! The hub: from what the relay delivers to the sockets of the subscribers.
//!
//! Each connection belongs to one shard. A shard is a thread with the subscriptions of its connections, so that fan-out
//! takes no lock that another thread waits for, and never holds up the runtime that feeds it. Everything that concerns a
//! shard's connections passes through its one inbox in order: events, subscriptions, ends. That order is why `subscribed`
//! can name the exact position after which a stream begins.
//!
//! Each namespace has a hub of its own. A hub does not know brokers or requests.

mod backlog;
mod channel_step;
mod closes;
mod encoding;
mod feed;
pub mod frame;
mod inbox;
mod inbox_item;
mod index;
mod mailbox;
mod outgoing;
mod send_buffer;
mod shard;
mod sync;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::{join_all, select_all};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use uuid::Uuid;

pub use channel_step::{ChannelStep, StepKind};
pub use encoding::Encoding;
pub use feed::Feed;
use inbox_item::Begun;
pub use inbox_item::FeedOutcome;
pub use index::{Index, IndexSlot, Member};
pub use outgoing::Outgoing;
pub use send_buffer::SendBuffer;
pub use sync::SyncTicket;

use crate::access::{Guard, Principal};
use crate::admission::AdmissionPermit;
use crate::bus::{CursorBases, Renewal, Subscription, Survey};
use crate::event::{Catalog, PerChannel};
use crate::incidents::Incidents;
use crate::metrics::Metrics;
use crate::pace::Pace;
use crate::transport::Transport;
use inbox::Inbox;
use inbox_item::InboxItem;
use shard::Shard;

/// How long nearly all connections are given to take what they were sent, for each half of a send buffer.
const MAX_SETTLE: Duration = Duration::from_millis(100);

/// The fan-out of one namespace of a node.
#[derive(Debug)]
pub struct Hub {
    shards: Vec<Arc<Inbox>>,
    /// The shard that the next connection gets.
    next: AtomicUsize,
    outgoing: Arc<Outgoing>,
    /// Bytes that one connection may have been sent since the shards last had a moment to catch up.
    sent: AtomicUsize,
}

/// How a hub is set up.
#[derive(Debug, Clone)]
pub struct HubConfig {
    /// The number of shards, each with a thread.
    pub shards: usize,
    /// Between two heartbeats of a connection.
    pub heartbeat: Duration,
    /// The most subscriptions of a connection.
    pub max_subscriptions: usize,
    /// The bound of a connection's send buffer, in bytes.
    pub outbox_bytes: usize,
}

/// A shard's thread has died: nothing can be delivered to its connections any more.
#[derive(Debug, thiserror::Error)]
#[error("a fan-out thread has died")]
pub struct ShardDied;

impl Hub {
    /// Starts the shards. Tasks that wait for their sockets run on the runtime that this is called on. `subscribers` counts
    /// the connections that are subscribed to each channel. `pace` is told how far these have come. `guard` says which
    /// credentials have been taken back. `incidents` is told of gaps, and of connections that the hub closes.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(
        config: &HubConfig,
        catalog: &Arc<Catalog>,
        metrics: &Arc<Metrics>,
        subscribers: &Arc<PerChannel<AtomicU64>>,
        pace: &Arc<Pace>,
        guard: &Arc<dyn Guard>,
        incidents: &Arc<Incidents>,
    ) -> std::io::Result<Self> {
        let outgoing = Outgoing::new(config.outbox_bytes, metrics.clone(), pace.clone(), Handle::current());
        let outgoing = Arc::new(outgoing.with_incidents(incidents.clone()));
        let shards = (0..config.shards)
            .map(|number| {
                let (shard, inbox) = Inbox::new();
                let shard_of = Shard::new(
                    number as u16,
                    config,
                    catalog.clone(),
                    metrics.clone(),
                    subscribers.clone(),
                    pace.clone(),
                    guard.clone(),
                );
                shard_of.spawn(inbox)?;
                Ok(shard)
            })
            .collect::<std::io::Result<_>>()?;
        Ok(Self { shards, next: AtomicUsize::new(0), outgoing, sent: AtomicUsize::new(0) })
    }

    /// Hands a step to every shard. Waits while one is behind, and for a moment while many connections are.
    ///
    /// # Errors
    /// [`ShardDied`]: the node cannot go on.
    pub async fn deliver(&self, step: ChannelStep) -> Result<(), ShardDied> {
        let size = step.size();
        let (step, now) = (Arc::new(step), Instant::now());
        for shard in &self.shards {
            shard.send(InboxItem::Deliver(step.clone(), now)).await?;
        }
        if self.sent.fetch_add(size, Ordering::Relaxed) + size > self.outgoing.limit / 2 {
            self.sent.store(0, Ordering::Relaxed);
            self.settle().await?;
        }
        Ok(())
    }

    /// Waits until the shards have written everything and nearly all peers have taken it. Without that, a burst larger than a
    /// send buffer would overrun peers that read as fast as they can. A few stuck peers among many are not waited for. If
    /// many are stuck, they soon overrun their send buffers, are closed, and no longer count.
    async fn settle(&self) -> Result<(), ShardDied> {
        for shard in &self.shards {
            let (done, settled) = oneshot::channel();
            shard.send(InboxItem::Settle(done)).await?;
            // The shard drops its end when it comes to this item.
            let _ = settled.await;
        }
        let _ = tokio::time::timeout(MAX_SETTLE, self.outgoing.flowing()).await;
        Ok(())
    }

    /// Takes a connection in: gives it a shard and a send buffer, makes its first subscriptions and greets it. None of these
    /// may begin in the log.
    pub fn join(&self, stream: Transport, new: NewConnection) -> ConnectionHandle {
        self.admit(stream, new, None)
    }

    /// The same for a connection whose subscriptions may begin in the log: it comes with their feeds.
    pub async fn join_from_log(&self, stream: Transport, new: NewConnection) -> (ConnectionHandle, Vec<Feed>) {
        let (sender, begun) = oneshot::channel();
        let handle = self.admit(stream, new, Some(sender));
        let begun = begun.await.unwrap_or_default();
        let feeds = begun.into_iter().map(|begun| handle.feed(begun)).collect();
        (handle, feeds)
    }

    fn admit(
        &self,
        stream: Transport,
        new: NewConnection,
        begun: Option<oneshot::Sender<Vec<Begun>>>,
    ) -> ConnectionHandle {
        let send_buffer = SendBuffer::new(stream, new.encoding, self.outgoing.clone());
        let shard = self.next.fetch_add(1, Ordering::Relaxed) % self.shards.len();
        let handle = ConnectionHandle { shard: self.shards[shard].clone(), send_buffer, left: false };
        handle.shard.enqueue(InboxItem::Join { send_buffer: handle.send_buffer.clone(), new, begun });
        handle
    }

    /// Waits until a shard's thread has died. Without events and connections, nothing else notices that.
    pub async fn shard_died(&self) -> ShardDied {
        select_all(self.shards.iter().map(|shard| Box::pin(shard.closed()))).await;
        ShardDied
    }

    /// Closes the connections whose credential has been taken back, which the guard says now.
    pub async fn recheck_credentials(&self) {
        for shard in &self.shards {
            let _ = shard.send(InboxItem::RecheckCredentials).await;
        }
    }

    /// Counts and lists the connections, in slices between which the shards go on.
    pub async fn survey(&self, survey: &mut Survey) {
        let parts = self.shards.iter().map(async |shard| {
            let (mut part, mut next) = (Box::new(survey.part()), Some(0));
            while let Some(from) = next {
                let (done, surveyed) = oneshot::channel();
                let _ = shard.send(InboxItem::Survey { survey: part, from, done }).await;
                // A shard that has died has no connections left.
                (part, next) = surveyed.await.unwrap_or_else(|_| (Box::new(survey.part()), None));
            }
            part
        });
        let parts = join_all(parts).await;
        parts.into_iter().for_each(|part| survey.merge(*part));
    }

    /// How many connections were closed with each code. 1005: without a code; 1006: without a Close.
    pub fn closed(&self) -> BTreeMap<u16, u64> {
        self.outgoing.closes.counts()
    }

    /// Closes every connection, and those that still join, until this is called with `None`.
    pub async fn evict(&self, reason: Option<EvictReason>) {
        for shard in &self.shards {
            // A shard that has died has no connections left.
            let _ = shard.send(InboxItem::Evict(reason)).await;
        }
    }
}

/// Why no connection may stay at this node.
#[derive(Debug, Clone, Copy)]
pub enum EvictReason {
    /// The node is about to stop. Each client is told to connect again at a random time within this, so that many of them
    /// do not storm the other nodes, and is closed with 1012.
    Draining(Duration),
    /// The node is partitioned from its broker. Connections are closed with 1013.
    Partitioned,
}

/// A connection that joins the hub.
#[derive(Debug)]
pub struct NewConnection {
    /// Names it in `welcome` and in lists. A UUID of version 7.
    pub id: Uuid,
    /// Its client's, which a proxy may have named.
    pub address: IpAddr,
    /// What it is sent before everything else.
    pub greeting: Vec<u8>,
    pub subscriptions: Vec<Subscription>,
    pub encoding: Encoding,
    /// Whom its credential names. `None` without authentication.
    pub principal: Option<Arc<Principal>>,
    /// Writes the cursors of an event stream.
    pub cursors: Arc<CursorBases>,
    /// The connection counts as pending until it was greeted.
    pub permit: AdmissionPermit,
}

/// A connection's membership in the hub. Dropping it cuts the connection and removes it from its shard.
#[derive(Debug)]
pub struct ConnectionHandle {
    shard: Arc<Inbox>,
    send_buffer: Arc<SendBuffer>,
    left: bool,
}

impl ConnectionHandle {
    pub fn send_buffer(&self) -> &Arc<SendBuffer> {
        &self.send_buffer
    }

    /// Subscribes. The shard answers with a `subscribed` or an `error` frame.
    pub fn subscribe(&self, subscription: Subscription) -> PendingReply {
        let (done, answered) = oneshot::channel();
        self.shard.enqueue(InboxItem::Subscribe { send_buffer: self.send_buffer.clone(), subscription, done });
        PendingReply(answered)
    }

    /// Ends a subscription. The shard answers with an `unsubscribed` or an `error` frame.
    pub fn unsubscribe(&self, sub: String) -> PendingReply {
        let (done, answered) = oneshot::channel();
        self.shard.enqueue(InboxItem::Unsubscribe { send_buffer: self.send_buffer.clone(), sub, done });
        PendingReply(answered)
    }

    /// Takes a `sync` in. The shard answers with a `synced` or an `error` frame, once it has what a look at the log found.
    pub fn sync(&self, id: String) -> SyncTicket {
        SyncTicket::new(self.shard.clone(), self.send_buffer.clone(), id)
    }

    /// Replaces the connection's credential. The shard answers with an `authenticated` frame.
    pub fn renew(&self, renewal: Renewal) -> PendingReply {
        let (done, answered) = oneshot::channel();
        self.shard.enqueue(InboxItem::Renew { send_buffer: self.send_buffer.clone(), renewal, done });
        PendingReply(answered)
    }

    /// Waits until the shard has answered. A subscription that begins in the log comes with a [`Feed`], to which a replay
    /// brings what the log has.
    pub async fn answered(&self, PendingReply(answered): PendingReply) -> Option<Feed> {
        // The shard drops its end if there is nothing to feed.
        Some(self.feed(answered.await.ok()?))
    }

    fn feed(&self, begun: Begun) -> Feed {
        Feed::new(self.shard.clone(), self.send_buffer.clone(), begun)
    }

    /// Leaves the shard; returns when the shard has written everything before that.
    pub async fn leave(mut self) {
        self.left = true;
        let (done, left) = oneshot::channel();
        self.shard.enqueue(InboxItem::Leave { send_buffer: self.send_buffer.clone(), done });
        let _ = left.await;
    }
}

/// A connection's task that panics or is dropped leaves no peer behind.
impl Drop for ConnectionHandle {
    fn drop(&mut self) {
        if !self.left {
            self.send_buffer.shut_down();
            // Without a runtime the process is ending, and its shards with it.
            if Handle::try_current().is_ok() {
                let (done, _) = oneshot::channel();
                self.shard.enqueue(InboxItem::Leave { send_buffer: self.send_buffer.clone(), done });
            }
        }
    }
}

/// The answer to a command, which the shard gives after all commands before it.
#[must_use = "wait for the reply before anything else is sent on the connection"]
#[derive(Debug)]
pub struct PendingReply(oneshot::Receiver<Begun>);
