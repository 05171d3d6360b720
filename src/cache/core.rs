//! The parts of a cache, which all of its namespaces share.
//!
//! `reads.rs`, `loads.rs`, `writes.rs` and `verify.rs` each add what they are named after.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::clock::{Environment, FOREVER, NEVER, Nanos, nanos, within};
use super::coherence::{Now, Settings, State, has_reached};
use super::error::Error;
use super::events::{Counters, Event, Stats};
use super::history::History;
use super::l2::GuardedL2;
use super::proof::{Demand, Proven, ToSend, WAIT};
use super::source::{DeliveredInvalidation, Source, SourceHandler};
use super::store::{Shelves, Store};
use super::types::Options;
use super::validity::Current;
use crate::event::Position;

/// How long [`Core::close`] waits for writes to L2 and locks there. Each call of L2 takes at most a quarter of it.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// A cache without the types of its values.
pub struct Core {
    pub environment: Arc<dyn Environment>,
    pub source: Arc<dyn Source>,
    state: Mutex<State>,
    /// What hits read without the lock.
    pub shelves: Arc<Shelves>,
    pub current: Arc<Current>,
    pub proven: Arc<Proven>,
    pub counters: Arc<Counters>,
    /// How many syncs have ended.
    ended: watch::Sender<u64>,
    pub l2: Option<Arc<GuardedL2>>,
    pub bound: Nanos,
    pub ttl: Nanos,
    max_ttl: Nanos,
    jitter: f64,
    is_closed: AtomicBool,
    /// The keys whose values are verified at the moment.
    checks: Mutex<HashSet<String>>,
}

impl Core {
    /// A cache that follows `source`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if an option cannot be used.
    pub fn start(
        options: &Options,
        source: Arc<dyn Source>,
        environment: Arc<dyn Environment>,
        history: History,
    ) -> Result<Arc<Self>, Error> {
        let Options { bound, ttl, max_ttl, jitter, max_entries, max_bytes, settle, l2 } = options;
        if *max_entries == 0 {
            return Err(Error::Invalid("max_entries is 0: pass a number above 0".into()));
        }
        if !(0.0..=1.0).contains(jitter) {
            return Err(Error::Invalid(format!("jitter is {jitter}: pass a number from 0 to 1")));
        }
        let counters = Arc::new(Counters::default());
        let settings = Settings { settle: nanos(*settle), keeps_history: l2.is_some() };
        let store = Store::new(*max_entries, max_bytes.unwrap_or(u64::MAX));
        let state = State::new(store, history, settings, counters.clone());
        let l2 = l2.as_ref().map(|l2| Arc::new(GuardedL2::new(l2.clone(), environment.clone(), counters.clone())));
        let core = Arc::new(Self {
            environment,
            source,
            shelves: state.store.shelves.clone(),
            current: state.validity.current.clone(),
            proven: state.proof.proven.clone(),
            counters,
            ended: watch::Sender::new(0),
            l2,
            bound: nanos(*bound),
            ttl: nanos(*ttl),
            max_ttl: max_ttl.map_or(FOREVER, nanos),
            jitter: *jitter,
            is_closed: AtomicBool::new(false),
            checks: Mutex::default(),
            state: Mutex::new(state),
        });
        let handler: Arc<dyn SourceHandler> = core.clone();
        core.source.start(Arc::downgrade(&handler), core.l2.is_some());
        // Answered when the subscription has begun.
        core.attempt(Demand::ANY);
        Ok(core)
    }

    /// The time by both clocks.
    pub fn now(&self) -> Now {
        Now { age: self.environment.now(), held: self.environment.monotonic() }
    }

    /// Never held across an await, or while the source is called.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys whose values are verified at the moment.
    pub fn checks(&self) -> MutexGuard<'_, HashSet<String>> {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// # Errors
    /// [`Error::Closed`] after [`Core::close`].
    pub fn check_open(&self) -> Result<(), Error> {
        if self.is_closed.load(Ordering::Acquire) { Err(Error::Closed) } else { Ok(()) }
    }

