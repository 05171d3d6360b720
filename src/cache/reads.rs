//! The read path: what is stored is served if it is valid, proven and young. Else the reader waits for a proof, joins a load or
//! begins one.
//!
//! A read that begins at `t` is proven by a value that was loaded, or a sync that was sent, at `t - bound` or later.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::clock::{NEVER, Nanos, duration};
use super::coherence::State;
use super::core::Core;
use super::error::Error;
use super::events::Event;
use super::flights::{Flight, Waiter};
use super::loads::{Loader, ReadOptions};
use super::proof::Demand;
use super::store::{Entry, Value};

/// What a hit asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Within the TTL, and invalidated by nothing.
    Fresh,
    /// Also what an invalidation lets be served for some time.
    Servable,
}

/// What the stored entry is good for.
pub enum Hit {
    Served(Value),
    Missed,
    /// [`Core::hit_exactly`] has to decide.
    Unsure,
}

/// What a reader does next.
enum Step {
    Serve(Value),
    /// Waits for a proof.
    Prove,
    /// Waits for a load.
    Wait(Waiter, Arc<Flight>, Option<Joined>),
}

/// The number of the last invalidation when a reader joined a load.
struct Joined(u64);

impl Core {
    /// The stored value, if it can be served at once. Takes the lock of one shelf only.
    pub fn hit(&self, key: &[u8], bound: Nanos, freshness: Freshness) -> Hit {
        let now = self.environment.now();
        // First: what was applied before this proof is seen by what follows.
        let proven_at = self.proven.at();
        let found = self.shelves.read(key, |entry, shelf| {
            let Some(is_valid) = self.current.judge(&entry.validated, now) else { return (Hit::Unsure, false) };
            let (is_served, is_old) = is_servable(entry, is_valid, proven_at, now, bound, freshness);
            if !is_served {
                return (Hit::Missed, is_old);
            }
            if !entry.visited.load(Ordering::Relaxed) {
                entry.visited.store(true, Ordering::Relaxed);
            }
            shelf.hits.fetch_add(1, Ordering::Relaxed);
            (Hit::Served(entry.value.clone()), is_old)
        });
        let (hit, is_old) = found.unwrap_or((Hit::Missed, false));
        if is_old {
            self.refresh(now);
        }
        hit
    }

    /// As [`Core::hit`], under the lock.
    pub fn hit_exactly(&self, key: &str, bound: Nanos, freshness: Freshness) -> Option<Value> {
        let now = self.environment.now();
        let (served, is_old) = {
            let state = self.lock();
            let entry = state.store.get(key)?;
            let is_valid = state.validity.is_valid(key, &entry.validated, now);
            let (is_served, is_old) = is_servable(&entry, is_valid, self.proven.at(), now, bound, freshness);
            entry.visited.fetch_or(is_served, Ordering::Relaxed);
            (is_served.then(|| entry.value.clone()), is_old)
        };
        if is_old {
            self.refresh(now);
        }
        if served.is_some() {
            self.shelves.count_hit(key);
        }
        served
    }

    /// The value of a key, when [`Core::hit`] has not found it.
    pub async fn read(
        self: &Arc<Self>,
        key: &str,
        loader: &Loader,
        options: &Arc<ReadOptions>,
    ) -> Result<Value, Error> {
        let (demand, begun) = {
            let state = self.lock();
            (state.proof.demand(self.environment.now(), options.bound), state.flights.begun)
        };
        let mut has_waited = false;
        loop {
            self.check_open()?;
            let step = self.step(key, loader, options, demand, begun, has_waited);
            let (waiter, flight, joined) = match step {
                Step::Serve(value) => return Ok(value),
                Step::Prove => {
                    has_waited = true;
                    self.counters.unproven.count();
                    let began = self.environment.now();
                    let proven = self.reaches(demand).await;
                    let waited = duration(self.environment.now() - began);
                    self.counters.events.tell(|| Event::Unproven { key: key.to_owned(), waited, proven });
                    continue;
                }
                Step::Wait(waiter, flight, joined) => (waiter, flight, joined),
            };
            if joined.is_some() {
                self.counters.joined.count();
            }
            let outcome = match (waiter.outcome().await, &joined) {
                (Some(landed), _) => landed,
                // The load that was joined has ended without an outcome: all others have left, or it has panicked.
                (None, Some(_)) => continue,
                (None, None) => Err(self.check_open().err().unwrap_or(Error::Panicked)),
            };
            let outcome = match outcome {
                Ok(outcome) => outcome,
                Err(error) => {
                    self.counters.misses.count();
                    return self.kept_for_errors(key, demand, options.stale_if_error).ok_or(error);
                }
            };
            if let Some(Joined(number)) = joined {
                // What was invalidated before this reader joined is not for it: the tags may have become known only at the end.
                let is_from_before = outcome.is_fenced && number > flight.fence();
                // What came from L2 was proven for the reader that asked L2.
                let is_proven = match outcome.is_from_l2 {
                    true => self.lock().proof.covers(demand, NEVER),
                    false => !outcome.is_held || flight.started_at() >= demand.not_before,
                };
                if is_from_before || !is_proven {
                    continue;
                }
            }
            if outcome.is_from_l2 {
                self.counters.hits_l2.count();
            } else {
                self.counters.misses.count();
            }
            return Ok(outcome.value);
        }
    }

