//! The in-process broker: a ring buffer of events for each channel, gone when the process ends.
//!
//! Signals come in the order of the log, because one lock covers appending and sending. No signal is lost: a publisher
//! reserves room for its signals before it takes the lock, so that a slow relay slows publishers down.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::memory_store::MemoryStore;
use super::nodes::{Nodes, SingleNodeRegistry};
use super::{
    Appended, Backend, Bounds, BrokerError, Entry, Head, Limits, Log, Notifier, PAGE_BYTES, Page, SIGNAL_CAPACITY,
    Signal, Signals, Store,
};
use crate::event::{Catalog, ChannelId, Epoch, Event, Moment, PerChannel, Position};

struct MemoryBroker {
    limits: Limits,
    epoch: Epoch,
    nodes: SingleNodeRegistry,
    store: MemoryStore,
    id_hashers: [RandomState; 2],
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
    /// The offset of each id within the deduplication window.
    offsets_by_id: HashMap<IdHash, u64>,
    /// The same ids, the oldest first.
    ids_by_age: VecDeque<(Instant, IdHash)>,
}

/// An id's hash with random keys, so that a long id takes no more memory than a short one and nobody can make two collide.
type IdHash = [u64; 2];

struct LogEntry {
    appended: Instant,
    json: Arc<str>,
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
                log.expire(&self.limits, now);
                if let Some(offset) = log.offsets_by_id.get(&id) {
                    appended.push(Appended { position: self.position(*offset), duplicate: true });
                    continue;
                }
                let position = self.position(log.append(event, id, &self.limits, now));
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
        let mut logs = self.lock();
        let log = &mut logs.channels[channel];
        log.expire(&self.limits, Instant::now());
        let oldest = log.head + 1 - log.entries.len() as u64;
        let first = match known {
            Some(known) if known.epoch == self.epoch => oldest.max(known.offset + 1),
            Some(_) => oldest,
            None => log.head + 1,
        };
        let mut entries = Vec::new();
        let mut bytes = 0;
        for offset in (first..=log.head).take(limit) {
            let json = log.entries[(offset - oldest) as usize].json.clone();
            bytes += json.len();
            entries.push(Entry { offset, json });
            if bytes >= PAGE_BYTES {
                break;
            }
        }
        Ok(Page { bounds: Bounds { epoch: self.epoch.clone(), head: log.head, oldest }, entries })
    }

    async fn position_at(&self, channel: ChannelId, from: Moment) -> Result<Position, BrokerError> {
        let now = Instant::now();
        let age = match from {
            Moment::Ago(age) => age,
            Moment::At(millis) => {
                let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
                // A moment in the future counts as now: no later event exists yet.
                Duration::from_millis(u64::try_from(wall.saturating_sub(millis)).unwrap_or_default())
            }
        };
        let mut logs = self.lock();
        let log = &mut logs.channels[channel];
        log.expire(&self.limits, now);
        let oldest = log.head + 1 - log.entries.len() as u64;
        let before = log.entries.partition_point(|entry| now - entry.appended > age);
        Ok(self.position(oldest - 1 + before as u64))
    }

    async fn heads(&self) -> Vec<(ChannelId, Head)> {
        let logs = self.lock();
        logs.channels.iter().map(|(channel, log)| (channel, Head::At(self.position(log.head)))).collect()
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
        self.entries.push_back(LogEntry { appended: now, json: event.json.clone() });
        while self.entries.len() as u64 > limits.log_max_events {
            self.entries.pop_front();
        }
        self.offsets_by_id.insert(id, self.head);
        self.ids_by_age.push_back((now, id));
        self.head
    }

    /// Removes the events and ids that are too old.
    fn expire(&mut self, limits: &Limits, now: Instant) {
        while self.entries.front().is_some_and(|oldest| now - oldest.appended > limits.log_max_age) {
            self.entries.pop_front();
        }
        while self.ids_by_age.front().is_some_and(|(appended, _)| now - *appended > limits.dedup_window) {
            if let Some((_, id)) = self.ids_by_age.pop_front() {
                self.offsets_by_id.remove(&id);
            }
        }
    }
}
