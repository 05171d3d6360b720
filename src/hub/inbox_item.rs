//! What a shard is told, and what it replies.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::mailbox::Mailbox;
use super::{ChannelStep, EvictReason, NewConnection, SendBuffer};
use crate::bus::{Renewal, Subscription, Survey};
use crate::event::{ChannelId, Position};

/// An item of a shard's inbox. The shard handles the items in order. It sends the reply through `done`, or drops `done`
/// once it has handled the item.
#[derive(Debug)]
pub enum InboxItem {
    /// Delivers a live step to all subscribers of its channel. The relay handed it over at this time.
    Deliver(Arc<ChannelStep>, Instant),
    /// Commands of several connections, in order.
    Commands(Vec<InboxItem>),
    /// Adds a connection with its first subscriptions.
    Join {
        send_buffer: Arc<SendBuffer>,
        new: NewConnection,
        /// Receives the replays that begin with the connection.
        begun: Option<oneshot::Sender<Vec<Begun>>>,
    },
    /// Removes a connection.
    Leave { send_buffer: Arc<SendBuffer>, done: oneshot::Sender<()> },
    /// Adds a subscription. `done` receives the replay that begins, if one does.
    Subscribe { send_buffer: Arc<SendBuffer>, subscription: Subscription, done: oneshot::Sender<Begun> },
    /// Passes steps from the log to a replay.
    Feed { replay_id: ReplayId, steps: Arc<[ChannelStep]>, done: oneshot::Sender<FeedOutcome> },
    /// Ends a subscription.
    Unsubscribe { send_buffer: Arc<SendBuffer>, sub: String, done: oneshot::Sender<Begun> },
    /// Replaces a connection's credential.
    Renew { send_buffer: Arc<SendBuffer>, renewal: Renewal, done: oneshot::Sender<Begun> },
    /// Takes a `sync` in. `done` is dropped when it is answered or its connection has ended.
    Sync { send_buffer: Arc<SendBuffer>, id: String, mailbox: Arc<Mailbox>, done: oneshot::Sender<()> },
    /// The mailbox of a `sync` has a look. The shard opens all mailboxes after each batch; this makes one.
    Looked,
    /// Closes the connections whose credential has been taken back.
    RecheckCredentials,
    /// Closes all connections, and each new one as soon as it joins. `None` admits new connections again.
    Evict(Option<EvictReason>),
    /// Surveys a slice of the connections, from this slot on. The reply has the slot at which to go on.
    Survey { survey: Box<Survey>, from: usize, done: oneshot::Sender<(Box<Survey>, Option<usize>)> },
    /// Drops the sender once the shard has written all earlier items to the sockets.
    Settle(oneshot::Sender<()>),
}

/// A replay that a shard has begun.
#[derive(Debug)]
pub struct Begun {
    pub(super) replay_id: ReplayId,
    pub(super) channel: ChannelId,
    pub(super) position: Position,
    /// It begins with the newest event of each subject.
    pub(super) latest: bool,
}

/// Names a replay of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayId {
    pub(super) slot: u32,
    /// Tells replays that used the same slot apart.
    pub(super) serial: u64,
}

/// What became of the steps that were fed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedOutcome {
    /// They were taken; the replay is still behind the live events.
    On,
    /// Nothing was taken: the peer has to take what it was sent before. [`Feed::feed`](super::feed::Feed::feed) waits for that itself.
    Full,
    /// The replay has reached the live events, and needs no more.
    Live,
    /// The subscriptions or the connection have ended.
    Gone,
}
