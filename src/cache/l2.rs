//! The second level: what the cache needs of a store that all instances share, and how it is guarded.
//!
//! An entry carries its fence: the position that its instance had applied before it was loaded. An instance that has followed
//! the log can judge it by that. So the store needs no sets of tags, and may fail, be slow, or hold something wrong.

use std::any::Any;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::clock::{Environment, NEVER, Nanos, nanos, within};
use super::error::BoxError;
use super::events::Counters;
use super::store::Value;
use crate::event::Position;

/// An entry of L2.
#[derive(Debug, Clone)]
pub struct L2Entry {
    /// The value as JSON. `None`: the loader said that there is none.
    pub value: Option<Vec<u8>>,
    /// The tags of the entry.
    pub tags: Vec<String>,
    /// The position that was applied before the value was loaded.
    pub fence: Position,
    /// How long the entry has left, by the clock of L2.
    pub ttl: Duration,
}

/// A second level, which all instances share. Keys are those of the cache.
pub trait L2: Send + Sync {
    /// Reads an entry.
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<L2Entry>, BoxError>>;
    /// Writes an entry, unless there is one with a newer fence.
    fn set<'a>(&'a self, key: &'a str, entry: L2Entry) -> BoxFuture<'a, Result<(), BoxError>>;
    /// Takes the lock of a key for `lease`. Returns whether it was free.
    fn lock<'a>(&'a self, key: &'a str, token: &'a str, lease: Duration) -> BoxFuture<'a, Result<bool, BoxError>>;
    /// Prolongs a lock that this token holds.
    fn extend<'a>(&'a self, key: &'a str, token: &'a str, lease: Duration) -> BoxFuture<'a, Result<(), BoxError>>;
    /// Gives back a lock that this token holds.
    fn unlock<'a>(&'a self, key: &'a str, token: &'a str) -> BoxFuture<'a, Result<(), BoxError>>;
}

/// How values of one type are written to L2.
pub trait Codec: Send + Sync {
    fn encode(&self, value: &(dyn Any + Send + Sync)) -> Result<Vec<u8>, BoxError>;
    fn decode(&self, bytes: &[u8]) -> Result<Arc<dyn Any + Send + Sync>, BoxError>;
}

/// Values as JSON.
pub struct JsonCodec<T>(PhantomData<fn() -> T>);

impl<T> JsonCodec<T> {
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Codec for JsonCodec<T> {
    fn encode(&self, value: &(dyn Any + Send + Sync)) -> Result<Vec<u8>, BoxError> {
        let value = value.downcast_ref::<T>().ok_or("a value of another type")?;
        Ok(serde_json::to_vec(value)?)
    }

    fn decode(&self, bytes: &[u8]) -> Result<Arc<dyn Any + Send + Sync>, BoxError> {
        Ok(Arc::new(serde_json::from_slice::<T>(bytes)?))
    }
}

/// How long L2 may take to answer.
const LIMIT: Duration = Duration::from_millis(250);
/// How long L2 is not asked after a failure.
const PAUSE: Nanos = 1_000_000_000;

/// An entry of L2 with its value.
pub struct ReadEntry {
    pub value: Value,
    pub tags: Vec<String>,
    pub fence: Position,
    pub ttl: Nanos,
}

/// L2 behind a limit of time and a circuit breaker. Never fails.
pub struct GuardedL2 {
    l2: Arc<dyn L2>,
    environment: Arc<dyn Environment>,
    counters: Arc<Counters>,
    paused_until: AtomicI64,
}

impl GuardedL2 {
    pub fn new(l2: Arc<dyn L2>, environment: Arc<dyn Environment>, counters: Arc<Counters>) -> Self {
        Self { l2, environment, counters, paused_until: AtomicI64::new(NEVER) }
    }

    pub async fn get(&self, key: &str, codec: &dyn Codec) -> Option<ReadEntry> {
        let L2Entry { value, tags, fence, ttl } = self.ask(self.l2.get(key)).await??;
        let value = match value.map(|bytes| codec.decode(&bytes)).transpose() {
            Ok(value) => value,
            Err(error) => {
                // Redis itself works, so this is no reason to leave it alone for a while.
                self.failed(&error);
                return None;
            }
        };
        Some(ReadEntry { value, tags, fence, ttl: nanos(ttl) })
    }

    pub async fn set(&self, key: &str, entry: L2Entry) {
        self.ask(self.l2.set(key, entry)).await;
    }

    /// `None` if L2 does not say whether the lock was free.
    pub async fn lock(&self, key: &str, token: &str, lease: Duration) -> Option<bool> {
        self.ask(self.l2.lock(key, token, lease)).await
    }

    pub async fn extend(&self, key: &str, token: &str, lease: Duration) {
        self.ask(self.l2.extend(key, token, lease)).await;
    }

    pub async fn unlock(&self, key: &str, token: &str) {
        self.ask(self.l2.unlock(key, token)).await;
    }

    /// A value for L2. `None` if it cannot be written.
    pub fn encode(&self, value: &Value, codec: &dyn Codec) -> Option<Option<Vec<u8>>> {
        match value.as_deref().map(|value| codec.encode(value)).transpose() {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                self.failed(&error);
                None
            }
        }
    }

    async fn ask<T>(&self, call: BoxFuture<'_, Result<T, BoxError>>) -> Option<T> {
        if self.environment.now() < self.paused_until.load(Ordering::Relaxed) {
            return None;
        }
        let error = match within(&*self.environment, LIMIT, call).await {
            Some(Ok(answer)) => return Some(answer),
            Some(Err(error)) => error,
            None => format!("no answer within {} ms", LIMIT.as_millis()).into(),
        };
        self.paused_until.store(self.environment.now() + PAUSE, Ordering::Relaxed);
        self.failed(&error);
        None
    }

    fn failed(&self, error: &BoxError) {
        self.counters.l2_errors.count();
        tracing::warn!(%error, "the second level of the cache failed");
    }
}
