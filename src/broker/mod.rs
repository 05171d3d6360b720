//! The broker: what keeps each channel's log and tells every node of what is new in it.
//!
//! A backend is one small trait, [`Broker`], and the receiving end of its bus, [`Bus`]; [`open`] makes both from the
//! configuration, and nobody else knows which backend it is. The log decides: what other nodes say on the bus is a hint,
//! which may be lost, repeated or garbled, and the relay repairs that from the log. Nothing here knows of subscribers or
//! sockets.

mod file;
mod memory;
pub mod nodes;
mod redis;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;

use crate::config::{BrokerConfig, BrokerUrl};
use crate::event::{Catalog, ChannelId, Epoch, Event, Moment, Position};
use nodes::Nodes;

/// A log for each channel, with positions, deduplication and retention.
#[async_trait]
pub trait Broker: Send + Sync + 'static {
    /// Appends events in their order and announces them on the bus; answers for each, in the same order.
    ///
    /// An id that the channel saw within the deduplication window is not appended again: its first position is answered.
    ///
    /// # Errors
    /// [`Unavailable`] says "not known": a prefix of `events` may be in the log. Sending the same ids again is safe.
    async fn append(&self, events: &[Event]) -> Result<Vec<Appended>, Unavailable>;

    /// Up to `limit` events of a channel's log after the position `known`; without `known` no events, just the log's bounds.
    /// Where `known` is of an epoch that is over, after what the log is known to have of that epoch up to there: from its
    /// oldest event, where nothing is known of it. A page ends early, but not before its first event, when
    /// its events come to [`PAGE_BYTES`].
    ///
    /// A `known` ahead of the log in the log's own epoch proves that the log lost its newest events: the backend then
    /// begins a new epoch before it answers, so that no position ever stands for two events.
    async fn read(&self, channel: ChannelId, known: Option<&Position>, limit: usize) -> Result<Page, Unavailable>;

    /// The position after which stand the events that the broker took from this moment on, by its own clock.
    async fn position_at(&self, channel: ChannelId, from: Moment) -> Result<Position, Unavailable>;

    /// Sends [`Signal::Probe`] with this number through the bus, by the way that events take.
    async fn probe(&self, number: u64) -> Result<(), Unavailable>;

    /// Whether this probe or a later one came back from a part of the broker: who cannot reach the rest is not cut off.
    fn came_back_in_part(&self, _canary: u64) -> bool {
        false
    }

    /// Who is on this broker. A backend that one node has to itself keeps an `Alone` for that.
    fn nodes(&self) -> &dyn Nodes;

    /// Ends the backend: what was answered is safe, the bus ends.
    async fn close(&self);
}

/// Where an appended event stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    pub position: Position,
    /// The event had been appended before; `position` is where.
    pub duplicate: bool,
}

/// A part of a channel's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The log's epoch.
    pub epoch: Epoch,
    /// The offset of the log's newest event, 0 before the first.
    pub head: u64,
    /// The offset of the oldest event that is retained; `head + 1` where there is none. Where somebody took events out of the
    /// log after the position asked for, that of the first after the hole. Where that position is of another epoch, of the
    /// oldest event after it: who stood there has lost what was between that position and `oldest - 1`, and nothing else.
    pub oldest: u64,
    /// Events one after the other, without a hole.
    pub entries: Vec<Entry>,
}

/// An event in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub offset: u64,
    /// The CloudEvent's JSON.
    pub json: Arc<str>,
}

/// What comes over the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// This node appended an event: the log has it at this position, as the backend said when it took it. Those of one
    /// channel come in the order of the log. A backend that sends a [`Hint`](Self::Hint) too may leave this out.
    Appended { channel: ChannelId, position: Position, json: Arc<str> },
    /// A hint that a channel's log has something new, and where, if that could be read. Anybody may have given it.
    Hint { channel: ChannelId, position: Option<Position> },
    /// Messages may have been missed, on every channel.
    Missed,
    /// See [`Broker::probe`].
    Probe(u64),
}

/// The receiving end of the bus; ends when the broker is closed.
pub type Bus = mpsc::Receiver<Signal>;

/// The broker cannot be reached, or will not take anything now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the broker is unavailable: {0}")]
pub struct Unavailable(pub String);

/// Messages that wait on the bus between the backend and the relay.
const BUS_CAPACITY: usize = 4096;

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
pub fn open(config: &BrokerConfig, catalog: &Arc<Catalog>) -> Result<(Arc<dyn Broker>, Bus), String> {
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
