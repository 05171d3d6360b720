//! A bus within the process, for benchmarks of the cache: it proves at once, and delivers what it is told to. So what is measured
//! is the cache alone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::clock::SystemEnvironment;
use super::connect::Coherence;
use super::core::Core;
use super::error::Error;
use super::history::{HALF_SIZE, History};
use super::source::{DeliveredInvalidation, Publication, Source, SourceHandler};
use super::types::{Invalidation, Options};
use crate::event::{CacheInvalidate, Epoch, Position};

pub struct LocalBus(Mutex<Log>);

struct Log {
    /// The last position.
    head: Position,
    handler: Option<Weak<dyn SourceHandler>>,
}

impl LocalBus {
    /// The bus, and caches that follow it.
    ///
    /// # Errors
    /// As [`Coherence::connect`].
    pub fn start(options: &Options) -> Result<(Arc<Self>, Coherence), Error> {
        let head = Position::new(Epoch::random(), 0);
        let bus = Arc::new(Self(Mutex::new(Log { head, handler: None })));
        let environment = Arc::new(SystemEnvironment::new());
        let core = Core::start(options, bus.clone(), environment, History::new(HALF_SIZE))?;
        Ok((bus, Coherence::of(core)))
    }

    /// Delivers an invalidation of another instance.
    pub fn deliver(&self, what: Invalidation) {
        self.append(what.within(""), String::new(), None);
    }

    fn append(&self, data: CacheInvalidate, id: String, cause: Option<String>) -> Position {
        let (position, handler) = {
            let mut log = self.log();
            log.head.offset += 1;
            (log.head.clone(), log.handler.clone())
        };
        if let Some(handler) = handler.and_then(|handler| handler.upgrade()) {
            handler.invalidated(&DeliveredInvalidation { position: position.clone(), id, cause, data });
        }
        position
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for LocalBus {
    fn start(&self, handler: Weak<dyn SourceHandler>, _replay: bool) {
        self.log().handler = Some(handler);
    }

    fn is_connected(&self) -> bool {
        true
    }

    fn sync(&self, number: u64) {
        let (head, handler) = {
            let log = self.log();
            (log.head.clone(), log.handler.clone())
        };
        if let Some(handler) = handler.and_then(|handler| handler.upgrade()) {
            handler.synced(number, Some(&head));
        }
    }

    fn publish(&self, publication: Publication) -> BoxFuture<'static, Result<Position, Error>> {
        let Publication { data, id, cause, .. } = publication;
        let position = self.append(data, id, cause);
        async move { Ok(position) }.boxed()
    }

    fn stop(&self) {
        self.log().handler = None;
    }
}
