//! Which stored entries are still valid: the last invalidation of each tag, and of each prefix.
//!
//! Invalidations are numbered in the order in which this process applies them. An entry remembers the number up to which it is
//! known to be valid, so that a hit with nothing new compares two numbers. An invalidation by tag writes one number, however
//! many entries have the tag: they notice when they are read.
//!
//! A tag is known only while an entry has it, so memory does not grow with the tags ever seen.
//!
//! Hits take no lock of this module. So whoever applies an invalidation writes its marks first, and its number last
//! ([`Current::publish`]): a reader that sees a number sees all marks up to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

use hashbrown::HashMap;

use super::clock::{FOREVER, NEVER, Nanos};

/// The generation of an entry that an invalidation of its key has ended.
const GONE: u64 = u64::MAX;
/// More distinct prefixes than this are not remembered: all entries are dropped instead.
const MAX_PREFIXES: usize = 1_000;

/// A tag that at least one entry has.
#[derive(Debug)]
pub struct Tag {
    pub name: Arc<str>,
    /// How many entries have it.
    entries: AtomicUsize,
    /// The number of the last invalidation after which nothing older may be served.
    hard: AtomicU64,
    /// The number of the last invalidation that lets older values be served until `soft_until`.
    soft: AtomicU64,
    soft_until: AtomicI64,
}

/// The part of an entry that decides whether it is valid.
#[derive(Debug)]
pub struct Validated {
    pub tags: Box<[Arc<Tag>]>,
    /// The generation in which it was loaded, or `GONE`.
    generation: AtomicU64,
    /// The number of the last invalidation that was compared with the entry.
    checked: AtomicU64,
    /// Until when it is fresh.
    fresh_until: AtomicI64,
    /// Until when the publisher of an invalidation lets it be served.
    soft_until: AtomicI64,
}

/// How far invalidations and losses are applied. Read by hits without a lock.
#[derive(Debug, Default)]
pub struct Current {
    /// The number of the last invalidation.
    number: AtomicU64,
    /// Increased by a loss: entries of an older generation are gone.
    generation: AtomicU64,
    /// The number of the last invalidation by prefix.
    prefix: AtomicU64,
}

struct PrefixMark {
    prefix: Box<str>,
    number: u64,
    until: Option<Nanos>,
}

/// The marks of invalidations. Changed under the lock of the cache.
#[derive(Default)]
pub struct Validity {
    pub current: Arc<Current>,
    tags: HashMap<Arc<str>, Arc<Tag>>,
    /// In the order of their numbers.
    prefixes: Vec<PrefixMark>,
}

impl Tag {
    fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            entries: AtomicUsize::new(0),
            hard: AtomicU64::new(0),
            soft: AtomicU64::new(0),
            soft_until: AtomicI64::new(NEVER),
        }
    }
}

impl Validated {
    pub fn fresh_until(&self) -> Nanos {
        self.fresh_until.load(Ordering::Acquire)
    }

    fn soften(&self, until: Nanos) {
        self.fresh_until.store(NEVER, Ordering::Release);
        self.soft_until.fetch_min(until, Ordering::AcqRel);
    }

    /// An invalidation named the entry by its key.
    pub fn mark(&self, until: Option<Nanos>) {
        match until {
            None => self.generation.store(GONE, Ordering::Release),
            Some(until) => self.soften(until),
        }
    }
}

impl Current {
    pub fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// All marks of the invalidation `number` are written.
    pub fn publish(&self, number: u64) {
        self.number.fetch_max(number, Ordering::AcqRel);
    }

    /// Whether an entry may be served at `now`, as far as invalidations go. `None` if [`Validity::is_valid`] has to decide.
    pub fn judge(&self, entry: &Validated, now: Nanos) -> Option<bool> {
        // First: all marks up to this number are visible from here on.
        let number = self.number();
        if entry.generation.load(Ordering::Acquire) != self.generation() {
            return Some(false);
        }
        let checked = entry.checked.load(Ordering::Acquire);
        if checked < number {
            for tag in &entry.tags {
                if tag.hard.load(Ordering::Acquire) > checked {
                    return Some(false);
                }
                if tag.soft.load(Ordering::Acquire) > checked {
                    return None;
                }
            }
            if self.prefix.load(Ordering::Acquire) > checked {
                return None;
            }
            entry.checked.fetch_max(number, Ordering::AcqRel);
        }
        Some(now < entry.soft_until.load(Ordering::Acquire))
    }
}

