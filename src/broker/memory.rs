//! The in-process broker: a ring of events for each channel, gone when the process ends.
//!
//! The bus has the order of the log because both are written under one lock, and it cannot lose anything because a
//! publisher gets room on it before the lock is taken: back-pressure reaches the publisher, not the log.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::memory_store::MemoryStore;
use super::nodes::{Alone, Nodes};
use super::{
    Appended, Backend, Bounds, BrokerError, Entry, Limits, Log, Notifier, PAGE_BYTES, Page, SIGNAL_CAPACITY, Signal,
    Signals, Store,
};
use crate::event::{Catalog, ChannelId, Epoch, Event, Moment, Position};

struct Memory {
    limits: Limits,
    epoch: Epoch,
    nodes: Alone,
    store: MemoryStore,
    hashers: [RandomState; 2],
    /// One lock for all channels: what happens under it are a few moves of memory.
    state: Mutex<State>,
}

struct State {
    logs: Vec<ChannelLog>,
    /// `None` once the broker is closed.
    bus: Option<mpsc::Sender<Signal>>,
}

#[derive(Default)]
struct ChannelLog {
    head: u64,
    entries: VecDeque<Stored>,
    /// Where an id stands, for as long as `recent` has it.
    seen: HashMap<Id, u64>,
    /// The ids of `seen` by age.
    recent: VecDeque<(Instant, Id)>,
}

/// An id's hash, by keys that nobody knows: an id of a few bytes or of hundreds costs the same.
type Id = [u64; 2];

struct Stored {
    at: Instant,
    json: Arc<str>,
}

pub(super) fn open(catalog: &Catalog, limits: Limits) -> (Arc<dyn Backend>, Signals) {
    let (sender, bus) = mpsc::channel(SIGNAL_CAPACITY);
    let logs = catalog.channels().map(|_| ChannelLog::default()).collect();
    let state = Mutex::new(State { logs, bus: Some(sender) });
    (
        Arc::new(Memory {
            limits,
            epoch: Epoch::random(),
            nodes: Alone::default(),
            store: MemoryStore::default(),
            hashers: Default::default(),
            state,
        }),
        bus,
    )
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sender(&self) -> Result<mpsc::Sender<Signal>, BrokerError> {
        self.lock().bus.clone().ok_or_else(BrokerError::closed)
    }

    fn position(&self, offset: u64) -> Position {
        Position::new(self.epoch.clone(), offset)
    }
}

#[async_trait]
impl Log for Memory {
    async fn append(&self, events: &[Event]) -> Result<Vec<Appended>, BrokerError> {
        let sender = self.sender()?;
        let mut appended = Vec::with_capacity(events.len());
        for chunk in events.chunks(SIGNAL_CAPACITY) {
            let mut room = sender.reserve_many(chunk.len()).await.map_err(|_| BrokerError::closed())?;
            let mut state = self.lock();
            let now = Instant::now();
            for event in chunk {
                let id = self.hashers.each_ref().map(|hasher| hasher.hash_one(&event.id));
                let log = &mut state.logs[event.channel.0 as usize];
                log.expire(&self.limits, now);
                if let Some(offset) = log.seen.get(&id) {
                    appended.push(Appended { position: self.position(*offset), duplicate: true });
                    continue;
                }
                let position = self.position(log.append(event, id, &self.limits, now));
                if let Some(permit) = room.next() {
                    let (position, json) = (position.clone(), event.json.clone());
                    permit.send(Signal::Appended { channel: event.channel, position, json });
                }
                appended.push(Appended { position, duplicate: false });
            }
        }
        Ok(appended)
    }

    async fn read(&self, channel: ChannelId, known: Option<&Position>, limit: usize) -> Result<Page, BrokerError> {
        let mut state = self.lock();
        let log = &mut state.logs[channel.0 as usize];
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
                // What is in the future has not been taken yet.
                Duration::from_millis(u64::try_from(wall.saturating_sub(millis)).unwrap_or_default())
            }
        };
        let mut state = self.lock();
        let log = &mut state.logs[channel.0 as usize];
        log.expire(&self.limits, now);
        let oldest = log.head + 1 - log.entries.len() as u64;
        let before = log.entries.partition_point(|entry| now - entry.at > age);
        Ok(self.position(oldest - 1 + before as u64))
    }
}

#[async_trait]
impl Notifier for Memory {
    async fn probe(&self, number: u64) -> Result<(), BrokerError> {
        self.sender()?.send(Signal::Probe(number)).await.map_err(|_| BrokerError::closed())
    }
}

#[async_trait]
impl Backend for Memory {
    fn nodes(&self) -> &dyn Nodes {
        &self.nodes
    }

    fn store(&self) -> &dyn Store {
        &self.store
    }

    async fn close(&self) {
        self.lock().bus = None;
        self.store.close();
    }
}

impl ChannelLog {
    fn append(&mut self, event: &Event, id: Id, limits: &Limits, now: Instant) -> u64 {
        self.head += 1;
        self.entries.push_back(Stored { at: now, json: event.json.clone() });
        while self.entries.len() as u64 > limits.log_max_events {
            self.entries.pop_front();
        }
        self.seen.insert(id, self.head);
        self.recent.push_back((now, id));
        self.head
    }

    fn expire(&mut self, limits: &Limits, now: Instant) {
        while self.entries.front().is_some_and(|oldest| now - oldest.at > limits.log_max_age) {
            self.entries.pop_front();
        }
        while self.recent.front().is_some_and(|(at, _)| now - *at > limits.dedup_window) {
            if let Some((_, id)) = self.recent.pop_front() {
                self.seen.remove(&id);
            }
        }
    }
}