    pub async fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.source.stop();
        {
            let mut state = self.lock();
            state.flights.cancel();
            let State { store, validity, .. } = &mut *state;
            store.clear(validity);
        }
        if let Some(l2) = &self.l2 {
            within(&*self.environment, CLOSE_LIMIT, l2.settled()).await;
        }
    }

    pub fn stats(&self) -> Stats {
        self.counters.stats(self.shelves.hits())
    }

    /// The TTL for a value, spread and limited.
    pub fn spread(&self, ttl: Nanos) -> Nanos {
        let spread = 1.0 + self.jitter * (2.0 * self.environment.random() - 1.0);
        // The cast saturates.
        ((ttl as f64 * spread) as Nanos).min(self.max_ttl)
    }

    /// Limits the TTL of an entry of L2.
    pub fn limited(&self, ttl: Nanos) -> Nanos {
        ttl.min(self.max_ttl)
    }

    /// Waits until a position is applied. False after `timeout`.
    pub async fn reached(&self, position: &Position, timeout: Duration) -> bool {
        let mut applied = self.lock().applied.subscribe();
        if has_reached(applied.borrow().as_ref(), position) {
            return true;
        }
        // Learns a position whose events a filter of the daemon keeps from this client.
        self.refresh(self.environment.now());
        let reached = applied.wait_for(|applied| has_reached(applied.as_ref(), position));
        within(&*self.environment, timeout, reached).await.is_some_and(|reached| reached.is_ok())
    }

    /// Drops an entry.
    pub fn forget(&self, key: &str) {
        let mut state = self.lock();
        let State { store, validity, .. } = &mut *state;
        store.delete(validity, key);
    }

    /// Sends a sync in the background, unless one is in progress.
    pub fn refresh(&self, now: Nanos) {
        if !self.proven.is_quiet(now) && self.source.is_connected() {
            self.attempt(Demand::ANY);
        }
    }

    fn attempt(&self, demand: Demand) {
        let to_send = self.lock().proof.attempt(demand, self.environment.now());
        self.send(to_send);
    }

    fn send(&self, to_send: ToSend) {
        if let Some(number) = to_send {
            self.source.sync(number);
        }
    }

    /// Whether there is such a proof. Waits a short time for one.
    pub async fn reaches(&self, demand: Demand) -> bool {
        let covers = || self.lock().proof.covers(demand, NEVER);
        if covers() {
            return true;
        }
        if !self.source.is_connected() {
            return false;
        }
        let mut ended = self.ended.subscribe();
        self.attempt(demand);
        if self.lock().proof.is_suspect {
            return covers();
        }
        let waited = within(&*self.environment, WAIT, async {
            loop {
                ended.borrow_and_update();
                {
                    let state = self.lock();
                    if state.proof.covers(demand, NEVER) || !state.proof.is_pending(demand) {
                        return;
                    }
                }
                if ended.changed().await.is_err() {
                    return;
                }
            }
        });
        if waited.await.is_none() {
            self.lock().proof.is_suspect = true;
        }
        covers()
    }
}

impl SourceHandler for Core {
    fn invalidated(&self, invalidation: &DeliveredInvalidation) {
        let now = self.now();
        self.lock().invalidated(invalidation, now);
    }

    fn lost(&self, position: &Position) {
        tracing::info!(%position, "invalidations were lost; the cache drops everything");
        self.lock().lost(position);
    }

    fn refused(&self, error: Error) {
        self.counters.events.tell(|| Event::Refused { error });
    }

    fn synced(&self, number: u64, position: Option<&Position>) {
        let now = self.environment.now();
        let to_send = {
            let mut state = self.lock();
            // First: hits rely on the proof without the lock.
            if let Some(position) = position {
                let sent_at = state.proof.sent_at(number);
                state.proven(position, sent_at);
            }
            state.proof.ended(number, position.is_some(), now)
        };
        self.ended.send_modify(|ended| *ended += 1);
        self.send(to_send);
    }
}
