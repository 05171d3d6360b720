//! The broker: keeps a log for each channel and notifies every node of new events.
//!
//! [`open`] makes the [`Backend`] that the configuration names: in memory, in files or on Redis. A backend is a [`Log`], a
//! [`Notifier`], a registry of [`Nodes`] and a [`Store`]. No other module knows which backend it uses.
//!
//! The log is authoritative. A message on the bus is only a hint: it may be lost, repeated or garbled, and the relay
//! then reads the log. This module does not know subscribers or sockets.

#[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "only servers are examined"))]
pub mod examination;
#[cfg(feature = "file")]
mod file;
mod latest;
mod memory;
mod memory_latest;
mod memory_store;
pub mod nodes;
mod observed;
#[cfg(feature = "redis")]
mod redis;
mod store;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;

use crate::config::{BrokerConfig, BrokerUrl};
use crate::event::{Catalog, ChannelId, Epoch, Event, Moment, PerChannel, Position};
use examination::{Finding, IdleNode};
pub use latest::{Latest, LatestOf, LatestPage, LatestRetention, LatestTally};
use nodes::Nodes;
pub use observed::{ObservedSignals, observe};
#[cfg(all(feature = "redis", any(test, fuzzing)))]
pub use redis::fuzz;
#[cfg(feature = "redis")]
pub use redis::{NO_REST, PubSub, PubSubConnection, Received, compare as compare_redis};
pub use store::{MAX_KEY_BYTES, MAX_LEASE_TTL, MAX_VALUE_BYTES, Store};

/// A log for each channel, with positions, deduplication and retention.
///
/// # Errors
/// Every method fails with a [`BrokerError`], which says whether the call may have been carried out.
#[async_trait]
pub trait Log: Send + Sync + 'static {
    /// Appends events in the given order and notifies all nodes; returns one outcome for each event.
    ///
    /// An event whose id is in the channel's deduplication window is not appended. Its outcome has the position of the
    /// first event with this id.
    ///
    /// # Errors
    /// After an error a prefix of `events` may be in the log. Appending the same ids again is safe.
    async fn append(&self, events: &[Event]) -> Result<Vec<Appended>, BrokerError>;

    /// Reads up to `limit` events of a channel after the position `known`. Without `known` it reads only the log's bounds.
    ///
    /// `known` may belong to an earlier epoch. The page then begins after the newest event up to `known` that provably
    /// is in both epochs. If the log has no record of the earlier epoch, the page begins at the log's oldest event. A
    /// page ends early once its events have [`PAGE_BYTES`] bytes, but it has at least one event if there is one.
    ///
    /// A `known` of the current epoch above the log's head proves that the log lost its newest events. The backend then
    /// begins a new epoch before it answers, so that no position ever names two events.
    async fn read(&self, channel: ChannelId, known: Option<&Position>, limit: usize) -> Result<Page, BrokerError>;

    /// As [`read`](Self::read), for this node's relay, which has delivered everything up to `delivered`.
    ///
    /// After a loss, a backend may know exactly which of these events the log still has, where `read` can only say which
    /// events all nodes had in common.
    async fn read_after_delivered(
        &self,
        channel: ChannelId,
        delivered: &Position,
        limit: usize,
    ) -> Result<Page, BrokerError> {
        self.read(channel, Some(delivered), limit).await
    }

    /// The bounds of a channel's log, as [`read`](Self::read) returns them for `known`.
    async fn bounds(&self, channel: ChannelId, known: Option<&Position>) -> Result<Bounds, BrokerError> {
        Ok(self.read(channel, known, 0).await?.bounds)
    }

    /// Finds a moment in a channel's log, by the broker's clock.
    async fn position_at(&self, channel: ChannelId, moment: Moment) -> Result<Located, BrokerError>;

    /// The head of every channel's log, found out together and cheaply; see [`Backend::pulse`].
    ///
    /// Leaves out the channels whose head cannot be found out now. [`Notifier::probe`] says why.
    async fn heads(&self) -> Vec<(ChannelId, Head)>;
}

