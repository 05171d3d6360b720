//! The second level: what the cache needs of a store that all instances share, and how it is guarded.
//!
//! An entry carries its fence: the position that its instance had applied before it was loaded. An instance that has followed
//! the log can judge it by that. So the store needs no sets of tags, and may fail, be slow, or hold something wrong.

use std::any::Any;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::clock::{Environment, NEVER, Nanos, nanos, within};
use super::error::BoxError;
use super::events::{Counters, Event};
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

/// An error of [`L2::get`]: something else is under this key. L2 itself works, so it is asked for other keys all the same.
#[derive(Debug, thiserror::Error)]
#[error("L2 has something else under {0}")]
pub struct Foreign(pub String);

/// A second level, which all instances share. Keys are those of the cache. An error, or no answer within 250 ms, is a miss, and
/// L2 is not asked for a second then.
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
pub const LIMIT: Duration = Duration::from_millis(250);
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
    /// How many writes and locks have not ended.
    pending: watch::Sender<usize>,
}

/// A write or a lock that has not ended.
pub struct Pending(Arc<GuardedL2>);

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.pending.send_modify(|pending| *pending -= 1);
    }
}

/// Writes an entry.
pub type Write = BoxFuture<'static, ()>;

/// The lock of a key, once [`KeyLock::take`] has got it. It is given back when this is dropped, also if the load that has it is
/// ended.
pub struct KeyLock {
    l2: Arc<GuardedL2>,
    key: String,
    token: String,
    lease: Duration,
    /// What is written before the lock is given back, since others wait for it.
    write: Option<Write>,
    /// Whether it is held, or may be.
    pending: Option<Pending>,
}

impl KeyLock {
    pub fn new(l2: &Arc<GuardedL2>, key: &str, lease: Duration) -> Self {
        let token = uuid::Uuid::now_v7().to_string();
        Self { l2: l2.clone(), key: key.to_owned(), token, lease, write: None, pending: None }
    }

    /// Tries to take it. `None` if L2 does not say whether it was free.
    pub async fn take(&mut self) -> Option<bool> {
        let Self { l2, key, token, lease, .. } = self;
        self.pending = Some(l2.begin());
        let is_free = l2.ask(l2.l2.lock(key, token, *lease)).await;
        if is_free == Some(false) {
            self.pending = None;
        }
        is_free
    }

    /// Prolongs it for ever.
    pub async fn renew(&mut self) -> std::convert::Infallible {
        let Self { l2, key, token, lease, .. } = self;
        loop {
            l2.environment.sleep(*lease / 3).await;
            l2.ask(l2.l2.extend(key, token, *lease)).await;
        }
    }

    /// Gives it back in the background, after the write.
    pub fn release(mut self, write: Option<Write>) {
        self.write = write;
    }
}

impl Drop for KeyLock {
    fn drop(&mut self) {
        let (Some(pending), Ok(runtime)) = (self.pending.take(), Handle::try_current()) else { return };
        let (l2, write) = (self.l2.clone(), self.write.take());
        let (key, token) = (std::mem::take(&mut self.key), std::mem::take(&mut self.token));
        runtime.spawn(async move {
            if let Some(write) = write {
                write.await;
            }
            l2.ask(l2.l2.unlock(&key, &token)).await;
            drop(pending);
        });
    }
}

impl GuardedL2 {
    pub fn new(l2: Arc<dyn L2>, environment: Arc<dyn Environment>, counters: Arc<Counters>) -> Self {
        Self { l2, environment, counters, paused_until: AtomicI64::new(NEVER), pending: watch::Sender::new(0) }
    }

    fn begin(self: &Arc<Self>) -> Pending {
        self.pending.send_modify(|pending| *pending += 1);
        Pending(self.clone())
    }

    /// Waits until all writes and locks have ended.
    pub async fn settled(&self) {
        // The sender is this.
        let _ = self.pending.subscribe().wait_for(|pending| *pending == 0).await;
    }

    pub async fn get(&self, key: &str, codec: &dyn Codec) -> Option<ReadEntry> {
        let L2Entry { value, tags, fence, ttl } = self.ask(self.l2.get(key)).await??;
        let value = match value.map(|bytes| codec.decode(&bytes).map(Some).or_else(|error| absent(&bytes, error))) {
            Some(Ok(value)) => value,
            Some(Err(error)) => {
                // L2 itself works, so this is no reason to leave it alone for a while.
                self.failed(&error);
                return None;
            }
            None => None,
        };
        Some(ReadEntry { value, tags, fence, ttl: nanos(ttl) })
    }

    /// A write, to be awaited.
    pub fn write(self: &Arc<Self>, key: &str, entry: L2Entry) -> Write {
        let (pending, key) = (self.begin(), key.to_owned());
        async move {
            let l2 = &pending.0;
            l2.ask(l2.l2.set(&key, entry)).await;
        }
        .boxed()
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
        if !error.is::<Foreign>() {
            self.paused_until.store(self.environment.now() + PAUSE, Ordering::Relaxed);
        }
        self.failed(&error);
        None
    }

    fn failed(&self, error: &BoxError) {
        self.counters.l2_errors.count();
        self.counters.events.tell(|| Event::L2Failed { reason: error.to_string() });
        tracing::warn!(%error, "the second level of the cache failed");
    }
}

/// Other languages write an absent value as `null`, too.
fn absent(bytes: &[u8], error: BoxError) -> Result<Value, BoxError> {
    if bytes == b"null" { Ok(None) } else { Err(error) }
}
