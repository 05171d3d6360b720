//! What the cache reports: counters. Losses, failures and values that changed without an invalidation go to `tracing`, too.

use std::sync::atomic::{AtomicU64, Ordering};

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

/// The counters, except the hits of this process, which [`Shelves`](super::store::Shelves) count.
#[derive(Debug, Default)]
pub struct Counters {
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
