//! The broker: what keeps each channel's log and tells every node of what is new in it.
//!
//! A [`Backend`] is a [`Log`] for each channel, a [`Notifier`] that tells nodes what is new, and a registry of
//! [`Nodes`]. [`open`] makes one from the configuration, with its [`Signals`]; no other module knows which it is. The log decides: what other nodes say on the bus is a hint,
//! which may be lost, repeated or garbled, and the relay repairs that from the log. Nothing here knows of subscribers or
//! sockets.

mod file;
mod memory;
mod memory_store;
pub mod nodes;
mod redis;
mod store;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;

use crate::config::{BrokerConfig, BrokerUrl};
use crate::event::{Catalog, ChannelId, Epoch, Event, Moment, Position};
use nodes::Nodes;
pub use store::{MAX_KEY_BYTES, MAX_LEASE_TTL, MAX_VALUE_BYTES, Store};

/// A log for each channel, with positions, deduplication and retention.
///
/// Every method fails with a [`BrokerError`], which says what is known of the call.
#[async_trait]
pub trait Log: Send + Sync + 'static {
    /// Appends events in their order and announces them; answers for each, in the same order.
    ///
    /// An id that the channel saw within the deduplication window is not appended again: its first position is answered.
    ///
    /// # Errors
    /// After any of them a prefix of `events` may be in the log. Sending the same ids again is safe.
    async fn append(&self, events: &[Event]) -> Result<Vec<Appended>, BrokerError>;

    /// Up to `limit` events of a channel's log after the position `known`; without `known` no events, only the log's bounds.
    /// If `known` is of an epoch that is over, the page begins after what the log is known to have of that epoch up to
    /// there, and at the log's oldest event if nothing is known of that epoch. A page ends early, but not before its first
    /// event, when its events come to [`PAGE_BYTES`].
    ///
    /// A `known` ahead of the log in the log's own epoch proves that the log lost its newest events: the backend then
    /// begins a new epoch before it answers, so that no position ever stands for two events.
    async fn read(&self, channel: ChannelId, known: Option<&Position>, limit: usize) -> Result<Page, BrokerError>;

    /// Where a channel's log begins and ends, as [`read`](Self::read) says it of `known`.
    async fn bounds(&self, channel: ChannelId, known: Option<&Position>) -> Result<Bounds, BrokerError> {
        Ok(self.read(channel, known, 0).await?.bounds)
    }

    /// The position after which stand the events that the broker took from this moment on, by its own clock.
    async fn position_at(&self, channel: ChannelId, from: Moment) -> Result<Position, BrokerError>;
}

/// The way from the log to this node: what [`Signals`] brings, and the proof that it arrives.
#[async_trait]
pub trait Notifier: Send + Sync + 'static {
    /// Sends [`Signal::Probe`] with this number by the way that events take.
    async fn probe(&self, number: u64) -> Result<(), BrokerError>;

    /// Whether this probe or a later one came back from a part of the broker. A node that reaches a part is not
    /// partitioned from its broker.
    fn came_back_in_part(&self, _probe: u64) -> bool {
        false
    }
}

/// One backend: everything that a node needs of its broker.
#[async_trait]
pub trait Backend: Log + Notifier {
    /// The registry of nodes.
    fn nodes(&self) -> &dyn Nodes;

    /// The values and leases beside the logs.
    fn store(&self) -> &dyn Store;

    /// Ends the backend: what was answered is safe, and [`Signals`] ends.
    async fn close(&self);
}

/// Where an appended event stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    pub position: Position,
    /// The event had been appended before; `position` is where.
    pub duplicate: bool,
}

/// Where a channel's log begins and ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// The log's epoch.
    pub epoch: Epoch,
    /// The offset of the log's newest event, 0 before the first.
    pub head: u64,
    /// The first offset that is available after the position asked for, `head + 1` if none is. Everything between the two
    /// is lost. Without a position, the log's first available offset.
    pub oldest: u64,
}

/// A part of a channel's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub bounds: Bounds,
    /// Consecutive events, without a hole.
    pub entries: Vec<Entry>,
}

/// An event in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub offset: u64,
    /// The CloudEvent's JSON.
    pub json: Arc<str>,
}

impl Bounds {
    /// The position of the newest event.
    pub fn head(&self) -> Position {
        Position::new(self.epoch.clone(), self.head)
    }

