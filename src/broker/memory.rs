//! The in-process broker: a ring buffer of events for each channel, gone when the process ends.
//!
//! Signals come in the order of the log, because one lock covers appending and sending. No signal is lost: a publisher
//! reserves room for its signals before it takes the lock, so that a slow relay slows publishers down.
//!
//! Each channel writes its events one after the other into blocks of memory. With an allocation for each event, a log of
//! more events than the processor's cache holds made every allocation of the daemon slow: the allocator reused the memory
//! of the event that had just left the log, which had not been touched for minutes.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::{BufMut, Bytes, BytesMut};
use tokio::sync::mpsc;

use super::memory_latest::LatestValues;
use super::memory_store::MemoryStore;
use super::nodes::{Nodes, SingleNodeRegistry};
use super::{
    Appended, Backend, Bounds, BrokerError, Entry, Head, Latest, LatestOf, LatestPage, LatestTally, Limits, Located,
    Log, Notifier, PAGE_BYTES, Page, Retention, SIGNAL_CAPACITY, Signal, Signals, Store,
};
use crate::event::{Catalog, ChannelId, Epoch, Event, Moment, PerChannel, Position};

/// The size of a channel's first block of events, and of its largest, in bytes. Each block is twice as large as the one
/// before, so that a channel with few events takes little memory.
const FIRST_BLOCK: usize = 2 * 1024;
const MAX_BLOCK: usize = 64 * 1024;

struct MemoryBroker {
    limits: Limits,
    epoch: Epoch,
    nodes: SingleNodeRegistry,
    store: MemoryStore,
    id_hashers: [RandomState; 2],
    tallies: PerChannel<LatestTally>,
    /// One lock for all channels: it is only held for a few moves of memory.
    logs: Mutex<Logs>,
}

struct Logs {
    /// By the channel's id.
    channels: PerChannel<ChannelLog>,
    /// `None` once the broker is closed.
    signals: Option<mpsc::Sender<Signal>>,
}

#[derive(Default)]
struct ChannelLog {
    /// The offset of the newest event, 0 before the first.
    head: u64,
    /// The newest events; the last one has the offset `head`.
    entries: VecDeque<LogEntry>,
    /// The free rest of the newest block.
    rest: BytesMut,
    /// The size of the newest block, in bytes.
    block: usize,
    /// When the newest event that was removed was appended.
    removed: Option<Instant>,
    /// The offset of each id within the deduplication window.
    offsets_by_id: HashMap<IdHash, u64>,
    /// The same ids, the oldest first.
    ids_by_age: VecDeque<(Instant, IdHash)>,
    /// The newest event of each subject, if the type keeps it.
    latest: LatestValues,
}

/// An id's hash with random keys, so that a long id takes no more memory than a short one and nobody can make two collide.
type IdHash = [u64; 2];

struct LogEntry {
    appended: Instant,
    /// A part of a block. The block is freed with the last of its events.
    json: Bytes,
}

/// Opens an empty broker.
pub(super) fn open(catalog: &Catalog, limits: Limits) -> (Arc<dyn Backend>, Signals) {
    let (sender, signals) = mpsc::channel(SIGNAL_CAPACITY);
    let channels = PerChannel::new(catalog, |_| ChannelLog::default());
    let logs = Mutex::new(Logs { channels, signals: Some(sender) });
    (
        Arc::new(MemoryBroker {
            limits,
            epoch: Epoch::random(),
            nodes: SingleNodeRegistry::default(),
            store: MemoryStore::default(),
            id_hashers: Default::default(),
            tallies: PerChannel::new(catalog, |_| LatestTally::default()),
            logs,
        }),
        signals,
    )
}

impl MemoryBroker {
    fn lock(&self) -> MutexGuard<'_, Logs> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sender(&self) -> Result<mpsc::Sender<Signal>, BrokerError> {
        self.lock().signals.clone().ok_or_else(BrokerError::closed)
    }

    fn position(&self, offset: u64) -> Position {
        Position::new(self.epoch.clone(), offset)
    }
}