impl Validity {
    /// How many tags are known.
    #[cfg(test)]
    pub fn tags(&self) -> usize {
        self.tags.len()
    }

    /// What decides about a new entry with these tags. [`Validity::release`] gives them back.
    pub fn acquire(&mut self, names: &[String], fresh_until: Nanos) -> Validated {
        let mut tag = |name: &String| {
            let tag = match self.tags.get(name.as_str()) {
                Some(tag) => tag.clone(),
                None => {
                    let tag = Arc::new(Tag::new(name));
                    self.tags.insert(tag.name.clone(), tag.clone());
                    tag
                }
            };
            tag.entries.fetch_add(1, Ordering::Relaxed);
            tag
        };
        Validated {
            tags: names.iter().map(&mut tag).collect(),
            generation: AtomicU64::new(self.current.generation()),
            checked: AtomicU64::new(self.current.number()),
            fresh_until: AtomicI64::new(fresh_until),
            soft_until: AtomicI64::new(FOREVER),
        }
    }

    pub fn release(&mut self, entry: &Validated) {
        for tag in &entry.tags {
            if tag.entries.fetch_sub(1, Ordering::Relaxed) == 1 {
                self.tags.remove(&*tag.name);
            }
        }
    }

    /// Marks a tag with the invalidation `number`. Returns whether an entry has the tag.
    pub fn mark_tag(&self, name: &str, number: u64, now: Nanos, until: Option<Nanos>) -> bool {
        let Some(tag) = self.tags.get(name) else { return false };
        let Some(until) = until else {
            tag.hard.store(number, Ordering::Release);
            return true;
        };
        if tag.soft_until.load(Ordering::Relaxed) <= now {
            // The time that the former invalidation allowed is over, for every entry from before it.
            tag.hard.fetch_max(tag.soft.load(Ordering::Relaxed), Ordering::Release);
            tag.soft_until.store(until, Ordering::Release);
        } else {
            tag.soft_until.fetch_min(until, Ordering::Release);
        }
        tag.soft.store(number, Ordering::Release);
        true
    }

    pub fn mark_prefix(&mut self, prefix: &str, number: u64, until: Option<Nanos>) {
        // A hard mark covers an older one of the same prefix.
        if until.is_none() {
            self.prefixes.retain(|mark| *mark.prefix != *prefix);
        }
        self.prefixes.push(PrefixMark { prefix: prefix.into(), number, until });
        self.current.prefix.store(number, Ordering::Release);
        if self.prefixes.len() > MAX_PREFIXES {
            self.lose();
        }
    }

    /// Drops everything, in constant time.
    pub fn lose(&mut self) {
        self.current.generation.fetch_add(1, Ordering::AcqRel);
        self.current.number.fetch_add(1, Ordering::AcqRel);
        self.prefixes.clear();
    }

    /// Whether an entry may be served at `now`, as far as invalidations go.
    pub fn is_valid(&self, key: &str, entry: &Validated, now: Nanos) -> bool {
        if entry.generation.load(Ordering::Acquire) != self.current.generation() {
            return false;
        }
        let (checked, number) = (entry.checked.load(Ordering::Acquire), self.current.number());
        if checked < number {
            for tag in &entry.tags {
                if tag.hard.load(Ordering::Acquire) > checked {
                    return false;
                }
                if tag.soft.load(Ordering::Acquire) > checked {
                    entry.soften(tag.soft_until.load(Ordering::Acquire));
                }
            }
            let news = self.prefixes.iter().rev().take_while(|mark| mark.number > checked);
            for mark in news.filter(|mark| key.starts_with(&*mark.prefix)) {
                match mark.until {
                    None => return false,
                    Some(until) => entry.soften(until),
                }
            }
            entry.checked.fetch_max(number, Ordering::AcqRel);
        }
        now < entry.soft_until.load(Ordering::Acquire)
    }
}