/// Probes the path by which a backend notifies this node through [`Signals`].
#[async_trait]
pub trait Notifier: Send + Sync + 'static {
    /// Sends [`Signal::Probe`] with this number along the path that events take.
    async fn probe(&self, number: u64) -> Result<(), BrokerError>;

    /// Whether this probe or a later one came back from at least one server of the broker. A node that reaches one of
    /// several servers is not partitioned from its broker.
    fn returned_from_any_server(&self, _probe: u64) -> bool {
        false
    }

    /// Sends a short text about a channel to the relays of all other nodes, which receive [`Signal::Announced`]. This
    /// node may receive it as well. A backend without other nodes does nothing.
    ///
    /// Nobody repeats an announcement: it may be lost, and it may arrive twice.
    ///
    /// # Errors
    /// The text is longer than [`MAX_ANNOUNCEMENT_BYTES`], or it was probably not sent.
    async fn announce(&self, _channel: ChannelId, _text: &str) -> Result<(), BrokerError> {
        Ok(())
    }
}

/// Everything that a node uses of its broker.
#[async_trait]
pub trait Backend: Log + Notifier {
    /// Sends a probe as [`Notifier::probe`], and looks at the heads of all logs as [`Log::heads`] on the way, with as few
    /// calls as possible: the readiness probe calls this with each pulse. `found` gets the heads as soon as they are
    /// known, perhaps in several parts, and also if the probe fails.
    ///
    /// # Errors
    /// As [`Notifier::probe`].
    async fn pulse(&self, number: u64, found: &FoundHeads<'_>) -> Result<(), BrokerError> {
        let look = async { found(&self.heads().await) };
        futures_util::future::join(self.probe(number), look).await.0
    }

    /// Waits until a pulse is due before its time, because a connection to the broker was lost. One waiter at a time.
    async fn pulse_due(&self) {
        std::future::pending::<()>().await;
    }

    /// The registry of nodes.
    fn nodes(&self) -> &dyn Nodes;

    /// The newest event of each subject, for the types that keep it.
    fn latest(&self) -> &dyn Latest;

    /// The values and leases beside the logs.
    fn store(&self) -> &dyn Store;

    /// Closes the backend. No acknowledged event is lost, [`Signals`] ends, and later calls that would change data
    /// fail.
    async fn close(&self);
}

/// Takes the heads that a [pulse](Backend::pulse) has found.
pub type FoundHeads<'a> = dyn Fn(&[(ChannelId, Head)]) + Send + Sync + 'a;

/// The outcome of appending one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// The event's position, or that of the first event with its id.
    pub position: Position,
    /// True if an event with this id was appended earlier. This one was then not appended.
    pub duplicate: bool,
}

/// The first and last available offsets of a channel's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// The log's epoch.
    pub epoch: Epoch,
    /// The offset of the log's newest event, 0 before the first.
    pub head: u64,
    /// First available offset after the requested position; `head + 1` if there is none. All events between the two are
    /// lost. Without a requested position, the log's first available offset.
    pub oldest: u64,
}

/// A moment in a channel's log: where a stream of everything that was appended at that moment or later begins.
///
/// [`Bounds::gap_after`] says what such a stream lacks, as for any other position. Without a gap, the log provably has
/// every event of that moment or later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The newest position that is known to be before the moment; offset 0 if no event is known to be. It belongs to an
    /// earlier epoch if that epoch ended at the moment or later, because the events that were lost may be as new.
    pub position: Position,
    /// The log's bounds. `oldest` is the first available event that was appended at the moment or later.
    pub bounds: Bounds,
}

/// What a look at the head of a channel's log found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Head {
    /// The position of the newest event. It may be behind what other answers named: then the log lost events.
    At(Position),
    /// Only a read can tell: the log has no epoch, or cannot be looked at.
    Unknown,
}

/// Consecutive events of a channel's log, with the log's bounds at the same instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub bounds: Bounds,
    /// Events whose offsets rise by one.
    pub entries: Vec<Entry>,
}

/// An event in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The event's offset in the log's epoch.
    pub offset: u64,
    /// The CloudEvent's JSON.
    pub json: Arc<str>,
}

impl Bounds {
    /// The position of the newest event.
    pub fn head(&self) -> Position {
        Position::new(self.epoch.clone(), self.head)
    }