#[async_trait]
impl Log for MemoryBroker {
    async fn append(&self, events: &[Event]) -> Result<Vec<Appended>, BrokerError> {
        let sender = self.sender()?;
        let mut appended = Vec::with_capacity(events.len());
        for chunk in events.chunks(SIGNAL_CAPACITY) {
            let mut permits = sender.reserve_many(chunk.len()).await.map_err(|_| BrokerError::closed())?;
            let mut logs = self.lock();
            let now = Instant::now();
            for event in chunk {
                let id = self.id_hashers.each_ref().map(|hasher| hasher.hash_one(&event.id));
                let log = &mut logs.channels[event.channel];
                log.expire(&self.limits, event.channel, now);
                if let Some(offset) = log.offsets_by_id.get(&id) {
                    appended.push(Appended { position: self.position(*offset), duplicate: true });
                    continue;
                }
                let position = self.position(log.append(event, id, &self.limits, now));
                let evicted = log.keep_latest(event, &self.limits, now);
                self.tallies[event.channel].note(log.latest.len(), evicted);
                if let Some(permit) = permits.next() {
                    let (position, json) = (position.clone(), event.json.clone());
                    permit.send(Signal::Appended { channel: event.channel, position, json });
                }
                appended.push(Appended { position, duplicate: false });
            }
        }
        Ok(appended)
    }

    async fn read(&self, channel: ChannelId, known: Option<&Position>, limit: usize) -> Result<Page, BrokerError> {
        let (bounds, first, found) = {
            let mut logs = self.lock();
            let log = &mut logs.channels[channel];
            log.expire(&self.limits, channel, Instant::now());
            let oldest = log.head + 1 - log.entries.len() as u64;
            let first = match known {
                Some(known) if known.epoch == self.epoch => oldest.max(known.offset + 1),
                Some(_) => oldest,
                None => log.head + 1,
            };
            (Bounds { epoch: self.epoch.clone(), head: log.head, oldest }, first, log.page(first - oldest, limit))
        };
        // Copied without the lock.
        let entry = |(offset, json): (u64, Bytes)| Entry { offset, json: text(&json).into() };
        Ok(Page { bounds, entries: (first..).zip(found).map(entry).collect() })
    }

    async fn position_at(&self, channel: ChannelId, moment: Moment) -> Result<Located, BrokerError> {
        let mut logs = self.lock();
        let now = Instant::now();
        let age = age(moment);
        let is_before = |appended: Instant| now - appended > age;
        let log = &mut logs.channels[channel];
        log.expire(&self.limits, channel, now);
        let removed = log.head - log.entries.len() as u64;
        let before = removed + log.entries.partition_point(|entry| is_before(entry.appended)) as u64;
        let is_complete = before > removed || log.removed.is_none_or(is_before);
        Ok(Located {
            position: self.position(if is_complete { before } else { 0 }),
            bounds: Bounds { epoch: self.epoch.clone(), head: log.head, oldest: before + 1 },
        })
    }

    async fn heads(&self) -> Vec<(ChannelId, Head)> {
        let logs = self.lock();
        logs.channels.iter().map(|(channel, log)| (channel, Head::At(self.position(log.head)))).collect()
    }
}

#[async_trait]
impl Latest for MemoryBroker {
    fn keeps_latest(&self, channel: ChannelId) -> bool {
        self.limits.retention(channel).latest.is_some()
    }

    async fn latest(&self, channel: ChannelId, subject: &str) -> Result<LatestOf, BrokerError> {
        let mut logs = self.lock();
        let log = &mut logs.channels[channel];
        log.expire(&self.limits, channel, Instant::now());
        Ok(LatestOf { head: self.position(log.head), entry: log.latest.get(subject) })
    }

    async fn latest_page(&self, channel: ChannelId, after: u64, limit: usize) -> Result<LatestPage, BrokerError> {
        let mut logs = self.lock();
        let log = &mut logs.channels[channel];
        log.expire(&self.limits, channel, Instant::now());
        let (entries, more) = log.latest.page(after, limit);
        Ok(LatestPage { head: self.position(log.head), entries, more })
    }

