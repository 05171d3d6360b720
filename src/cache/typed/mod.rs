//! The typed outside of the cache: [`Cache`]; [`Read`], which is one call; and [`LoadContext`], which loaders get.

mod context;
mod read;

use std::any::Any;
use std::marker::PhantomData;
use std::sync::Arc;

use super::core::Core;
use super::error::{BoxError, Error};
use super::loads::Kind;
use super::reads::{Freshness, Hit};
use super::store::Value;
use super::types::Invalidation;
use super::writes::HOLD;
use crate::event::Position;

pub use context::LoadContext;
pub use read::Read;

/// Values of one type, whose keys begin with the name of the cache. Cheap to clone.
pub struct Cache<T> {
    core: Arc<Core>,
    prefix: Arc<str>,
    kind: Kind,
    values: PhantomData<fn() -> T>,
}

impl<T> Clone for Cache<T> {
    fn clone(&self) -> Self {
        let Self { core, prefix, kind, values } = self;
        Self { core: core.clone(), prefix: prefix.clone(), kind: kind.clone(), values: *values }
    }
}

/// Up to so many bytes, a key is put together without an allocation.
const SHORT_KEY: usize = 128;

impl<T: Send + Sync + 'static> Cache<T> {
    pub(super) fn new(core: Arc<Core>, name: &str, kind: Kind) -> Self {
        let prefix = if name.is_empty() { "".into() } else { format!("{name}:").into() };
        Self { core, prefix, kind, values: PhantomData }
    }

    /// The cache within this one whose keys begin with `NAME:`.
    pub fn namespace(&self, name: &str) -> Self {
        Self { prefix: format!("{}{name}:", self.prefix).into(), ..self.clone() }
    }

    /// Counts the bytes of values by this function, for [`Options::max_bytes`](super::Options::max_bytes). A value that is absent counts nothing.
    pub fn size_of(mut self, size_of: impl Fn(&T) -> u64 + Send + Sync + 'static) -> Self {
        self.kind.size_of = Some(Arc::new(move |value| typed(value).map_or(0, &size_of)));
        self
    }

    /// Loads this part of the hits again, from 0 to 1, and reports values that changed without an invalidation: in
    /// [`Stats::mismatches`](super::Stats::mismatches), and as a warning with the key and its tags.
    pub fn verify(mut self, sample: f64) -> Self
    where
        T: PartialEq,
    {
        self.kind.verify = Some((sample, Arc::new(|one, other| typed::<T>(one) == typed::<T>(other))));
        self
    }

    /// A read or a write of this key, which is within the cache.
    pub fn entry<'a>(&'a self, key: &'a str) -> Read<'a, T> {
        Read::new(self, key)
    }

    /// The stored value, if it may be served now. Loads nothing and waits for nothing. `None` also if it is known that there is
    /// none.
    pub fn peek(&self, key: &str) -> Option<Arc<T>> {
        let hit = self.with_key(key, |key| self.core.hit(key, self.core.bound, Freshness::Servable));
        let value = match hit {
            Hit::Served(value) => Some(value),
            Hit::Unsure => self.core.hit_exactly(&self.key(key), self.core.bound, Freshness::Servable),
            Hit::Missed => None,
        };
        match value {
            Some(value) => downcast(value)?,
            None => {
                self.core.counters.misses.count();
                None
            }
        }
    }

    /// As [`Coherence::invalidate`](super::Coherence::invalidate), with keys and prefixes within this cache.
    ///
    /// # Errors
    /// As [`Coherence::invalidate`](super::Coherence::invalidate).
    pub async fn invalidate(&self, what: Invalidation) -> Result<Position, Error> {
        self.core.invalidate(what.within(&self.prefix)).await
    }

    /// As [`Coherence::mutate`](super::Coherence::mutate), with keys and prefixes within this cache.
    ///
    /// # Errors
    /// As [`Coherence::mutate`](super::Coherence::mutate).
    pub async fn mutate<R, E: Into<BoxError>>(
        &self,
        what: Invalidation,
        write: impl AsyncFnOnce() -> Result<R, E>,
    ) -> Result<R, Error> {
        self.core.mutate(what.within(&self.prefix), HOLD, write).await
    }

    /// A key as it is stored.
    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    fn with_key<R>(&self, key: &str, call: impl FnOnce(&[u8]) -> R) -> R {
        if self.prefix.is_empty() {
            return call(key.as_bytes());
        }
        let (prefix, key) = (self.prefix.as_bytes(), key.as_bytes());
        let len = prefix.len() + key.len();
        let mut buffer = [0; SHORT_KEY];
        match buffer.get_mut(..len) {
            Some(whole) => {
                whole[..prefix.len()].copy_from_slice(prefix);
                whole[prefix.len()..].copy_from_slice(key);
                call(whole)
            }
            None => call(&[prefix, key].concat()),
        }
    }
}

/// The value, if it is of this type.
fn typed<T: 'static>(value: &Value) -> Option<&T> {
    let value: &(dyn Any + Send + Sync) = value.as_deref()?;
    value.downcast_ref()
}

/// The value. The outer `None`: it is of another type.
fn downcast<T: Send + Sync + 'static>(value: Value) -> Option<Option<Arc<T>>> {
    match value {
        None => Some(None),
        Some(value) => value.downcast().ok().map(Some),
    }
}
