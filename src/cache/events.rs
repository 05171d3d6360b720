//! What the cache reports: counters, and events for whoever listens. Losses, failures and values that changed without an
//! invalidation go to `tracing`, too.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::error::Error;
use crate::event::{CacheInvalidate, Position};

/// How many events a listener may be behind.
const MAX_BEHIND: usize = 256;

/// What happened in a cache. Keys are as they are stored: with the name of the cache. A hit is no event: [`Stats`] counts them.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A loader has ended.
    Loaded {
        /// The key.
        key: String,
        /// How long it took.
        duration: Duration,
        /// Why it failed.
        error: Option<Error>,
    },
    /// A loaded value was returned and not stored, since an invalidation, a loss or a hold came meanwhile.
    Fenced {
        /// The key.
        key: String,
        /// The tags of the value.
        tags: Vec<String>,
    },
    /// A read had to wait for a proof.
    Unproven {
        /// The key.
        key: String,
        /// How long it waited.
        waited: Duration,
        /// Whether the proof came. If not, the read has loaded.
        proven: bool,
    },
    /// An invalidation was applied.
    Invalidated {
        /// `None` for one of this process, which is applied before the daemon has taken it.
        position: Option<Position>,
        /// What it names.
        what: CacheInvalidate,
        /// Whether that is stored here. An invalidation by prefix always counts as matched.
        matched: bool,
    },
    /// Invalidations were lost, or the log is a new one. All entries were dropped.
    Gap {
        /// The last position that is lost.
        position: Position,
    },
    /// A value has changed without an invalidation, as [`Cache::verify`](super::Cache::verify) has found.
    Mismatch {
        /// The key.
        key: String,
        /// The tags of the value.
        tags: Vec<String>,
    },
    /// L2 failed.
    L2Failed {
        /// Why, for people.
        reason: String,
    },
    /// The daemon has refused the subscription. The cache tries again, and each value is kept for the bound until then.
    Refused {
        /// Why.
        error: Error,
    },
    /// The listener was too slow.
    Missed {
        /// How many events it has missed.
        count: u64,
    },
}

/// The events of a cache from [`Coherence::events`](super::Coherence::events) on.
#[derive(Debug)]
pub struct Events(broadcast::Receiver<Event>);

impl Events {
    /// The next event. `None` when the cache was dropped.
    ///
    /// Cancel safe: dropping the future loses no event.
    pub async fn next(&mut self) -> Option<Event> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(count)) => Some(Event::Missed { count }),
            Err(RecvError::Closed) => None,
        }
    }
}

/// Tells listeners of events.
#[derive(Debug)]
pub struct Announcer(broadcast::Sender<Event>);

impl Default for Announcer {
    fn default() -> Self {
        Self(broadcast::Sender::new(MAX_BEHIND))
    }
}

impl Announcer {
    pub fn listen(&self) -> Events {
        Events(self.0.subscribe())
    }

    /// Makes the event only if somebody listens.
    pub fn tell(&self, event: impl FnOnce() -> Event) {
        if self.0.receiver_count() > 0 {
            // An error: the listener has just left.
            let _ = self.0.send(event());
        }
    }
}

/// The counters of a cache since it was connected.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// Reads answered by this process.
    pub hits_l1: u64,
    /// Reads answered by L2.
    pub hits_l2: u64,
    /// Reads that neither could answer.
    pub misses: u64,
    /// Calls of loaders, those in the background included.
    pub loads: u64,
    /// Reads that waited for the load of another one.
    pub joined: u64,
    /// Values that were returned and not stored, since an invalidation, a loss or a hold came meanwhile.
    pub fenced: u64,
    /// Reads that had to wait for a proof.
    pub unproven: u64,
    /// Ranges of invalidations that were lost, new epochs included. Each dropped all entries.
    pub gaps: u64,
    /// Applied invalidations.
    pub applied: u64,
    /// Those that named nothing that was stored here. Many of them may mean a misspelt tag.
    pub unmatched: u64,
    /// Values that `verify` found changed without an invalidation.
    pub mismatches: u64,
    /// Failures of L2.
    pub l2_errors: u64,
    /// The part of the reads that were hits, from 0 to 1. 0 before the first read.
    pub hit_rate: f64,
}

/// The counters and the listeners, except the hits of this process, which [`Shelves`](super::store::Shelves) count.
#[derive(Debug, Default)]
pub struct Counters {
    pub events: Announcer,
    pub hits_l2: Counter,
    pub misses: Counter,
    pub loads: Counter,
    pub joined: Counter,
    pub fenced: Counter,
    pub unproven: Counter,
    pub gaps: Counter,
    pub applied: Counter,
    pub unmatched: Counter,
    pub mismatches: Counter,
    pub l2_errors: Counter,
}

/// A number that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    pub fn stats(&self, hits_l1: u64) -> Stats {
        let (hits_l2, misses) = (self.hits_l2.get(), self.misses.get());
        let hits = hits_l1 + hits_l2;
        Stats {
            hits_l1,
            hits_l2,
            misses,
            loads: self.loads.get(),
            joined: self.joined.get(),
            fenced: self.fenced.get(),
            unproven: self.unproven.get(),
            gaps: self.gaps.get(),
            applied: self.applied.get(),
            unmatched: self.unmatched.get(),
            mismatches: self.mismatches.get(),
            l2_errors: self.l2_errors.get(),
            hit_rate: if hits + misses == 0 { 0.0 } else { hits as f64 / (hits + misses) as f64 },
        }
    }
}
