//! Holds: what is loaded while a writer is at work is returned and not stored.
//!
//! A load can begin before a writer commits and end after its hold. So a load is held if a hold overlapped it at any time, and
//! a hold is forgotten only when no load from its time is left.
//!
//! All times are those of the monotonic clock: a wall clock that is set forward must not end a hold.

use hashbrown::HashMap;

use super::clock::{NEVER, Nanos};
use crate::event::CacheInvalidate;

/// More names than this are not remembered: everything is held instead.
const MAX_NAMES: usize = 10_000;
/// At how many names the expired ones are removed for the first time.
const FIRST_SWEEP: usize = 64;

/// By holder: until when.
type Holders = HashMap<String, Nanos>;
type Names = HashMap<String, Holders>;

/// The holds that loads in progress may overlap.
pub struct Holds {
    tags: Names,
    keys: Names,
    prefixes: Names,
    /// Until when everything is held.
    everything: Nanos,
    /// At how many names the expired ones are removed.
    sweep_at: usize,
}

impl Holds {
    pub fn new() -> Self {
        let (tags, keys, prefixes) = (Names::new(), Names::new(), Names::new());
        Self { tags, keys, prefixes, everything: NEVER, sweep_at: FIRST_SWEEP }
    }

    /// Holds what is named until `until`. `oldest`: when the oldest load in progress began.
    pub fn add(&mut self, what: &CacheInvalidate, holder: &str, until: Nanos, oldest: Nanos) {
        for (named, names) in self.lists(what) {
            for name in named {
                let holders = names.entry_ref(name.as_str()).or_default();
                let held = holders.entry_ref(holder).or_insert(until);
                *held = until.max(*held);
            }
        }
        if self.len() < self.sweep_at {
            return;
        }
        self.sweep(oldest);
        if self.len() > MAX_NAMES {
            self.hold_everything();
        }
        self.sweep_at = FIRST_SWEEP.max(2 * self.len());
    }

    /// Ends the holds of a holder on what is named.
    pub fn end(&mut self, what: &CacheInvalidate, holder: &str) {
        for (named, names) in self.lists(what) {
            for name in named {
                if let Some(holders) = names.get_mut(name.as_str())
                    && holders.remove(holder).is_some()
                    && holders.is_empty()
                {
                    names.remove(name.as_str());
                }
            }
        }
    }

    /// Whether a hold overlaps the time from `since` on.
    pub fn overlap(&self, key: &str, tags: &[String], since: Nanos) -> bool {
        if self.everything > since {
            return true;
        }
        if self.len() == 0 {
            return false;
        }
        let is_later = |holders: &Holders| holders.values().any(|until| *until > since);
        self.keys.get(key).is_some_and(is_later)
            || tags.iter().any(|tag| self.tags.get(tag.as_str()).is_some_and(is_later))
            || self.prefixes.iter().any(|(prefix, holders)| key.starts_with(prefix.as_str()) && is_later(holders))
    }

    fn len(&self) -> usize {
        self.tags.len() + self.keys.len() + self.prefixes.len()
    }

    fn lists<'a, 'b>(&'a mut self, what: &'b CacheInvalidate) -> [(&'b [String], &'a mut Names); 3] {
        [(&what.tags, &mut self.tags), (&what.keys, &mut self.keys), (&what.prefixes, &mut self.prefixes)]
    }

    fn sweep(&mut self, oldest: Nanos) {
        for names in [&mut self.tags, &mut self.keys, &mut self.prefixes] {
            names.retain(|_, holders| {
                holders.retain(|_, until| *until > oldest);
                !holders.is_empty()
            });
        }
    }

    fn hold_everything(&mut self) {
        for names in [&mut self.tags, &mut self.keys, &mut self.prefixes] {
            let last = names.values().flat_map(HashMap::values).max();
            self.everything = self.everything.max(last.copied().unwrap_or(NEVER));
            names.clear();
        }
    }
}
