//! The options of a cache, and what an invalidation names.

use std::sync::Arc;
use std::time::Duration;

use super::l2::L2;
use crate::event::CacheInvalidate;

/// The options of [`Coherence::connect`](super::Coherence::connect).
#[derive(Clone)]
#[non_exhaustive]
pub struct Options {
    /// How old an entry can be, at most, after an invalidation was acknowledged. Default: 2 s. With zero, each read asks the bus.
    pub bound: Duration,
    /// How long an entry is fresh, if nothing invalidates it and its read sets no other TTL. Default: 60 s.
    pub ttl: Duration,
    /// No TTL is longer, whatever a read or a loader says. Default: no limit.
    pub max_ttl: Option<Duration>,
    /// The part of a TTL by which it is spread, so that entries do not expire together. From 0 to 1. Default: 0.2.
    pub jitter: f64,
    /// How many entries are stored, in all caches of one connection together. Default: 10,000.
    pub max_entries: usize,
    /// How many bytes are stored, as [`Cache::size_of`](super::Cache::size_of) counts them. Default: no limit.
    pub max_bytes: Option<u64>,
    /// For how long nothing is stored after an invalidation: the lag of a replica from which loaders read. Default: zero.
    pub settle: Duration,
    /// A second level, which all instances share. Only caches of
    /// [`Coherence::shared_cache`](super::Coherence::shared_cache) use it. Default: none.
    pub l2: Option<Arc<dyn L2>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            bound: Duration::from_secs(2),
            ttl: Duration::from_secs(60),
            max_ttl: None,
            jitter: 0.2,
            max_entries: 10_000,
            max_bytes: None,
            settle: Duration::ZERO,
            l2: None,
        }
    }
}

impl Options {
    /// How old an entry can be, at most, after an invalidation was acknowledged.
    pub fn bound(mut self, bound: Duration) -> Self {
        self.bound = bound;
        self
    }

    /// How long an entry is fresh.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// No TTL is longer.
    pub fn max_ttl(mut self, max_ttl: Duration) -> Self {
        self.max_ttl = Some(max_ttl);
        self
    }

    /// The part of a TTL by which it is spread, from 0 to 1.
    pub fn jitter(mut self, jitter: f64) -> Self {
        self.jitter = jitter;
        self
    }

    /// How many entries are stored.
    pub fn max_entries(mut self, max_entries: usize) -> Self {
        self.max_entries = max_entries;
        self
    }

    /// How many bytes are stored.
    pub fn max_bytes(mut self, max_bytes: u64) -> Self {
        self.max_bytes = Some(max_bytes);
        self
    }

    /// For how long nothing is stored after an invalidation.
    pub fn settle(mut self, settle: Duration) -> Self {
        self.settle = settle;
        self
    }

    /// A second level.
    pub fn l2(mut self, l2: impl L2 + 'static) -> Self {
        self.l2 = Some(Arc::new(l2));
        self
    }
}

/// What is invalidated, and how: `Invalidation::tag("products:123")`. At most 256 characters a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Invalidation(CacheInvalidate);

impl Invalidation {
    /// Every entry that has this tag.
    pub fn tag(name: impl Into<String>) -> Self {
        Self::default().and_tags([name])
    }

    /// Every entry that has one of these tags.
    pub fn tags(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::default().and_tags(names)
    }

    /// The entries with these keys.
    pub fn keys(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::default().and_keys(names)
    }

    /// Every entry whose key begins with one of these.
    pub fn prefixes(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::default().and_prefixes(names)
    }

    /// And every entry that has one of these tags.
    pub fn and_tags(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.0.tags.extend(names.into_iter().map(Into::into));
        self
    }

    /// And the entries with these keys.
    pub fn and_keys(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.0.keys.extend(names.into_iter().map(Into::into));
        self
    }

    /// And every entry whose key begins with one of these.
    pub fn and_prefixes(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.0.prefixes.extend(names.into_iter().map(Into::into));
        self
    }

    /// The reason, for people. At most 1,024 characters.
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.0.reason = Some(reason.into());
        self
    }

    /// For how long the old values may be served while they are loaded again. In whole milliseconds.
    pub fn stale_for(mut self, duration: Duration) -> Self {
        self.0.stale_for_ms = Some(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// The event, with keys and prefixes that begin with `prefix`.
    pub(super) fn within(mut self, prefix: &str) -> CacheInvalidate {
        if !prefix.is_empty() {
            self.0.keys.iter_mut().chain(&mut self.0.prefixes).for_each(|name| name.insert_str(0, prefix));
        }
        self.0
    }
}

impl From<CacheInvalidate> for Invalidation {
    fn from(event: CacheInvalidate) -> Self {
        Self(event)
    }
}
