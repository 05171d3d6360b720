//! The proof that this cache has heard of every invalidation: the last answered `sync` of the bus.
//!
//! A `sync` that was sent at a time and answered later proves that everything the log had when it was sent was applied. So the
//! time of the proof is when the sync was sent, by the clock of this process: no two clocks are compared.
//!
//! At most one sync is in progress. Who needs a later one waits for the next, together with all others. A cache that nobody
//! reads sends none.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use super::clock::{NEVER, Nanos};

/// How long a read waits for a proof before it loads.
pub const WAIT: Duration = Duration::from_millis(100);
/// How long a sync may be in progress before the next one is sent. The daemon answers within 3 s.
const GIVE_UP: Nanos = 5_000_000_000;
/// How long no sync is sent after one that failed.
const PAUSE: Nanos = 250_000_000;
/// How many syncs are remembered whose answers may still come.
const MAX_OUTSTANDING: usize = 8;

/// What proof a read needs.
#[derive(Debug, Clone, Copy)]
pub struct Demand {
    /// The value was loaded, or the sync was sent, at this time or later.
    pub not_before: Nanos,
    /// At least the sync with this number was answered. A strict read counts instead of looking at a clock, in whose smallest
    /// unit much can happen.
    sync: u64,
}

impl Demand {
    /// Any proof.
    pub const ANY: Self = Self { not_before: NEVER, sync: 0 };
}

/// What hits read without a lock.
#[derive(Debug)]
pub struct Proven {
    /// When the last answered sync was sent.
    at: AtomicI64,
    /// Until when no sync is to be sent, since one is in progress, or has just failed.
    quiet_until: AtomicI64,
}

impl Proven {
    pub fn at(&self) -> Nanos {
        self.at.load(Ordering::Acquire)
    }

    pub fn is_quiet(&self, now: Nanos) -> bool {
        now < self.quiet_until.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Clone, Copy)]
struct Attempt {
    number: u64,
    sent_at: Nanos,
}

/// The state of the proof. Changed under the lock of the cache.
pub struct Proof {
    pub proven: Arc<Proven>,
    /// The number of the last answered sync, and of the last one that was sent.
    answered: u64,
    sent: u64,
    /// Syncs whose answers may come, the oldest first.
    outstanding: VecDeque<Attempt>,
    current: Option<Attempt>,
    /// Whether the next sync follows the current one at once.
    wants_next: bool,
    /// Whether the last sync failed or was not answered in time. Reads do not wait then.
    pub is_suspect: bool,
    paused_until: Nanos,
}

/// A sync to send, by its number, after the lock was released.
pub type ToSend = Option<u64>;

impl Proof {
    pub fn new() -> Self {
        Self {
            proven: Arc::new(Proven { at: AtomicI64::new(NEVER), quiet_until: AtomicI64::new(NEVER) }),
            answered: 0,
            sent: 0,
            outstanding: VecDeque::new(),
            current: None,
            wants_next: false,
            is_suspect: false,
            paused_until: NEVER,
        }
    }

    /// What a read that begins at `began` needs.
    pub fn demand(&self, began: Nanos, bound: Nanos) -> Demand {
        match bound {
            0 => Demand { not_before: NEVER, sync: self.sent + 1 },
            _ => Demand { not_before: began - bound, sync: 0 },
        }
    }

    /// Whether a value that was loaded at `loaded_at` is proven.
    pub fn covers(&self, demand: Demand, loaded_at: Nanos) -> bool {
        self.answered >= demand.sync && loaded_at.max(self.proven.at()) >= demand.not_before
    }

    /// Sees to a sync that answers the demand.
    pub fn attempt(&mut self, demand: Demand, now: Nanos) -> ToSend {
        if let Some(current) = self.current.filter(|current| now - current.sent_at < GIVE_UP) {
            self.wants_next |= !Self::answers(current, demand);
            return None;
        }
        self.current = None;
        self.send(now)
    }

    /// Whether a sync that answers the demand is in progress, or will follow the one that is.
    pub fn is_pending(&self, demand: Demand) -> bool {
        self.current.is_some_and(|current| self.wants_next || Self::answers(current, demand))
    }

    fn answers(attempt: Attempt, demand: Demand) -> bool {
        attempt.sent_at >= demand.not_before && attempt.number >= demand.sync
    }

    fn send(&mut self, now: Nanos) -> ToSend {
        // Those that wait for what follows a sync that is given up have waited long enough.
        self.wants_next = false;
        if now < self.paused_until {
            return None;
        }
        self.sent += 1;
        let attempt = Attempt { number: self.sent, sent_at: now };
        self.current = Some(attempt);
        if self.outstanding.len() == MAX_OUTSTANDING {
            self.outstanding.pop_front();
        }
        self.outstanding.push_back(attempt);
        self.proven.quiet_until.store(now + GIVE_UP, Ordering::Relaxed);
        Some(attempt.number)
    }

    /// When the sync with this number was sent.
    pub fn sent_at(&self, number: u64) -> Nanos {
        self.outstanding.iter().find(|attempt| attempt.number == number).map_or(NEVER, |attempt| attempt.sent_at)
    }

    /// The sync with this number was answered, or has failed.
    pub fn ended(&mut self, number: u64, is_answered: bool, now: Nanos) -> ToSend {
        let index = self.outstanding.iter().position(|attempt| attempt.number == number)?;
        let attempt = self.outstanding.remove(index)?;
        self.is_suspect = !is_answered;
        if is_answered {
            self.answered = self.answered.max(number);
            self.proven.at.fetch_max(attempt.sent_at, Ordering::AcqRel);
        } else {
            self.paused_until = now + PAUSE;
        }
        if self.current.is_none_or(|current| current.number != number) {
            return None;
        }
        self.current = None;
        self.proven.quiet_until.store(self.paused_until, Ordering::Relaxed);
        if self.wants_next { self.send(now) } else { None }
    }
}
