//! The entries of this process, bounded by their number and, if the application knows them, their sizes.
//!
//! The eviction is SIEVE (Zhang et al., NSDI 2024): entries stand in the order of their arrival, and a read only sets a mark. A
//! hand goes from the oldest to the newest, spares and unmarks what was read, and removes the first that was not. A hit so
//! costs one write, and what is read once does not displace what is read often.
//!
//! Hits read a [`Shelf`] under its own lock. Entries come and go under the lock of the cache, too, which is taken first.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use hashbrown::{DefaultHashBuilder, HashTable};

use super::clock::Nanos;
use super::validity::{Validated, Validity};

/// A value of any type. `None`: the loader says that there is none.
pub type Value = Option<Arc<dyn Any + Send + Sync>>;

/// A stored value.
pub struct Entry {
    pub key: Box<str>,
    pub value: Value,
    pub validated: Validated,
    /// When its load began. [`NEVER`](super::clock::NEVER) if another machine loaded it, whose clock cannot be compared.
    pub loaded_at: Nanos,
    /// When its TTL ends. `fresh_until` is the same, until an invalidation lets it be served for some time only.
    pub expires_at: Nanos,
    pub size: u64,
    /// Whether it was read since the hand passed it.
    pub visited: AtomicBool,
    /// Its place in the order of arrival.
    arrival: u64,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("key", &self.key).finish_non_exhaustive()
    }
}

/// A part of the entries, by the hash of their keys.
#[derive(Default)]
pub struct Shelf {
    entries: RwLock<HashTable<Arc<Entry>>>,
    /// How many reads it has answered.
    pub hits: AtomicU64,
}

/// The entries by key.
pub struct Shelves {
    shelves: Box<[Shelf]>,
    hasher: DefaultHashBuilder,
}

/// Two threads seldom meet on one of so many shelves.
const SHELVES: usize = 64;

impl Shelves {
    pub fn new() -> Self {
        Self { shelves: (0..SHELVES).map(|_| Shelf::default()).collect(), hasher: DefaultHashBuilder::default() }
    }

    /// How many reads they have answered.
    pub fn hits(&self) -> u64 {
        self.shelves.iter().map(|shelf| shelf.hits.load(Ordering::Relaxed)).sum()
    }

    fn hash(&self, key: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(key);
        hasher.finish()
    }

    fn shelf(&self, hash: u64) -> &Shelf {
        // The table uses the lowest and the highest bits.
        &self.shelves[(hash >> 32) as usize % SHELVES]
    }

    /// Calls `read` with the entry of this key, and its shelf, which stays locked meanwhile.
    pub fn read<R>(&self, key: &[u8], read: impl FnOnce(&Arc<Entry>, &Shelf) -> R) -> Option<R> {
        let hash = self.hash(key);
        let shelf = self.shelf(hash);
        let entries = shelf.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.find(hash, |entry| entry.key.as_bytes() == key).map(|entry| read(entry, shelf))
    }

    pub fn get(&self, key: &str) -> Option<Arc<Entry>> {
        self.read(key.as_bytes(), |entry, _| entry.clone())
    }

    /// Counts a hit.
    pub fn count_hit(&self, key: &str) {
        self.shelf(self.hash(key.as_bytes())).hits.fetch_add(1, Ordering::Relaxed);
    }

    fn insert(&self, entry: Arc<Entry>) {
        let hash = self.hash(entry.key.as_bytes());
        let mut entries = self.shelf(hash).entries.write().unwrap_or_else(PoisonError::into_inner);
        entries.insert_unique(hash, entry, |entry| self.hash(entry.key.as_bytes()));
    }

    fn remove(&self, key: &str) -> Option<Arc<Entry>> {
        let hash = self.hash(key.as_bytes());
        let mut entries = self.shelf(hash).entries.write().unwrap_or_else(PoisonError::into_inner);
        entries.find_entry(hash, |entry| *entry.key == *key).ok().map(|found| found.remove().0)
    }
}

/// A value to store.
pub struct NewEntry<'a> {
    pub key: &'a str,
    pub value: Value,
    pub tags: &'a [String],
    pub loaded_at: Nanos,
    pub expires_at: Nanos,
    pub size: u64,
}

/// The order of the entries, and their bounds. Changed under the lock of the cache.
pub struct Store {
    pub shelves: Arc<Shelves>,
    /// By arrival.
    order: BTreeMap<u64, Arc<Entry>>,
    max_entries: usize,
    max_bytes: u64,
    bytes: u64,
    arrived: u64,
    /// The arrival from which the hand goes on.
    hand: u64,
}

impl Store {
    pub fn new(max_entries: usize, max_bytes: u64) -> Self {
        let shelves = Arc::new(Shelves::new());
        Self { shelves, order: BTreeMap::new(), max_entries, max_bytes, bytes: 0, arrived: 0, hand: 0 }
    }

    pub fn get(&self, key: &str) -> Option<Arc<Entry>> {
        self.shelves.get(key)
    }

    /// Stores an entry in the place of one with the same key. Does not store one that is larger than the whole store.
    pub fn set(&mut self, validity: &mut Validity, new: NewEntry<'_>) {
        let NewEntry { key, value, tags, loaded_at, expires_at, size } = new;
        self.delete(validity, key);
        if size > self.max_bytes {
            return;
        }
        while !self.order.is_empty() && (self.order.len() >= self.max_entries || self.bytes + size > self.max_bytes) {
            self.evict(validity);
        }
        self.arrived += 1;
        self.bytes += size;
        let entry = Arc::new(Entry {
            key: key.into(),
            value,
            validated: validity.acquire(tags, expires_at),
            loaded_at,
            expires_at,
            size,
            visited: AtomicBool::new(false),
            arrival: self.arrived,
        });
        self.order.insert(entry.arrival, entry.clone());
        self.shelves.insert(entry);
    }

    pub fn delete(&mut self, validity: &mut Validity, key: &str) {
        let Some(entry) = self.shelves.remove(key) else { return };
        self.order.remove(&entry.arrival);
        self.bytes -= entry.size;
        validity.release(&entry.validated);
    }

    pub fn clear(&mut self, validity: &mut Validity) {
        for entry in std::mem::take(&mut self.order).into_values() {
            self.delete(validity, &entry.key);
        }
    }

    fn evict(&mut self, validity: &mut Validity) {
        // Each round unmarks an entry, so there is an end. While hits mark entries again, the bound comes first.
        for _ in 0..=2 * self.order.len() {
            let next = self.order.range(self.hand..).next().or_else(|| self.order.first_key_value());
            let Some((arrival, entry)) = next.map(|(arrival, entry)| (*arrival, entry.clone())) else { return };
            self.hand = arrival + 1;
            if !entry.visited.swap(false, Ordering::Relaxed) {
                return self.delete(validity, &entry.key);
            }
        }
        if let Some(entry) = self.order.first_key_value().map(|(_, entry)| entry.clone()) {
            self.delete(validity, &entry.key);
        }
    }
}
