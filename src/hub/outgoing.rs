//! The state that all send buffers of a node share: their limit, and how many of them wait for their sockets.
//!
//! Each [`SendBuffer`](super::SendBuffer) keeps the counts here. The hub reads them to bound a burst: it pauses until
//! nearly all connections have taken what they were sent. This module does not know frames or sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::closes::Closes;
use crate::incidents::{IncidentKind, Incidents};
use crate::metrics::Metrics;
use crate::pace::Pace;
use crate::protocol::CloseCode;

/// The limit, the counts and the runtime of a node's send buffers.
#[derive(Debug)]
pub struct Outgoing {
    /// The most bytes that one send buffer may queue.
    pub limit: usize,
    pub metrics: Arc<Metrics>,
    /// How connections were closed.
    pub(super) closes: Closes,
    /// Is told of connections that are closed because of a failure.
    pub(super) incidents: Arc<Incidents>,
    /// Is told which Pings were answered.
    pub pace: Arc<Pace>,
    /// The runtime of the tasks that wait for a socket.
    pub runtime: Handle,
    /// The start of the clock by which send buffers note when bytes last came from their peers.
    pub started: Instant,
    /// The number of send buffers.
    pub(super) open: AtomicUsize,
    /// The send buffers that wait for their socket and that the hub waits for.
    pub(super) blocked: AtomicUsize,
    /// Notified whenever `blocked` falls.
    pub(super) unblocked: Notify,
}

impl Outgoing {
    pub fn new(limit: usize, metrics: Arc<Metrics>, pace: Arc<Pace>, runtime: Handle) -> Self {
        Self {
            limit,
            metrics,
            closes: Closes::default(),
            incidents: Arc::default(),
            pace,
            runtime,
            started: Instant::now(),
            open: AtomicUsize::new(0),
            blocked: AtomicUsize::new(0),
            unblocked: Notify::new(),
        }
    }

    /// The same with the incidents of a namespace.
    #[must_use]
    pub fn with_incidents(mut self, incidents: Arc<Incidents>) -> Self {
        self.incidents = incidents;
        self
    }

    /// Counts a connection that is closed with this code.
    pub(super) fn count_close(&self, code: u16) {
        self.closes.count(code);
        let (kind, detail) = if code == CloseCode::SlowConsumer.as_u16() {
            let detail = format!("a client read too slowly: its send buffer of {} bytes was full", self.limit);
            (IncidentKind::Close4008, detail)
        } else if code == CloseCode::BrokerUnavailable.as_u16() {
            (IncidentKind::Close1013, "the node is partitioned from its broker".to_owned())
        } else {
            return;
        };
        self.incidents.note(kind, None, detail);
    }

    /// Waits until at most one send buffer in eight waits for its socket.
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
