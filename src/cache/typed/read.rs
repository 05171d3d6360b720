//! [`Read`]: one call, with its options.

use std::sync::Arc;
use std::time::Duration;

use super::context::{LoadContext, loader};
use super::{Cache, downcast, typed};
use crate::cache::clock::{FOREVER, Nanos, nanos};
use crate::cache::error::{BoxError, Error};
use crate::cache::loads::{Lock, ReadOptions, TagsOf};
use crate::cache::reads::{Freshness, Hit};
use crate::cache::writes::{Put, ttl_or};
use crate::event::Position;

/// A read or a write of one key, with its options. [`Read::get_or_load`] and [`Read::put`] carry it out.
#[must_use = "call get_or_load or put"]
pub struct Read<'a, T, Tags = [String; 0]> {
    cache: &'a Cache<T>,
    key: &'a str,
    tags: Tags,
    call: Call<T>,
}

/// Finds tags in a value.
type FindTags<T> = Arc<dyn Fn(&T) -> Vec<String> + Send + Sync>;

/// The options of a call.
struct Call<T> {
    ttl: Option<Duration>,
    absent_ttl: Option<Duration>,
    stale: Duration,
    stale_if_error: Duration,
    bound: Option<Duration>,
    lock: Option<Lock>,
    tags_of: Option<FindTags<T>>,
}

impl<T> Default for Call<T> {
    fn default() -> Self {
        Self {
            ttl: None,
            absent_ttl: None,
            stale: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            bound: None,
            lock: None,
            tags_of: None,
        }
    }
}

impl<'a, T> Read<'a, T> {
    pub(super) fn new(cache: &'a Cache<T>, key: &'a str) -> Self {
        Self { cache, key, tags: [], call: Call::default() }
    }
}

impl<'a, T: Send + Sync + 'static, Tags> Read<'a, T, Tags> {
    /// The tags of the entry. An invalidation that names one of them drops it.
    pub fn tags<Names>(self, names: Names) -> Read<'a, T, Names>
    where
        Names: IntoIterator<Item: Into<String>>,
    {
        let Self { cache, key, tags: _, call } = self;
        Read { cache, key, tags: names, call }
    }

    /// Finds more tags in the value, when it is loaded.
    pub fn tags_of(mut self, find: impl Fn(&T) -> Vec<String> + Send + Sync + 'static) -> Self {
        self.call.tags_of = Some(Arc::new(find));
        self
    }

    /// How long the entry is fresh. Default: [`Options::ttl`](crate::cache::Options::ttl).
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.call.ttl = Some(ttl);
        self
    }

    /// How long it is remembered that there is no value. Default: the TTL, and at most 30 s.
    pub fn absent_ttl(mut self, ttl: Duration) -> Self {
        self.call.absent_ttl = Some(ttl);
        self
    }

    /// For how long after its TTL an entry is served while it is loaded again. It forgives no invalidation. Default: zero.
    pub fn stale_while_revalidate(mut self, duration: Duration) -> Self {
        self.call.stale = duration;
        self
    }

    /// For how long after its TTL an entry is served if its loader fails. It forgives no invalidation. Default: zero.
    pub fn stale_if_error(mut self, duration: Duration) -> Self {
        self.call.stale_if_error = duration;
        self
    }

    /// How old an entry can be after an invalidation was acknowledged. Zero asks the bus. Default: [`Options::bound`](crate::cache::Options::bound).
    pub fn bound(mut self, bound: Duration) -> Self {
        self.call.bound = Some(bound);
        self
    }

    /// Asks the bus, so that the read sees every invalidation that was acknowledged before it: a bound of zero.
    pub fn strict(self) -> Self {
        self.bound(Duration::ZERO)
    }

    /// Only one instance loads at a time. The others wait for its result in L2 for 5 s, then load themselves. Needs
    /// [`Coherence::shared_cache`](crate::cache::Coherence::shared_cache).
    pub fn lock(self) -> Self {
        self.lock_with(Duration::from_secs(5), Duration::from_secs(10))
    }

    /// As [`Read::lock`]: waits for `wait`. The lock of a process that has died ends after `lease`; a live one renews it.
    pub fn lock_with(mut self, wait: Duration, lease: Duration) -> Self {
        self.call.lock = Some(Lock { wait, lease: lease.max(Duration::from_millis(3)) });
        self
    }
}

