//! Loads in progress: one for each key, which all readers of the key share.
//!
//! An invalidation does not search the loads: it leaves a trace in the history. A reader that wants to join a load asks the
//! history whether an invalidation has hit the load since it began. A load that was hit goes on for the readers that waited
//! before; a later reader starts a new one.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::HashMap;
use tokio::sync::{Notify, watch};

use super::clock::Nanos;
use super::error::Error;
use super::store::Value;

/// What a load has come to.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub value: Value,
    pub is_from_l2: bool,
    /// Whether it was invalidated meanwhile.
    pub is_fenced: bool,
    /// Whether a writer was at work meanwhile.
    pub is_held: bool,
}

/// The outcome, when there is one.
pub type Landed = Option<Result<Outcome, Error>>;

/// When a load began, and after which invalidation of which generation.
#[derive(Debug, Clone, Copy)]
pub struct Start {
    pub at: Nanos,
    /// The same by the monotonic clock.
    pub held_from: Nanos,
    pub fence: u64,
    pub generation: u64,
}

/// A load in progress.
#[derive(Debug)]
pub struct Flight {
    pub key: Box<str>,
    /// The tags that are known so far.
    tags: Mutex<Vec<String>>,
    /// When it began, and after which invalidation of which generation. Moved on until the loader is called.
    started_at: AtomicI64,
    /// When it began by the monotonic clock, for holds.
    held_from: AtomicI64,
    fence: AtomicU64,
    generation: AtomicU64,
    /// The how manyth load it is.
    pub ordinal: u64,
    outcome: watch::Receiver<Landed>,
    /// How many callers wait. A load in the background has one that never leaves.
    waiting: AtomicUsize,
    is_cancelled: AtomicBool,
    cancelled: Notify,
}

/// A caller who waits for a load. When all have left, the load ends.
pub struct Waiter(Arc<Flight>);

impl Flight {
    pub fn tags(&self) -> Vec<String> {
        self.tags.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn add_tags(&self, names: impl IntoIterator<Item = String>) {
        let mut tags = self.tags.lock().unwrap_or_else(PoisonError::into_inner);
        for name in names {
            if !tags.contains(&name) {
                tags.push(name);
            }
        }
    }

    pub fn started_at(&self) -> Nanos {
        self.started_at.load(Ordering::Relaxed)
    }

    pub fn held_from(&self) -> Nanos {
        self.held_from.load(Ordering::Relaxed)
    }

    pub fn fence(&self) -> u64 {
        self.fence.load(Ordering::Relaxed)
    }

    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    pub fn wait(self: &Arc<Self>) -> Waiter {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        Waiter(self.clone())
    }

    /// Goes on without anybody who waits.
    pub fn keep(&self) {
        self.waiting.fetch_add(1, Ordering::AcqRel);
    }

    pub fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Release);
        self.cancelled.notify_one();
    }

    pub fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Acquire)
    }

    pub async fn cancelled(&self) {
        self.cancelled.notified().await;
    }
}

impl Waiter {
    /// The outcome. `None` if the load was ended or has panicked.
    pub async fn outcome(&self) -> Landed {
        let mut outcome = self.0.outcome.clone();
        outcome.wait_for(Option::is_some).await.ok().and_then(|landed| landed.clone())
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if self.0.waiting.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.cancel();
        }
    }
}

/// All loads in progress. Changed under the lock of the cache.
#[derive(Default)]
pub struct Flights {
    /// By key: the load that readers may join.
    current: HashMap<Box<str>, Arc<Flight>>,
    /// By when they began by the monotonic clock, and their ordinals.
    all: BTreeSet<(Nanos, u64)>,
    /// By ordinal.
    flights: HashMap<u64, Arc<Flight>>,
    /// How many loads have begun.
    pub begun: u64,
}

impl Flights {
    pub fn get(&self, key: &str) -> Option<&Arc<Flight>> {
        self.current.get(key)
    }

    /// When the oldest load began, by the monotonic clock.
    pub fn oldest(&self) -> Option<Nanos> {
        self.all.first().map(|(held_from, _)| *held_from)
    }

    /// A new load, which readers of the key may join from now on. The sender takes its outcome.
    pub fn begin(&mut self, key: &str, tags: &[String], start: Start) -> (Arc<Flight>, watch::Sender<Landed>) {
        self.begun += 1;
        let (sender, outcome) = watch::channel(None);
        let flight = Arc::new(Flight {
            key: key.into(),
            tags: Mutex::new(tags.to_vec()),
            started_at: AtomicI64::new(start.at),
            held_from: AtomicI64::new(start.held_from),
            fence: AtomicU64::new(start.fence),
            generation: AtomicU64::new(start.generation),
            ordinal: self.begun,
            outcome,
            waiting: AtomicUsize::new(0),
            is_cancelled: AtomicBool::new(false),
            cancelled: Notify::new(),
        });
        self.current.insert(key.into(), flight.clone());
        self.all.insert((start.held_from, flight.ordinal));
        self.flights.insert(flight.ordinal, flight.clone());
        (flight, sender)
    }

    /// Moves a load, which has not called its loader yet, to now.
    pub fn restart(&mut self, flight: &Flight, start: Start) {
        if self.all.remove(&(flight.held_from(), flight.ordinal)) {
            self.all.insert((start.held_from, flight.ordinal));
        }
        flight.started_at.store(start.at, Ordering::Relaxed);
        flight.held_from.store(start.held_from, Ordering::Relaxed);
        flight.fence.store(start.fence, Ordering::Relaxed);
        flight.generation.store(start.generation, Ordering::Relaxed);
    }

    pub fn remove(&mut self, flight: &Flight) {
        self.all.remove(&(flight.held_from(), flight.ordinal));
        self.flights.remove(&flight.ordinal);
        if self.current.get(&flight.key).is_some_and(|current| current.ordinal == flight.ordinal) {
            self.current.remove(&flight.key);
        }
    }

    pub fn cancel(&self) {
        self.flights.values().for_each(|flight| flight.cancel());
    }
}