    fn latest_tally(&self, channel: ChannelId) -> &LatestTally {
        &self.tallies[channel]
    }
}

#[async_trait]
impl Notifier for MemoryBroker {
    async fn probe(&self, number: u64) -> Result<(), BrokerError> {
        self.sender()?.send(Signal::Probe(number)).await.map_err(|_| BrokerError::closed())
    }
}

#[async_trait]
impl Backend for MemoryBroker {
    fn nodes(&self) -> &dyn Nodes {
        &self.nodes
    }

    fn latest(&self) -> &dyn Latest {
        self
    }

    fn store(&self) -> &dyn Store {
        &self.store
    }

    async fn close(&self) {
        self.lock().signals = None;
        self.store.close();
    }
}

impl ChannelLog {
    /// Appends an event; its offset.
    fn append(&mut self, event: &Event, id: IdHash, limits: &Limits, now: Instant) -> u64 {
        self.head += 1;
        let json = self.store(event.json.as_bytes());
        self.entries.push_back(LogEntry { appended: now, json });
        let most = limits.retention(event.channel).max_events;
        while self.entries.len() as u64 > most {
            self.remove_oldest();
        }
        self.offsets_by_id.insert(id, self.head);
        self.ids_by_age.push_back((now, id));
        self.head
    }

    /// Makes the event at the head the newest of its subject, if the type keeps that. Returns how many subjects leave for it.
    fn keep_latest(&mut self, event: &Event, limits: &Limits, now: Instant) -> u64 {
        match (limits.retention(event.channel).latest, &event.subject) {
            (Some(kept), Some(subject)) => self.latest.keep(subject, self.head, &event.json, now, kept.max_subjects),
            _ => 0,
        }
    }

    /// Copies an event into the newest block, or into a new one if it does not fit.
    fn store(&mut self, json: &[u8]) -> Bytes {
        if self.rest.capacity() < json.len() {
            self.block = (self.block * 2).clamp(FIRST_BLOCK, MAX_BLOCK);
            self.rest = BytesMut::with_capacity(self.block.max(json.len()));
        }
        self.rest.put_slice(json);
        self.rest.split().freeze()
    }

    /// The events from this index on: at most `limit`, and none after their bytes have reached [`PAGE_BYTES`].
    fn page(&self, from: u64, limit: usize) -> Vec<Bytes> {
        let mut bytes = 0;
        let begins_within = |entry: &&LogEntry| {
            let fits = bytes < PAGE_BYTES;
            bytes += entry.json.len();
            fits
        };
        let entries = self.entries.iter().skip(from as usize).take(limit).take_while(begins_within);
        entries.map(|entry| entry.json.clone()).collect()
    }

    /// Removes the events and ids that are too old.
    fn expire(&mut self, limits: &Limits, channel: ChannelId, now: Instant) {
        let Retention { max_age, latest, .. } = limits.retention(channel);
        if let Some(kept) = latest {
            self.latest.expire(kept.max_age, now);
        }
        while self.entries.front().is_some_and(|oldest| now - oldest.appended > max_age) {
            self.remove_oldest();
        }
        while self.ids_by_age.front().is_some_and(|(appended, _)| now - *appended > limits.dedup_window) {
            if let Some((_, id)) = self.ids_by_age.pop_front() {
                self.offsets_by_id.remove(&id);
            }
        }
    }

    fn remove_oldest(&mut self) {
        self.removed = self.entries.pop_front().map(|oldest| oldest.appended).or(self.removed);
    }
}

/// The JSON of an event. It was a string when it was stored.
fn text(json: &[u8]) -> &str {
    std::str::from_utf8(json).unwrap_or_default()
}

/// How long ago a moment was; zero for one in the future.
fn age(moment: Moment) -> Duration {
    match moment {
        Moment::Ago(age) => age,
        Moment::At(millis) => {
            let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            match u64::try_from(millis) {
                Ok(millis) => wall.saturating_sub(Duration::from_millis(millis)),
                // Before 1970.
                Err(_) => wall.saturating_add(Duration::from_millis(millis.unsigned_abs())),
            }
        }
    }
}