    fn step(
        self: &Arc<Self>,
        key: &str,
        loader: &Loader,
        options: &Arc<ReadOptions>,
        demand: Demand,
        begun: u64,
        has_waited: bool,
    ) -> Step {
        let mut state = self.lock();
        let now = self.environment.now();
        let entry = state.store.get(key).filter(|entry| {
            state.validity.is_valid(key, &entry.validated, now) && now < entry.expires_at.saturating_add(options.stale)
        });
        if let Some(entry) = &entry
            && state.proof.covers(demand, entry.loaded_at)
        {
            return Step::Serve(self.serve(&mut state, entry, now, loader, options));
        }
        let is_strict = options.bound == 0;
        let flight = state.flights.get(key).filter(|flight| {
            // A strict read joins nothing that began before it.
            state.is_joinable(flight) && !(is_strict && flight.ordinal <= begun)
        });
        let flight = flight.cloned();
        let is_unproven = !is_strict && flight.as_ref().is_some_and(|flight| !covers(&state, demand, flight));
        if (entry.is_some() || is_unproven) && !has_waited {
            return Step::Prove;
        }
        match flight.filter(|_| !is_unproven) {
            Some(flight) => Step::Wait(flight.wait(), flight, Some(Joined(self.current.number()))),
            None => {
                let flight = self.begin_load(&mut state, key, loader, options, demand);
                Step::Wait(flight.wait(), flight, None)
            }
        }
    }

    /// Serves an entry. One that is not fresh is loaded again in the background.
    fn serve(
        self: &Arc<Self>,
        state: &mut State,
        entry: &Entry,
        now: Nanos,
        loader: &Loader,
        options: &Arc<ReadOptions>,
    ) -> Value {
        entry.visited.store(true, Ordering::Relaxed);
        self.shelves.count_hit(&entry.key);
        let is_loading = state.flights.get(&entry.key).is_some_and(|flight| state.is_joinable(flight));
        if now >= entry.validated.fresh_until() && !is_loading {
            let demand = state.proof.demand(now, options.bound);
            self.begin_load(state, &entry.key, loader, options, demand).keep();
        }
        entry.value.clone()
    }

    /// The value that is served in place of an error.
    fn kept_for_errors(&self, key: &str, demand: Demand, stale_if_error: Nanos) -> Option<Value> {
        let state = self.lock();
        let now = self.environment.now();
        let entry = state.store.get(key)?;
        let is_kept = state.validity.is_valid(key, &entry.validated, now)
            && now < entry.expires_at.saturating_add(stale_if_error)
            && state.proof.covers(demand, entry.loaded_at);
        is_kept.then(|| entry.value.clone())
    }
}

/// Whether an entry can be served at once: valid, young and proven. And whether half of the bound is over, so that it is time
/// to ask for the next proof.
fn is_servable(
    entry: &Entry,
    is_valid: bool,
    proven_at: Nanos,
    now: Nanos,
    bound: Nanos,
    freshness: Freshness,
) -> (bool, bool) {
    let until = match freshness {
        Freshness::Fresh => entry.validated.fresh_until(),
        Freshness::Servable => entry.expires_at,
    };
    if !is_valid || now >= until || bound == 0 {
        return (false, false);
    }
    let age = now - entry.loaded_at.max(proven_at);
    (age <= bound, age > bound / 2)
}

/// Whether the value of a load that is in progress will be proven.
fn covers(state: &State, demand: Demand, flight: &Flight) -> bool {
    let started_at = flight.started_at();
    // The writer that holds it may have died: then no invalidation tells whether the load began before the commit.
    started_at >= demand.not_before
        || state.proof.covers(demand, started_at) && !state.is_held(&flight.key, &flight.tags(), flight.held_from())
}
