//! Applies invalidations and losses, in the order of the log, to the entries, the loads in progress and the holds. Knows how
//! far this cache has applied the log.
//!
//! An invalidation of this cache is applied before it is published. When it comes back from the bus, only its position is new.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use tokio::sync::{oneshot, watch};

use super::clock::{Nanos, nanos};
use super::events::{Counters, Event};
use super::flights::{Flight, Flights};
use super::history::{History, NO_OFFSET, names};
use super::holds::Holds;
use super::proof::Proof;
use super::source::DeliveredInvalidation;
use super::store::{NewEntry, Store, Value};
use super::validity::Validity;
use crate::event::{CacheInvalidate, Position};

/// How many invalidations of this cache may wait for their return.
const MAX_OWN: usize = 1_000;

/// A moment by both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For ages.
    pub age: Nanos,
    /// By the monotonic clock, for holds.
    pub held: Nanos,
}

/// What `put` stores when its own invalidation comes back, unless another one matches before.
pub struct Watcher {
    pub id: String,
    pub key: String,
    pub value: Value,
    pub tags: Vec<String>,
    pub loaded_at: Nanos,
    /// The same by the monotonic clock.
    pub held_from: Nanos,
    pub ttl: Nanos,
    pub size: u64,
    /// Receives the position, if the value was stored.
    pub done: oneshot::Sender<Position>,
}

/// An invalidation of this cache that has not come back.
struct Own {
    what: CacheInvalidate,
    number: u64,
    /// Whether the daemon has taken it.
    is_taken: bool,
    /// When publishing it failed.
    failed_at: Option<Nanos>,
}

/// How the parts work together.
pub struct Settings {
    /// For how long nothing is stored after an invalidation.
    pub settle: Nanos,
    /// Whether the history is needed beyond the loads in progress, for an L2.
    pub keeps_history: bool,
}

/// Everything that changes when invalidations are applied, behind one lock. Hits take it only if they cannot decide without.
pub struct State {
    pub validity: Validity,
    pub history: History,
    pub holds: Holds,
    pub store: Store,
    pub flights: Flights,
    pub proof: Proof,
    pub settings: Settings,
    pub counters: Arc<Counters>,
    own: HashMap<String, Own>,
    watchers: Vec<Watcher>,
    /// Up to where everything is applied.
    pub applied: watch::Sender<Option<Position>>,
    /// Whether the subscription has begun: from then on, nothing is missed unnoticed.
    has_begun: bool,
}

/// The offset of a position as a number that can be below zero.
fn offset(position: &Position) -> i64 {
    i64::try_from(position.offset).unwrap_or(i64::MAX)
}

impl State {
    pub fn new(store: Store, history: History, settings: Settings, counters: Arc<Counters>) -> Self {
        Self {
            validity: Validity::default(),
            history,
            holds: Holds::new(),
            store,
            flights: Flights::default(),
            proof: Proof::new(),
            settings,
            counters,
            own: HashMap::new(),
            watchers: Vec::new(),
            applied: watch::Sender::new(None),
            has_begun: false,
        }
    }

    /// The position up to which everything is applied. `None` until the subscription has begun.
    pub fn applied(&self) -> Option<Position> {
        if self.has_begun { self.applied.borrow().clone() } else { None }
    }

    // From the bus

    pub fn invalidated(&mut self, delivered: &DeliveredInvalidation, now: Now) {
        let DeliveredInvalidation { position, id, cause, data } = delivered;
        let at = offset(position);
        self.enter(position, at - 1);
        match self.own.remove(id) {
            None => drop(self.apply(data, id, cause.as_deref(), at, Some(position), now)),
            Some(own) if self.settings.keeps_history => self.history.record(&own.what, own.number, at),
            Some(_) => {}
        }
        self.disturb(data, id);
        while let Some(index) = self.watchers.iter().position(|watcher| watcher.id == *id) {
            let watcher = self.watchers.swap_remove(index);
            self.finish(watcher, position, now.age);
        }
        self.advance(position);
    }

