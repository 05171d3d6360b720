//! Invalidating, writing through, and writing under a hold.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::clock::{Nanos, nanos, within};
use super::coherence::Watcher;
use super::core::Core;
use super::error::{BoxError, Error};
use super::loads::Kind;
use super::source::Publication;
use super::store::Value;
use crate::event::{CacheInvalidate, Position};

/// How long a writer waits for the hold of a `mutate`.
const FIRST_LIMIT: Duration = Duration::from_secs(5);
/// How long `put` waits until its own invalidation comes back. After that it may still be stored.
const RETURN_LIMIT: Duration = Duration::from_millis(500);
/// The longest hold.
const MAX_HOLD: Duration = Duration::from_secs(60);

/// What `put` stores.
pub struct Put<'a> {
    pub key: &'a str,
    pub value: Value,
    pub tags: Vec<String>,
    pub ttl: Nanos,
    pub kind: &'a Kind,
}

impl Core {
    /// Invalidates, first here and then everywhere.
    pub async fn invalidate(&self, what: CacheInvalidate) -> Result<Position, Error> {
        self.check_open()?;
        check(&what)?;
        self.publish(what, new_id(), None, None).await
    }

    pub async fn put<E: Into<BoxError>>(
        &self,
        put: Put<'_>,
        save: impl Future<Output = Result<(), E>>,
    ) -> Result<Position, Error> {
        self.check_open()?;
        let Put { key, value, tags, ttl, kind } = put;
        let id = new_id();
        let ttl = self.spread(ttl);
        let (done, stored) = oneshot::channel();
        let size = kind.size_of.as_ref().map_or(0, |size_of| size_of(&value));
        let watcher = Watcher {
            id: id.clone(),
            key: key.to_owned(),
            value: value.clone(),
            tags: tags.clone(),
            loaded_at: self.environment.now(),
            held_from: self.environment.monotonic(),
            ttl,
            size,
            done,
        };
        self.lock().watch(watcher);
        let mut unwatch = Unwatch { core: self, id: &id, is_armed: true };
        save.await.map_err(Error::failed)?;
        let what = CacheInvalidate { keys: vec![key.to_owned()], tags: tags.clone(), ..nothing() };
        let position = self.publish(what, id.clone(), None, None).await?;
        unwatch.is_armed = false;
        // An error: another writer came in between, and it is not known whose value is the last one.
        if let Some(Ok(fence)) = within(&*self.environment, RETURN_LIMIT, stored).await
            && let Some(write) = self.to_l2(key, &value, &tags, fence, ttl, kind)
        {
            write.await;
        }
        Ok(position)
    }

    /// Invalidates with a hold, writes, and invalidates again.
    pub async fn mutate<R, E: Into<BoxError>>(
        self: &Arc<Self>,
        what: CacheInvalidate,
        hold: Duration,
        write: impl AsyncFnOnce() -> Result<R, E>,
    ) -> Result<R, Error> {
        self.check_open()?;
        check(&what)?;
        if hold < Duration::from_millis(1) || hold > MAX_HOLD {
            return Err(Error::Invalid(format!("hold is {hold:?}: pass at least 1 ms, and at most 60 s")));
        }
        let holder = new_id();
        let held = CacheInvalidate { hold_ms: u64::try_from(hold.as_millis()).ok(), ..what.clone() };
        self.publish(held.clone(), holder.clone(), None, Some(FIRST_LIMIT)).await?;
        let mut end = End { core: self.clone(), what: Some(what), holder: holder.clone(), hold };
        let result = {
            let mut writing = pin!(write());
            loop {
                tokio::select! {
                    biased;
                    result = &mut writing => break result,
                    () = self.environment.sleep(hold / 3) => {
                        let (core, held, holder) = (self.clone(), held.clone(), holder.clone());
                        // One that fails is followed by the next: the hold lasts for three of them.
                        tokio::spawn(async move { core.publish(held, new_id(), Some(holder), Some(hold / 3)).await });
                    }
                }
            }
        };
        let ended = match end.what.take() {
            Some(what) => self.publish(what, new_id(), Some(holder), Some(hold)).await,
            None => return Err(Error::Closed),
        };
        // After an error, too: some of it may have been written. Without the invalidation, the hold ends by itself.
        let result = result.map_err(Error::failed)?;
        ended.map(|_| result)
    }

    /// Applies an invalidation here, and publishes it. With `limit`, it is tried for so long.
    async fn publish(
        &self,
        what: CacheInvalidate,
        id: String,
        cause: Option<String>,
        limit: Option<Duration>,
    ) -> Result<Position, Error> {
        let now = self.now();
        self.lock().apply_own(&what, &id, cause.as_deref(), now);
        let mut published = Published { core: self, id: &id, position: None };
        let publishing = self.source.publish(Publication { data: what, id: id.clone(), cause, limit });
        let position = match limit {
            None => publishing.await?,
            Some(limit) => match within(&*self.environment, limit, publishing).await {
                Some(published) => published?,
                None => return Err(Error::Unacknowledged { ids: vec![id.clone()], limit }),
            },
        };
        published.position = Some(position.clone());
        drop(published);
        Ok(position)
    }
}

/// Says what became of a publication, also if its caller leaves.
struct Published<'a> {
    core: &'a Core,
    id: &'a str,
    position: Option<Position>,
}

impl Drop for Published<'_> {
    fn drop(&mut self) {
        let now = self.core.environment.now();
        self.core.lock().published(self.id, self.position.as_ref(), now);
    }
}

/// Forgets a `put` that has failed, or whose caller has left.
struct Unwatch<'a> {
    core: &'a Core,
    id: &'a str,
    is_armed: bool,
}

impl Drop for Unwatch<'_> {
    fn drop(&mut self) {
        if self.is_armed {
            self.core.lock().unwatch(self.id);
        }
    }
}

/// Ends a `mutate` whose caller leaves while it writes: some of it may have been written.
struct End {
    core: Arc<Core>,
    what: Option<CacheInvalidate>,
    holder: String,
    hold: Duration,
}

impl Drop for End {
    fn drop(&mut self) {
        let (Some(what), Ok(runtime)) = (self.what.take(), tokio::runtime::Handle::try_current()) else { return };
        let (core, holder, hold) = (self.core.clone(), std::mem::take(&mut self.holder), self.hold);
        runtime.spawn(async move { core.publish(what, new_id(), Some(holder), Some(hold)).await });
    }
}

fn new_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

fn nothing() -> CacheInvalidate {
    CacheInvalidate { tags: vec![], keys: vec![], prefixes: vec![], reason: None, stale_for_ms: None, hold_ms: None }
}

/// Refuses an invalidation that names nothing, as the daemon would.
fn check(what: &CacheInvalidate) -> Result<(), Error> {
    if what.tags.len() + what.keys.len() + what.prefixes.len() == 0 {
        return Err(Error::Invalid("an invalidation names at least one tag, key or prefix".into()));
    }
    Ok(())
}

/// The default of [`Core::mutate`]'s hold.
pub const HOLD: Duration = Duration::from_secs(5);

/// A TTL of a call, or that of the cache.
pub fn ttl_or(ttl: Option<Duration>, default: Nanos) -> Nanos {
    ttl.map_or(default, nanos)
}
