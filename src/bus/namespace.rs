//! One tenant's bus on this node: a log of its own, with its own relay, progress and pace.
//!
//! Namespaces share the catalogue and the process, nothing else. A node can hold several; the load of one does not hold
//! up the deliveries of another.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::look::Looks;
use super::{CursorBases, LatestCache, LongPolls, Revocations, Traffic};
use crate::access::Guard;
use crate::admission::{Admission, ReadLimit};
use crate::broker::{Backend, Log, Store};
use crate::event::{Catalog, ChannelId, PerChannel};
use crate::health::Health;
use crate::incidents::Incidents;
use crate::metrics::Metrics;
use crate::pace::Pace;
use crate::progress::Progress;
use crate::recent::RecentEvents;

/// The time in which a broker that works answers.
const USUAL_ANSWER: Duration = Duration::from_millis(500);

/// What the application layer knows of one namespace.
pub struct Namespace {
    name: Box<str>,
    backend: Arc<dyn Backend>,
    progress: Arc<Progress>,
    pace: Arc<Pace>,
    recent: Arc<RecentEvents>,
    latest: Arc<LatestCache>,
    subscribers: Arc<PerChannel<AtomicU64>>,
    reads: ReadLimit,
    health: watch::Receiver<Health>,
    cursors: Arc<CursorBases>,
    revocations: Arc<Revocations>,
    guard: Arc<dyn Guard>,
    looks: Arc<Looks>,
    long_polls: LongPolls,
    traffic: Arc<Traffic>,
    incidents: Arc<Incidents>,
}

impl Namespace {
    /// A namespace over an opened backend.
    pub fn new(
        backend: Arc<dyn Backend>,
        catalog: &Catalog,
        admission: Arc<Admission>,
        health: watch::Receiver<Health>,
        metrics: &Arc<Metrics>,
        revocations: Arc<Revocations>,
        guard: Arc<dyn Guard>,
    ) -> Self {
        let subscribers = Arc::new(PerChannel::new(catalog, |_| AtomicU64::new(0)));
        let looks = Arc::new(Looks::new(backend.clone(), subscribers.clone(), metrics.clone()));
        let latest = Arc::new(LatestCache::new(backend.clone(), catalog, metrics.clone()));
        Self {
            name: "default".into(),
            latest,
            looks,
            backend,
            progress: Arc::new(Progress::new(catalog)),
            pace: Arc::new(Pace::new(catalog, subscribers.clone(), metrics.clone())),
            recent: Arc::new(RecentEvents::new(catalog)),
            subscribers,
            reads: ReadLimit::new(admission),
            health,
            cursors: Arc::default(),
            revocations,
            guard,
            long_polls: LongPolls::default(),
            traffic: Arc::new(Traffic::new(catalog)),
            incidents: Arc::default(),
        }
    }

    /// The same with this name.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How far this namespace's relay has come.
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// The pace of this namespace's publishers.
    pub fn pace(&self) -> &Arc<Pace> {
        &self.pace
    }

    /// The newest events that this namespace's relay has delivered.
    pub fn recent(&self) -> &Arc<RecentEvents> {
        &self.recent
    }

    /// The newest events of the subjects that clients of this node ask for.
    pub fn latest(&self) -> &Arc<LatestCache> {
        &self.latest
    }

    /// Connections of this node that are subscribed to each channel, counted by the hub.
    pub fn subscribers(&self) -> &Arc<PerChannel<AtomicU64>> {
        &self.subscribers
    }

    /// The revoked credentials of this namespace.
    pub fn revocations(&self) -> &Arc<Revocations> {
        &self.revocations
    }

    /// Says which credentials have been taken back.
    pub fn guard(&self) -> &Arc<dyn Guard> {
        &self.guard
    }

    /// What this node saw of each channel.
    pub fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }

    /// What went wrong lately.
    pub fn incidents(&self) -> &Arc<Incidents> {
        &self.incidents
    }

    /// The long-polls that wait.
    pub fn long_polls(&self) -> &LongPolls {
        &self.long_polls
    }

    pub(super) fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    pub(super) fn shared_backend(&self) -> Arc<dyn Backend> {
        self.backend.clone()
    }

    pub(super) fn log(&self) -> &dyn Log {
        &*self.backend
    }

    pub(super) fn looks(&self) -> &Arc<Looks> {
        &self.looks
    }

    pub(super) fn reads(&self) -> &ReadLimit {
        &self.reads
    }

    pub(super) fn subscriber_count(&self, channel: ChannelId) -> u64 {
        self.subscribers[channel].load(Ordering::Relaxed)
    }

    pub(super) fn store(&self) -> &dyn Store {
        self.backend.store()
    }

    /// The bases of packed cursors.
    pub(super) fn cursors(&self) -> &Arc<CursorBases> {
        &self.cursors
    }

    /// Waits until a call of the broker has had no answer for a moment and the node is not ready. It returns the reason.
    ///
    /// A node that is not ready may still read some logs, such as those of the other masters of a cluster. A call that can
    /// succeed is answered before this returns.
    pub(super) async fn unanswered(&self) -> String {
        tokio::time::sleep(USUAL_ANSWER).await;
        let mut health = self.health.clone();
        match health.wait_for(|health| health.ready.is_err()).await {
            Ok(health) => health.ready.clone().err().unwrap_or_default(),
            Err(_) => "the readiness probe has ended".to_owned(),
        }
    }

    pub(super) fn health(&self) -> &watch::Receiver<Health> {
        &self.health
    }
}