    /// The position before the first available event: everything up to it is gone.
    pub fn start(&self) -> Position {
        Position::new(self.epoch.clone(), self.oldest - 1)
    }

    /// The gap rule: what a reader at `position` has lost, as the position up to which everything is gone. `None` if the
    /// log continues right after `position`.
    ///
    /// A new epoch is always a gap, since the log cannot prove that the two epochs join. These bounds must be those that
    /// the log gave for `position`, or be compared with a position of the log's own epoch.
    pub fn gap_after(&self, position: &Position) -> Option<Position> {
        (position.epoch != self.epoch || self.oldest - 1 > position.offset).then(|| self.start())
    }
}

/// What comes from the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// This node appended an event: the log has it at this position, as the backend said when it took it. Those of one
    /// channel come in the order of the log. A backend that sends a [`Hint`](Self::Hint) too may leave this out.
    Appended { channel: ChannelId, position: Position, json: Arc<str> },
    /// A hint that a channel's log has something new, and where, if that could be read. Anybody may have given it.
    Hint { channel: ChannelId, position: Option<Position> },
    /// Messages may have been missed, on every channel.
    Missed,
    /// See [`Notifier::probe`].
    Probe(u64),
}

/// What the broker tells this node; ends when the backend is closed.
pub type Signals = mpsc::Receiver<Signal>;

/// Why a broker did not do what it was asked, and what is known of the call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// It cannot be reached or did not answer: whether the call was carried out is not known.
    #[error("{0}")]
    Unavailable(String),
    /// It takes no more calls for a while. This call did nothing.
    #[error("{cause}")]
    RateLimited {
        cause: String,
        /// When to try again, if the broker says so.
        retry_after: Option<Duration>,
    },
    /// It refused: a missing right, full memory or disk, a key of another type. Trying again helps only when somebody
    /// has changed that.
    #[error("{0}")]
    Rejected(String),
}

impl BrokerError {
    /// The backend was closed.
    fn closed() -> Self {
        Self::Unavailable("it is closed".into())
    }

    /// The same error, which says at which of several servers it happened.
    fn at(self, server: impl std::fmt::Display) -> Self {
        let named = |cause: String| format!("{server}: {cause}");
        match self {
            Self::Unavailable(cause) => Self::Unavailable(named(cause)),
            Self::RateLimited { cause, retry_after } => Self::RateLimited { cause: named(cause), retry_after },
            Self::Rejected(cause) => Self::Rejected(named(cause)),
        }
    }
}

/// Signals that wait between the backend and the relay.
const SIGNAL_CAPACITY: usize = 4096;

/// The bytes of JSON after which a page is full.
pub const PAGE_BYTES: usize = 256 * 1024;

/// What every backend is told.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Events that a channel's log keeps.
    pub log_max_events: u64,
    /// How long a channel's log keeps an event.
    pub log_max_age: Duration,
    /// How long an id is remembered.
    pub dedup_window: Duration,
}

/// Whether [`open`] would take this URL.
///
/// # Errors
/// What is wrong with it, as a sentence.
pub fn check(url: &BrokerUrl) -> Result<(), String> {
    match url {
        // What is in the way of a directory is seen when it is opened, which takes it from others.
        BrokerUrl::Memory | BrokerUrl::File(_) => Ok(()),
        BrokerUrl::Redis(url) => redis::check(url),
    }
}

/// Opens the backend that the configuration names, for the catalogue's channels.
///
/// Returns at once, whether the backend can be reached or not: it goes on trying by itself, on the tokio runtime in which
/// this is called.
///
/// # Errors
/// A configuration that can never work (a certificate that cannot be read, for instance), or a directory that cannot be
/// used or is in use, as a sentence.
pub fn open(config: &BrokerConfig, catalog: &Arc<Catalog>) -> Result<(Arc<dyn Backend>, Signals), String> {
    let limits = Limits {
        log_max_events: config.log_max_events,
        log_max_age: config.log_max_age,
        dedup_window: config.dedup_window,
    };
    match &config.broker {
        BrokerUrl::Memory => Ok(memory::open(catalog, limits)),
        BrokerUrl::File(directory) => file::open(directory, config.file_sync, catalog, limits),
        BrokerUrl::Redis(url) => redis::open(url, config, catalog, limits),
    }
}