    pub fn lost(&mut self, position: &Position) {
        self.validity.lose();
        self.history.clear(self.validity.current.number(), Some(offset(position)));
        self.watchers.clear();
        // They may be among what is lost.
        self.own.retain(|_, own| !own.is_taken);
        self.counters.gaps.count();
        self.counters.events.tell(|| Event::Gap { position: position.clone() });
        self.applied.send_replace(Some(position.clone()));
    }

    /// A sync that was sent at `sent_at` was answered: everything up to `position` has been reported.
    pub fn proven(&mut self, position: &Position, sent_at: Nanos) {
        let at = offset(position);
        self.enter(position, at);
        let Self { own, history, .. } = self;
        own.retain(|_, own| {
            let is_settled = own.failed_at.is_some_and(|failed_at| failed_at < sent_at);
            if is_settled {
                // It has no position. What has this fence may be from before it, what has a later one is not.
                history.record(&own.what, own.number, at + 1);
            }
            !is_settled
        });
        if !self.has_begun {
            // What was loaded before the subscription began may have been invalidated unnoticed.
            self.has_begun = true;
            self.validity.lose();
            if !self.settings.keeps_history {
                self.history.clear(self.validity.current.number(), None);
            }
        }
        self.advance(position);
    }

    // From this process

    /// Applies an invalidation of this cache, before it is published under `id`.
    pub fn apply_own(&mut self, what: &CacheInvalidate, id: &str, cause: Option<&str>, now: Now) {
        // Those that wait longest are treated as foreign when they come back, which costs a load.
        if self.own.len() >= MAX_OWN
            && let Some(first) = self.own.iter().min_by_key(|(_, own)| own.number).map(|(id, _)| id.clone())
        {
            self.own.remove(&first);
        }
        let number = self.apply(what, id, cause, NO_OFFSET, None, now);
        self.own.insert(id.to_owned(), Own { what: what.clone(), number, is_taken: false, failed_at: None });
        self.disturb(what, id);
    }

    /// The daemon took an invalidation of this cache at `position`, or it is not known whether it did.
    pub fn published(&mut self, id: &str, position: Option<&Position>, now: Nanos) {
        let Some(own) = self.own.get_mut(id) else { return };
        let Some(position) = position else {
            own.failed_at = Some(now);
            return;
        };
        if self.settings.keeps_history {
            self.history.record(&own.what, own.number, offset(position));
        }
        own.is_taken = true;
        if has_reached(self.applied.borrow().as_ref(), position) {
            self.own.remove(id);
        }
    }

    pub fn watch(&mut self, watcher: Watcher) {
        self.watchers.push(watcher);
    }

    /// Ends the watcher of this invalidation.
    pub fn unwatch(&mut self, id: &str) {
        self.watchers.retain(|watcher| watcher.id != id);
    }

    /// Whether a hold overlaps the time from `since` on, by the monotonic clock.
    pub fn is_held(&self, key: &str, tags: &[String], since: Nanos) -> bool {
        self.holds.overlap(key, tags, since)
    }

    /// Whether no invalidation after `fence` matches, and nothing was lost.
    pub fn is_current(&self, key: &str, tags: &[String], fence: u64, generation: u64) -> bool {
        let current = &self.validity.current;
        generation == current.generation()
            && (fence == current.number() || !self.history.matches_since(fence, key, tags))
    }

    /// Whether no invalidation has hit this load, as far as its tags are known.
    pub fn is_joinable(&self, flight: &Flight) -> bool {
        !flight.is_cancelled() && self.is_current(&flight.key, &flight.tags(), flight.fence(), flight.generation())
    }

    /// Whether a value of L2 with this fence may be served, as far as invalidations go.
    pub fn is_current_in_l2(&self, key: &str, tags: &[String], fence: &Position, now: Nanos) -> bool {
        self.applied().is_some_and(|applied| applied.same_epoch(fence))
            && !self.history.matches_after(offset(fence), key, tags)
            // An invalidation that was not published yet, or has not come back, has no offset.
            && !self.own.values().any(|own| names(&own.what, key, tags))
            && !self.holds.overlap(key, tags, now)
    }

