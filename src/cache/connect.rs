//! [`Coherence`]: the connection to the bus that all caches of a process share.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::bus::BusSource;
use super::clock::SystemEnvironment;
use super::core::Core;
use super::error::{BoxError, Error};
use super::events::{Events, Stats};
use super::history::{HALF_SIZE, History};
use super::l2::{Codec, JsonCodec};
use super::loads::Kind;
use super::typed::Cache;
use super::types::{Invalidation, Options};
use super::writes::HOLD;
use crate::client::Client;
use crate::event::Position;

/// What keeps caches of this process coherent: one subscription to the invalidations of the bus. Cheap to clone. The
/// subscription ends when all clones and caches are dropped, or with [`Coherence::close`].
#[derive(Clone)]
pub struct Coherence {
    core: Arc<Core>,
}

impl Coherence {
    /// Connects to the bus, and follows its invalidations in a task. Returns when the subscription stands. If no daemon can be
    /// reached, it returns, too, and goes on trying: until then, each value is kept for the bound.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an option that cannot be used, and [`Error::Bus`] if the daemon refuses the subscription.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn connect(client: Client, options: Options) -> Result<Self, Error> {
        let source = Arc::new(BusSource::new(client));
        let environment = Arc::new(SystemEnvironment::new());
        let core = Core::start(&options, source.clone(), environment, History::new(HALF_SIZE))?;
        source.begun().await?;
        Ok(Self { core })
    }

    #[cfg(any(test, feature = "server"))]
    pub(super) fn of(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// The cache of this name. Its keys are stored as `NAME:KEY`, or as they are if the name is empty.
    ///
    /// All caches of one name are the same. Values of another type under the same key are loaded again.
    pub fn cache<T: Send + Sync + 'static>(&self, name: &str) -> Cache<T> {
        Cache::new(self.core.clone(), name, Kind::default())
    }

    /// As [`Coherence::cache`], with the second level of [`Options::l2`], where values are written as JSON.
    pub fn shared_cache<T: Serialize + DeserializeOwned + Send + Sync + 'static>(&self, name: &str) -> Cache<T> {
        let codec: Option<Arc<dyn Codec>> = Some(Arc::new(JsonCodec::<T>::new()));
        Cache::new(self.core.clone(), name, Kind { codec, ..Kind::default() })
    }

    /// Invalidates, first here and then everywhere. Keys and prefixes are as they are stored. Call it after the commit.
    ///
    /// Returns the position of the event, when the daemon has acknowledged it.
    ///
    /// # Errors
    /// [`Error::Bus`] if it is not known to be published. Here, it is applied all the same.
    pub async fn invalidate(&self, what: Invalidation) -> Result<Position, Error> {
        self.core.invalidate(what.within("")).await
    }

    /// Invalidates, writes, and invalidates again. Until the end, nobody stores what is named: so no cache keeps a value from
    /// before the write, even if this process dies after its commit. The hold lasts 5 s, and is renewed while `write` runs.
    ///
    /// Returns what `write` returns. If the caller leaves while it writes, the last invalidation is published all the same.
    ///
    /// # Errors
    /// [`Error::Unacknowledged`] if the first invalidation is not acknowledged within 5 s; nothing is written then. Also if the
    /// last one is not, within the hold: its ids are to be published again. [`Error::Failed`] with the error of `write`.
    pub async fn mutate<R, E: Into<BoxError>>(
        &self,
        what: Invalidation,
        write: impl AsyncFnOnce() -> Result<R, E>,
    ) -> Result<R, Error> {
        self.mutate_with_hold(what, HOLD, write).await
    }

    /// As [`Coherence::mutate`], with a hold from 1 ms to 60 s.
    ///
    /// # Errors
    /// As [`Coherence::mutate`], and [`Error::Invalid`] for another hold.
    pub async fn mutate_with_hold<R, E: Into<BoxError>>(
        &self,
        what: Invalidation,
        hold: Duration,
        write: impl AsyncFnOnce() -> Result<R, E>,
    ) -> Result<R, Error> {
        self.core.mutate(what.within(""), hold, write).await
    }

    /// Waits until an invalidation is applied here whose position another instance got. False after `timeout`.
    pub async fn reached(&self, position: &Position, timeout: Duration) -> bool {
        self.core.reached(position, timeout).await
    }

    /// The counters since the connection, of all caches together.
    pub fn stats(&self) -> Stats {
        self.core.stats()
    }

    /// What happens from now on, in all caches together. A listener that is more than 256 events behind misses the oldest of them.
    pub fn events(&self) -> Events {
        self.core.counters.events.listen()
    }

    /// Ends the subscription and all loads, and drops all entries. Later calls of its caches fail with [`Error::Closed`].
    ///
    /// Waits until L2 has what is being written to it, and has back the locks that are held there: at most 1 s.
    pub async fn close(&self) {
        self.core.close().await;
    }
}