    /// The position right before the first available event. A stream from here receives every available event.
    pub fn start(&self) -> Position {
        Position::new(self.epoch.clone(), self.oldest - 1)
    }

    /// The end of the gap for a reader at `position`: all events from there up to and including the end are lost.
    /// `None` if the log continues right after `position`.
    ///
    /// A new epoch is always a gap, because the log cannot prove that no event was lost between the two epochs. `self`
    /// must be the bounds that the log returned for `position`, unless `position` belongs to the current epoch.
    pub fn gap_after(&self, position: &Position) -> Option<Position> {
        (position.epoch != self.epoch || self.oldest - 1 > position.offset).then(|| self.start())
    }
}

/// A message from the backend to this node's relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// This node appended an event at this position. The signals of one channel come in the order of its log. A backend
    /// that also sends a [`Hint`](Self::Hint) may omit this one.
    Appended { channel: ChannelId, position: Position, json: Arc<str> },
    /// A hint that a channel's log has a new event, with its position if the hint was readable. Any client of the
    /// broker can send one, so the relay does not trust it.
    Hint { channel: ChannelId, position: Option<Position> },
    /// Messages may have been lost, on every channel.
    Missed,
    /// An answer of the log named this position. Made by [`observe`], not by backends.
    Reported { channel: ChannelId, position: Position },
    /// The log may have events that no answer named: an append failed, or a look at the head found no position. Made by
    /// [`observe`], not by backends.
    Unknown(ChannelId),
    /// A probe came back; see [`Notifier::probe`].
    Probe(u64),
    /// A node announced something about a channel; see [`Notifier::announce`]. Any client of the broker can send one, so
    /// the relay does not trust it.
    Announced { channel: ChannelId, text: Arc<str> },
}

/// The messages from the backend to this node; ends when the backend is closed.
pub type Signals = mpsc::Receiver<Signal>;

/// Why a call of the broker failed, and whether it may have been carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// The broker cannot be reached or did not answer. It may have carried out the call.
    #[error("{0}")]
    Unavailable(String),
    /// The broker refuses calls for a while. The call had no effect.
    #[error("{cause}")]
    RateLimited {
        cause: String,
        /// The wait before the next attempt, if the broker gives one.
        retry_after: Option<Duration>,
    },
    /// The call is larger than the broker takes, and had no effect. A smaller one may succeed.
    #[error("{0}")]
    TooLarge(String),
    /// The broker refused the call, which had no effect. Causes are a missing permission, full memory, a full, locked
    /// or damaged file, or a key of another type. A retry fails until the cause is removed.
    #[error("{0}")]
    Rejected(String),
}

impl BrokerError {
    /// The error of a call after [`Backend::close`].
    fn closed() -> Self {
        Self::Unavailable("the broker is closed".into())
    }

    #[cfg(feature = "redis")]
    /// The same error, whose text begins with the server that returned it.
    fn at(self, server: impl std::fmt::Display) -> Self {
        let prefixed = |cause: String| format!("{server}: {cause}");
        match self {
            Self::Unavailable(cause) => Self::Unavailable(prefixed(cause)),
            Self::RateLimited { cause, retry_after } => Self::RateLimited { cause: prefixed(cause), retry_after },
            Self::TooLarge(cause) => Self::TooLarge(prefixed(cause)),
            Self::Rejected(cause) => Self::Rejected(prefixed(cause)),
        }
    }
}

/// Signals that are buffered between the backend and the relay.
const SIGNAL_CAPACITY: usize = 4096;

/// The most bytes of an announcement. Longer ones are not sent, and not received.
pub const MAX_ANNOUNCEMENT_BYTES: usize = 1024;

/// A page takes no further event once its events have this many bytes of JSON.
pub const PAGE_BYTES: usize = 256 * 1024;

/// Retention and deduplication.
#[derive(Debug, Clone)]
pub struct Limits {
    retention: PerChannel<Retention>,
    /// The deduplication window: how long every channel remembers an event's id.
    pub dedup_window: Duration,
}

/// What a channel's log keeps.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// The most events.
    pub max_events: u64,
    /// How long an event is kept.
    pub max_age: Duration,
    /// How the newest event of each subject is kept beside the log, if it is.
    pub latest: Option<LatestRetention>,
}