impl<T, Tags> Read<'_, T, Tags>
where
    T: Send + Sync + 'static,
    Tags: IntoIterator<Item: Into<String>>,
{
    /// The value: the stored one, if it may be served, else what `load` returns. Concurrent loads of a key are one. `None`: the
    /// loader says that there is none, which is remembered, too.
    ///
    /// `load` returns a value, or an option of one. It runs in a task of its own, which ends when nobody waits for it any more.
    ///
    /// # Errors
    /// [`Error::Failed`] with the error of `load`, which is not stored; readers who wait for the same load share it.
    /// [`Error::Panicked`] and [`Error::Closed`]. No read fails because the bus or L2 is away.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn get_or_load<Load, Loading, Loaded, E>(self, load: Load) -> Result<Option<Arc<T>>, Error>
    where
        Load: Fn(LoadContext<T>) -> Loading + Send + Sync + 'static,
        Loading: Future<Output = Result<Loaded, E>> + Send + 'static,
        Loaded: Into<Option<T>>,
        E: Into<BoxError>,
    {
        let Self { cache, key, tags, call } = self;
        let core = &cache.core;
        let bound = ttl_or(call.bound, core.bound);
        let hit = cache.with_key(key, |key| core.hit(key, bound, Freshness::Fresh));
        let hit = match hit {
            Hit::Served(value) => Some(value),
            Hit::Unsure => core.hit_exactly(&cache.key(key), bound, Freshness::Fresh),
            Hit::Missed => None,
        };
        if let Some(value) = hit
            && let Some(value) = downcast(value)
        {
            if cache.kind.verify.is_some() {
                core.sample(cache.key(key), &cache.kind, || loader(load));
            }
            return Ok(value);
        }
        let options = Arc::new(call.options(cache, tags, bound));
        let (key, loader) = (cache.key(key), loader(load));
        let value = core.read(&key, &loader, &options).await?;
        match downcast(value) {
            Some(value) => Ok(value),
            None => {
                // Stored by a cache of the same name whose values are of another type.
                core.forget(&key);
                let value = core.read(&key, &loader, &options).await?;
                downcast(value).ok_or_else(|| Error::Invalid(format!("{key} has values of several types")))
            }
        }
    }

    /// Write-through: saves the value, invalidates its key and tags, and stores it. It is not stored if another invalidation
    /// came in between. Returns the position of the invalidation.
    ///
    /// # Errors
    /// [`Error::Failed`] with the error of `save`; nothing is invalidated then. Also as [`Coherence::invalidate`](crate::cache::Coherence::invalidate).
    pub async fn put<E: Into<BoxError>>(
        self,
        value: T,
        save: impl AsyncFnOnce(&T) -> Result<(), E>,
    ) -> Result<Position, Error> {
        let Self { cache, key, tags, call } = self;
        let value = Arc::new(value);
        let mut tags: Vec<String> = tags.into_iter().map(Into::into).collect();
        if let Some(find) = &call.tags_of {
            tags.extend(find(&value));
        }
        let put = Put {
            key: &cache.key(key),
            value: Some(value.clone()),
            tags,
            ttl: ttl_or(call.ttl, cache.core.ttl),
            kind: &cache.kind,
        };
        cache.core.put(put, save(&value)).await
    }
}

impl<T: Send + Sync + 'static> Call<T> {
    fn options(self, cache: &Cache<T>, tags: impl IntoIterator<Item: Into<String>>, bound: Nanos) -> ReadOptions {
        let tags_of = self
            .tags_of
            .map(|find| -> TagsOf { Arc::new(move |value| typed(value).map(|value| find(value)).unwrap_or_default()) });
        ReadOptions {
            ttl: ttl_or(self.ttl, cache.core.ttl).min(FOREVER),
            absent_ttl: self.absent_ttl.map(nanos),
            stale: nanos(self.stale),
            stale_if_error: nanos(self.stale_if_error),
            bound,
            tags: tags.into_iter().map(Into::into).collect(),
            tags_of,
            lock: self.lock,
            kind: cache.kind.clone(),
        }
    }
}