    /// Stores a value.
    pub fn keep(&mut self, new: NewEntry<'_>) {
        self.store.set(&mut self.validity, new);
    }

    /// Applies an invalidation, and returns its number.
    fn apply(
        &mut self,
        what: &CacheInvalidate,
        id: &str,
        cause: Option<&str>,
        offset: i64,
        position: Option<&Position>,
        now: Now,
    ) -> u64 {
        let until = milliseconds(what.stale_for_ms).map(|stale_for| now.age + stale_for);
        let number = self.validity.current.number() + 1;
        let mut matched = !what.prefixes.is_empty();
        for tag in &what.tags {
            matched |= self.validity.mark_tag(tag, number, now.age, until);
        }
        for key in &what.keys {
            if let Some(entry) = self.store.get(key) {
                entry.validated.mark(until);
                matched = true;
            }
        }
        for prefix in &what.prefixes {
            self.validity.mark_prefix(prefix, number, until);
        }
        // After the marks: a hit that sees the number sees them.
        self.validity.current.publish(number);
        let oldest = self.flights.oldest();
        if self.settings.keeps_history || oldest.is_some() {
            self.history.record(what, number, offset);
        } else {
            self.history.clear(number, None);
        }
        let hold_from = oldest.unwrap_or(now.held);
        if let Some(hold) = milliseconds(what.hold_ms) {
            self.holds.add(what, cause.unwrap_or(id), now.held + hold, hold_from);
        } else if let Some(cause) = cause {
            self.holds.end(what, cause);
        }
        if self.settings.settle > 0 {
            self.holds.add(what, "", now.held + self.settings.settle, hold_from);
        }
        self.counters.applied.count();
        if !matched {
            self.counters.unmatched.count();
        }
        self.counters.events.tell(|| Event::Invalidated { position: position.cloned(), what: what.clone(), matched });
        number
    }

    /// Notices the first position, from which the log is known after `offset`, and another epoch.
    fn enter(&mut self, position: &Position, offset: i64) {
        let applied = self.applied.borrow().clone();
        match applied {
            None => {
                let before = u64::try_from(offset).unwrap_or_default();
                self.applied.send_replace(Some(Position::new(position.epoch.clone(), before)));
                self.history.begin(offset);
            }
            // The bus tells a new epoch by a gap. This one it did not.
            Some(applied) if !applied.same_epoch(position) => {
                let before = u64::try_from(offset).unwrap_or_default();
                self.lost(&Position::new(position.epoch.clone(), before));
            }
            Some(_) => {}
        }
    }

    fn advance(&mut self, position: &Position) {
        let is_later =
            |applied: &Option<Position>| applied.as_ref().is_none_or(|applied| position.offset > applied.offset);
        self.applied.send_if_modified(|applied| {
            let advances = is_later(applied);
            if advances {
                *applied = Some(position.clone());
            }
            advances
        });
    }

    /// Ends the watchers that another invalidation than their own matches: whose value is the last one is not known.
    fn disturb(&mut self, what: &CacheInvalidate, id: &str) {
        self.watchers.retain(|watcher| watcher.id == id || !names(what, &watcher.key, &watcher.tags));
    }

    fn finish(&mut self, watcher: Watcher, position: &Position, now: Nanos) {
        let Watcher { key, value, tags, loaded_at, held_from, ttl, size, done, .. } = watcher;
        if ttl > 0 && !self.is_held(&key, &tags, held_from) {
            self.keep(NewEntry { key: &key, value, tags: &tags, loaded_at, expires_at: now + ttl, size });
            // Nobody may wait any more.
            let _ = done.send(position.clone());
        }
    }
}

/// Whether `applied` is at this position or after it.
pub fn has_reached(applied: Option<&Position>, position: &Position) -> bool {
    applied.is_some_and(|applied| applied.same_epoch(position) && applied.offset >= position.offset)
}

/// Milliseconds of an event, unless they are absent or 0.
fn milliseconds(ms: Option<u64>) -> Option<Nanos> {
    let ms = ms.filter(|ms| *ms > 0)?;
    Some(nanos(Duration::from_millis(ms)))
}
