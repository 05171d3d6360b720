//! How much may be under way at once for those who come.
//!
//! When a node has died, thousands come to the others in the same second, each from a position of its own. Where all were
//! taken at once, their handshakes and what is read from the log for them would be before everything that those get who
//! are there already. So only a few read the log at a time, and above a limit of those who are not done with arriving,
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
    arriving: Gauge,
    reads: Semaphore,
}

/// Somebody who arrives, until this is dropped.
#[derive(Debug)]
pub struct Arriving(Arc<Admission>);

/// Leave to read the log once. Who has it, or waits for it, is arriving.
#[derive(Debug)]
pub struct Turn<'a> {
    _permit: Option<SemaphorePermit<'a>>,
    _arriving: Arriving,
}

impl Admission {
    /// Takes up to `limit` at a time; `arriving` says how many there are.
    pub fn new(limit: usize, arriving: Gauge) -> Arc<Self> {
        Arc::new(Self { limit, arriving, reads: Semaphore::new(READS) })
    }

    /// Lets somebody in, unless too many are arriving.
    pub fn enter(self: &Arc<Self>) -> Option<Arriving> {
        let arriving = self.arrive();
        (self.arriving.get() <= self.limit as i64).then_some(arriving)
    }

    /// Waits for a turn to read the log, for one who has been let in.
    pub async fn turn(self: &Arc<Self>) -> Turn<'_> {
        let _arriving = self.arrive();
        // It is never closed.
        Turn { _permit: self.reads.acquire().await.ok(), _arriving }
    }

    fn arrive(self: &Arc<Self>) -> Arriving {
        self.arriving.inc();
        Arriving(self.clone())
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.0.arriving.dec();
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
        let mut turns: Vec<_> = (0..READS).map(|_| admission.turn().now_or_never().unwrap()).collect();
        let mut waiting = Box::pin(admission.turn());
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(admission.enter().is_none());
        turns.pop();
        let turn = waiting.now_or_never().unwrap();
        assert!(admission.enter().is_some());
        drop((turns, turn));
        assert_eq!(admission.arriving.get(), 0);
    }
}
