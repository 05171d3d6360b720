//! What all send buffers of a node share: their bound, and how many of them wait for their sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::metrics::Metrics;

/// What all send buffers of a node share.
#[derive(Debug)]
pub struct Outgoing {
    /// The most bytes that wait for one socket.
    pub limit: usize,
    pub metrics: Arc<Metrics>,
    /// Where the tasks run that wait for a socket.
    pub runtime: Handle,
    /// What `heard` counts from.
    pub started: Instant,
    /// Outboxes that there are.
    pub(super) open: AtomicUsize,
    /// Those of them that are not closing and wait for their socket.
    pub(super) blocked: AtomicUsize,
    /// Told whenever `blocked` falls.
    pub(super) unblocked: Notify,
}

impl Outgoing {
    pub fn new(limit: usize, metrics: Arc<Metrics>, runtime: Handle) -> Self {
        Self {
            limit,
            metrics,
            runtime,
            started: Instant::now(),
            open: AtomicUsize::new(0),
            blocked: AtomicUsize::new(0),
            unblocked: Notify::new(),
        }
    }

    /// Waits until nearly all connections take what they are sent.
    pub async fn flowing(&self) {
        let flowing = || self.blocked.load(Ordering::Relaxed) <= self.open.load(Ordering::Relaxed) / 8;
        while !flowing() {
            let unblocked = self.unblocked.notified();
            if flowing() {
                return;
            }
            unblocked.await;
        }
    }
}
