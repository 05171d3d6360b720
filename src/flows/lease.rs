//! The lease of a flow: which node runs it.
//!
//! The broker gives the lease to one holder for [`TTL`]. The holder renews it; the other nodes ask for it again and again. A
//! holder that could not renew it stops before the others can have it, by its own clock. A holder whose process stood still
//! cannot stop in time, so everything that it writes has the lease's token: see [`Checkpoint`](super::Checkpoint).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::FlowError;
use crate::broker::BrokerError;
use crate::bus::FlowStore;

/// How long the broker keeps a lease that nobody renews.
const TTL: Duration = Duration::from_secs(10);
/// From one renewal to the next.
const RENEWAL: Duration = Duration::from_secs(3);
/// From one question to the next, on average, of a node that does not have the lease. With [`TTL`] it takes the lease within
/// 15 s. A renewal comes less often, so this is the most that a lease costs an idle node.
pub const IDLE_INTERVAL: Duration = Duration::from_millis(2_250);
/// The holder stops this long before the lease ends.
const MARGIN: Duration = Duration::from_secs(2);
/// How long a call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause after a renewal that failed.
const RETRY: Duration = Duration::from_millis(500);

/// A lease that this node has.
#[derive(Debug)]
pub struct Lease {
    holder: String,
    token: u64,
    /// This node works until then, unless the lease is renewed.
    until: Mutex<Instant>,
}

impl Lease {
    /// Asks for the lease until this node has it. `holder` names this process, and no other one, ever.
    pub async fn take(store: &FlowStore, holder: &str) -> Self {
        let mut failing = false;
        loop {
            let asked = Instant::now();
            match call(store, holder).await {
                Ok(Some(token)) => {
                    return Self { holder: holder.to_owned(), token, until: Mutex::new(asked + TTL - MARGIN) };
                }
                Ok(None) => failing = false,
                // That the broker does not answer is told by the readiness probe.
                Err(error) if !std::mem::replace(&mut failing, true) => {
                    tracing::debug!(%error, "the lease of a flow cannot be asked for");
                }
                Err(_) => {}
            }
            // Nodes that started together ask one after the other.
            sleep(IDLE_INTERVAL.mul_f64(rand::random_range(0.9..1.1))).await;
        }
    }

    /// Renews the lease, until it is lost.
    pub async fn keep(&self, store: &FlowStore) -> FlowError {
        let mut pause = RENEWAL;
        loop {
            sleep(pause.min(self.until().saturating_duration_since(Instant::now()))).await;
            if !self.is_held() {
                return FlowError::LeaseLost;
            }
            let asked = Instant::now();
            pause = match call(store, &self.holder).await {
                Ok(Some(token)) if token == self.token => {
                    *self.lock() = asked + TTL - MARGIN;
                    RENEWAL
                }
                Ok(_) => return FlowError::LeaseLost,
                Err(error) => {
                    tracing::debug!(%error, "the lease of a flow cannot be renewed");
                    RETRY
                }
            };
        }
    }

    /// Gives the lease back, so that another node takes it at its next question.
    pub async fn release(&self, store: &FlowStore) {
        *self.lock() = Instant::now();
        // It ends by itself.
        let _ = timeout(CALL_TIMEOUT, store.release(&self.holder)).await;
    }

    /// Whether this node has the lease for certain.
    pub fn is_held(&self) -> bool {
        Instant::now() < self.until()
    }

    /// Rises with each holder.
    pub fn token(&self) -> u64 {
        self.token
    }

    fn until(&self) -> Instant {
        *self.lock()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Instant> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn call(store: &FlowStore, holder: &str) -> Result<Option<u64>, BrokerError> {
    let late = |_| Err(BrokerError::Unavailable("the store did not answer in time".into()));
    timeout(CALL_TIMEOUT, store.lease(holder, TTL)).await.unwrap_or_else(late)
}