impl Limits {
    /// What a configuration says of each channel of `catalog`: its table of the type, then the type's schema, then the setting
    /// for all types.
    pub fn new(config: &BrokerConfig, catalog: &Catalog) -> Self {
        let retention = |channel| {
            let known = catalog.get(channel);
            let own = config.types.get(&*known.name).copied().unwrap_or_default().or(known.settings);
            Retention {
                max_events: own.log_max_events.unwrap_or(config.log_max_events),
                max_age: own.log_max_age.unwrap_or(config.log_max_age),
                latest: own.latest.map(|max_age| LatestRetention { max_age, max_subjects: config.latest_max_subjects }),
            }
        };
        Self { retention: PerChannel::new(catalog, retention), dedup_window: config.dedup_window }
    }

    /// One event for a second, in each log of the built-in types.
    #[cfg(test)]
    pub fn for_test() -> Self {
        let second = Duration::from_secs(1);
        let retention =
            PerChannel::new(&Catalog::builtin(), |_| Retention { max_events: 1, max_age: second, latest: None });
        Self { retention, dedup_window: second }
    }

    /// What each channel's log keeps, in the order of the catalogue's channels.
    #[cfg(any(feature = "file", feature = "redis"))]
    fn each(&self) -> impl Iterator<Item = Retention> {
        self.retention.values().copied()
    }

    /// A value for each channel, made of what its log keeps.
    #[cfg(feature = "redis")]
    fn map<T>(&self, value: impl Fn(Retention) -> T) -> PerChannel<T> {
        self.retention.map(|retention| value(*retention))
    }

    /// What the log of a channel keeps.
    pub fn retention(&self, channel: ChannelId) -> Retention {
        self.retention[channel]
    }
}

/// Checks a broker's URL without connecting.
///
/// # Errors
/// A sentence that describes the mistake.
pub fn check(url: &BrokerUrl) -> Result<(), String> {
    match url {
        // A directory is checked when it is opened. A check would have to lock it, and so exclude other daemons.
        BrokerUrl::Memory | BrokerUrl::File(_) => url.supported(),
        #[cfg(feature = "redis")]
        BrokerUrl::Redis(url) => redis::check(url),
        #[cfg(not(feature = "redis"))]
        BrokerUrl::Redis(_) => url.supported(),
    }
}

/// Connects to the broker that the configuration names, and finds out what its servers have and lack. `None` for a broker in
/// this process, to which nobody connects.
///
/// # Errors
/// As [`check`].
#[cfg_attr(not(feature = "redis"), expect(unused_variables, reason = "only servers are examined"))]
pub async fn examine(
    config: &BrokerConfig,
    catalog: &Arc<Catalog>,
    idle: &IdleNode,
) -> Result<Option<Vec<Finding>>, String> {
    config.broker.supported()?;
    match &config.broker {
        #[cfg(feature = "redis")]
        BrokerUrl::Redis(url) => {
            redis::examine(url, config, catalog, Limits::new(config, catalog), idle).await.map(Some)
        }
        _ => Ok(None),
    }
}

/// Opens the backend that the configuration names, for the catalogue's channels.
///
/// Returns at once, even if Redis cannot be reached: the backend keeps connecting in the background. It must be called
/// within a tokio runtime.
///
/// # Errors
/// A sentence that describes the problem: a configuration that can never work, such as an unreadable certificate, or a
/// directory that is unusable or in use by another daemon.
pub fn open(config: &BrokerConfig, catalog: &Arc<Catalog>) -> Result<(Arc<dyn Backend>, Signals), String> {
    let limits = Limits::new(config, catalog);
    config.broker.supported()?;
    match &config.broker {
        BrokerUrl::Memory => Ok(memory::open(catalog, limits)),
        #[cfg(feature = "file")]
        BrokerUrl::File(directory) => file::open(directory, config.file_sync, catalog, limits),
        #[cfg(feature = "redis")]
        BrokerUrl::Redis(url) => redis::open(url, config, catalog, limits),
        #[cfg(not(all(feature = "file", feature = "redis")))]
        other => Err(format!("{other}: this build does not support this broker")),
    }
}
