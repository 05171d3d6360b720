//! Limits on what runs at once for connections that are being made.
//!
//! When a node dies, its thousands of clients connect to the other nodes in the same second, each with a position of its
//! own to resume from. New connections must not slow existing ones. So only a few reads of a namespace's log run at a
//! time, and above a limit of pending connections further ones are asked to come back a few seconds later.
//!
//! This module does not know HTTP or the log.

use std::sync::Arc;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Reads of a namespace's log at a time: enough to keep the broker busy, and few enough that a publish waits behind no
/// more than a few pages.
const CONCURRENT_READS: usize = 8;

/// The node's limit on pending connections.
#[derive(Debug)]
pub struct Admission {
    limit: usize,
    pending: Gauge,
}

/// Counts as one pending connection until it is dropped.
#[derive(Debug)]
pub struct AdmissionPermit(Arc<Admission>);

/// The limit on concurrent reads of one namespace's log.
#[derive(Debug)]
pub struct ReadLimit {
    admission: Arc<Admission>,
    reads: Semaphore,
}

/// Permission to read the log once. Its holder counts as a pending connection.
#[derive(Debug)]
pub struct ReadPermit<'a> {
    _read: Option<SemaphorePermit<'a>>,
    _pending: AdmissionPermit,
}

impl Admission {
    /// Admits up to `limit` connections at a time. `pending` shows how many there are.
    pub fn new(limit: usize, pending: Gauge) -> Arc<Self> {
        Arc::new(Self { limit, pending })
    }

    /// Admits a connection, unless too many are pending.
    pub fn admit(self: &Arc<Self>) -> Option<AdmissionPermit> {
        let permit = self.count();
        (self.pending.get() <= self.limit as i64).then_some(permit)
    }

    fn count(self: &Arc<Self>) -> AdmissionPermit {
        self.pending.inc();
        AdmissionPermit(self.clone())
    }
}

impl Drop for AdmissionPermit {
    fn drop(&mut self) {
        self.0.pending.dec();
    }
}

impl ReadLimit {
    /// A limit whose waiters count as pending connections of this node.
    pub fn new(admission: Arc<Admission>) -> Self {
        Self { admission, reads: Semaphore::new(CONCURRENT_READS) }
    }

    /// Waits until the log may be read.
    pub async fn permit(&self) -> ReadPermit<'_> {
        let pending = self.admission.count();
        // The semaphore is never closed.
        ReadPermit { _read: self.reads.acquire().await.ok(), _pending: pending }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn connections_above_the_limit_are_refused() {
        let admission = Admission::new(2, Gauge::default());
        let first = admission.admit().unwrap();
        let _second = admission.admit().unwrap();
        assert!(admission.admit().is_none() && admission.admit().is_none());
        drop(first);
        assert!(admission.admit().is_some());
    }

    #[test]
    fn few_reads_run_at_a_time_and_a_waiting_reader_counts_as_pending() {
        let admission = Admission::new(CONCURRENT_READS + 1, Gauge::default());
        let reads = ReadLimit::new(admission.clone());
        let mut permits: Vec<_> = (0..CONCURRENT_READS).map(|_| reads.permit().now_or_never().unwrap()).collect();
        let mut waiting = Box::pin(reads.permit());
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(admission.admit().is_none());
        permits.pop();
        let permit = waiting.now_or_never().unwrap();
        assert!(admission.admit().is_some());
        drop((permits, permit));
        assert_eq!(admission.pending.get(), 0);
    }

    #[test]
    fn a_namespace_does_not_wait_for_the_reads_of_another() {
        let admission = Admission::new(100, Gauge::default());
        let [busy, other] = [0, 1].map(|_| ReadLimit::new(admission.clone()));
        let _permits: Vec<_> = (0..CONCURRENT_READS).map(|_| busy.permit().now_or_never().unwrap()).collect();
        assert!(busy.permit().now_or_never().is_none());
        assert!(other.permit().now_or_never().is_some());
    }
}
