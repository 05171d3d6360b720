//! Looks at the heads of the logs, which prove what a connection must have been sent: the answer to `sync`.
//!
//! One look at a time runs in a namespace of a node. Every `sync` that comes during a look shares the next one, since only a look
//! that begins later proves something to it. A look asks for the bounds of each log, and not only for its head as the
//! readiness probe does: the broker then compares the log with what this node knows, and begins a new epoch where events
//! were lost. So a head is never the head of another history.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, join_all};
use tokio::sync::Semaphore;

use super::{Bus, unreadable};
use crate::access::Caller;
use crate::broker::{Backend, BrokerError};
use crate::event::{ChannelId, PerChannel, Position};
use crate::metrics::Metrics;
use crate::protocol::{ErrorCode, Problem};

/// How long a log may take to answer. The look of a `sync` may have to wait for one that is in flight, and its client gets an
/// answer within 3 s.
const LOOK_TIMEOUT: Duration = Duration::from_millis(1_200);
/// How long a `sync` waits for its look.
const WAIT: Duration = Duration::from_millis(2_600);

/// What a look found: the head of the log of each channel that has subscribers on this node.
#[derive(Debug)]
pub struct Look {
    /// In the order of the channels.
    heads: Vec<(ChannelId, Result<Position, Problem>)>,
}

type SharedLook = Shared<BoxFuture<'static, Arc<Look>>>;

/// The looks of one namespace.
pub(super) struct Looks {
    backend: Arc<dyn Backend>,
    subscribers: Arc<PerChannel<AtomicU64>>,
    metrics: Arc<Metrics>,
    /// One permit: a look holds it.
    turn: Semaphore,
    /// The look that has not begun. Every `sync` that comes now shares it.
    next: Mutex<Option<SharedLook>>,
}

impl Look {
    /// The head of a channel's log, or why it is not known. `None` if the channel had no subscriber when the look began.
    pub fn head(&self, channel: ChannelId) -> Option<&Result<Position, Problem>> {
        let found = self.heads.binary_search_by_key(&channel, |(id, _)| *id).ok()?;
        Some(&self.heads[found].1)
    }
}

impl Bus {
    /// A look at the caller's namespace that begins after this call.
    ///
    /// # Errors
    /// `broker-unavailable`, within 3 s. Where only some logs cannot be asked, [`Look::head`] says so.
    pub async fn look(&self, caller: &Caller) -> Result<Arc<Look>, Problem> {
        let look = self.namespace(caller).looks().next();
        tokio::time::timeout(WAIT, look).await.map_err(|_| {
            let detail = "the broker does not answer: try again";
            Problem::new(ErrorCode::BrokerUnavailable, detail)
        })
    }
}

impl Looks {
    pub fn new(backend: Arc<dyn Backend>, subscribers: Arc<PerChannel<AtomicU64>>, metrics: Arc<Metrics>) -> Self {
        Self { backend, subscribers, metrics, turn: Semaphore::new(1), next: Mutex::default() }
    }

    /// The next look that begins.
    fn next(self: &Arc<Self>) -> SharedLook {
        let mut next = self.lock_next();
        if let Some(look) = &*next {
            return look.clone();
        }
        let looks = self.clone();
        let look = async move {
            // The semaphore is never closed.
            let _turn = looks.turn.acquire().await;
            *looks.lock_next() = None;
            Arc::new(looks.look().await)
        };
        let look = look.boxed().shared();
        *next = Some(look.clone());
        look
    }

    async fn look(&self) -> Look {
        self.metrics.sync_looks.inc();
        let subscribed = self.subscribers.iter().filter(|(_, count)| count.load(Ordering::Relaxed) > 0);
        let heads = subscribed.map(async |(channel, _)| {
            let bounds = tokio::time::timeout(LOOK_TIMEOUT, self.backend.bounds(channel, None)).await;
            let bounds =
                bounds.unwrap_or_else(|_| Err(BrokerError::Unavailable("the broker did not answer in time".into())));
            (channel, bounds.map(|bounds| bounds.head()).map_err(unavailable))
        });
        Look { heads: join_all(heads).await }
    }

    fn lock_next(&self) -> MutexGuard<'_, Option<SharedLook>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a client is told whose `sync` cannot be answered, whatever the broker's reason.
fn unavailable(error: BrokerError) -> Problem {
    Problem { code: ErrorCode::BrokerUnavailable, ..unreadable(error) }
}
