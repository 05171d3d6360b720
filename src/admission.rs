//! How much may be under way at once for those who come.
//!
//! When a node has died, thousands come to the others in the same second, each from a position of its own. Where all were
//! taken at once, their handshakes and what is read from the log for them would be before everything that those get who
//! are there already. So only a few read the log at a time, and above a limit of those who are not done with pending,
//! further ones are asked to come a little later. Nothing here knows of HTTP or of the log.

use std::sync::Arc;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Reads of the log at a time: enough that the broker always has the next one at hand, and so few that what is published
/// stands behind a few pages at the most.
const READS: usize = 8;

/// Counts those who arrive at a node.
#[derive(Debug)]
pub struct Admission {
    limit: usize,
    pending_connections: Gauge,
    reads: Semaphore,
}

/// Somebody who arrives, until this is dropped.
#[derive(Debug)]
pub struct AdmissionPermit(Arc<Admission>);

/// Leave to read the log once. Who has it, or waits for it, is pending.
#[derive(Debug)]
pub struct ReadPermit<'a> {
    _permit: Option<SemaphorePermit<'a>>,
    _arriving: AdmissionPermit,
}

impl Admission {
    /// Takes up to `limit` at a time; `pending_connections` says how many there are.
    pub fn new(limit: usize, pending_connections: Gauge) -> Arc<Self> {
        Arc::new(Self { limit, pending_connections, reads: Semaphore::new(READS) })
    }

    /// Lets somebody in, unless too many are pending.
    pub fn enter(self: &Arc<Self>) -> Option<AdmissionPermit> {
        let permit = self.arrive();
        (self.pending_connections.get() <= self.limit as i64).then_some(permit)
    }

    /// Waits for a turn to read the log, for one who has been let in.
    pub async fn read_permit(self: &Arc<Self>) -> ReadPermit<'_> {
        let _arriving = self.arrive();
        // It is never closed.
        ReadPermit { _permit: self.reads.acquire().await.ok(), _arriving }
    }

    fn arrive(self: &Arc<Self>) -> AdmissionPermit {
        self.pending_connections.inc();
        AdmissionPermit(self.clone())
    }
}

impl Drop for AdmissionPermit {
    fn drop(&mut self) {
        self.0.pending_connections.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn so_many_arrive_at_a_time() {
        let admission = Admission::new(2, Gauge::default());
        let first = admission.enter().unwrap();
        let _second = admission.enter().unwrap();
        assert!(admission.enter().is_none() && admission.enter().is_none());
        drop(first);
        assert!(admission.enter().is_some());
    }

    #[test]
    fn few_read_at_a_time_and_who_waits_has_not_arrived() {
        let admission = Admission::new(READS + 1, Gauge::default());
        let mut turns: Vec<_> = (0..READS).map(|_| admission.read_permit().now_or_never().unwrap()).collect();
        let mut waiting = Box::pin(admission.read_permit());
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(admission.enter().is_none());
        turns.pop();
        let turn = waiting.now_or_never().unwrap();
        assert!(admission.enter().is_some());
        drop((turns, turn));
        assert_eq!(admission.pending_connections.get(), 0);
    }
}
