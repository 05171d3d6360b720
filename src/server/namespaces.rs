//! What runs for each namespace of a node: its backend, its relay, its hub and its readiness probe.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::ServerError;
use crate::access::Guard;
use crate::admission::Admission;
use crate::auth::Auth;
use crate::broker::{Backend, ObservedSignals, Signals, observe};
use crate::bus::{Namespace, Revocations, TakenBack};
use crate::config::{BrokerConfig, Config};
use crate::event::Catalog;
use crate::health::{Health, RelayReport};
use crate::hub::{Hub, HubConfig};
use crate::metrics::Metrics;
use crate::readiness::Readiness;
use crate::relay::Relay;

/// Opens a backend; see [`broker::open`](crate::broker::open).
pub type OpenBroker<'a> =
    &'a (dyn Fn(&BrokerConfig, &Arc<Catalog>) -> Result<(Arc<dyn Backend>, Signals), String> + Sync);

/// The parts of one namespace, set up and not yet running.
pub struct NamespaceParts {
    pub backend: Arc<dyn Backend>,
    pub hub: Arc<Hub>,
    /// What the application layer knows of it.
    pub namespace: Arc<Namespace>,
    pub relay: Relay,
    pub signals: ObservedSignals,
    pub readiness: Readiness,
}

impl NamespaceParts {
    /// Sets a namespace up on the broker that `broker` names. Nothing of it is shared with other namespaces.
    ///
    /// # Errors
    /// [`ServerError::Broker`] and [`ServerError::Thread`].
    pub fn open(
        broker: &BrokerConfig,
        config: &Config,
        catalog: &Arc<Catalog>,
        admission: &Arc<Admission>,
        metrics: &Arc<Metrics>,
        auth: Option<&Arc<Auth>>,
        open: OpenBroker<'_>,
    ) -> Result<Self, ServerError> {
        let (backend, signals) = open(broker, catalog).map_err(ServerError::Broker)?;
        let (backend, signals) = observe(backend, signals, catalog);
        let (health, reported) = watch::channel(Health::default());
        let kept_for = {
            let auth = auth.cloned();
            move || auth.as_ref().map_or(Duration::ZERO, |auth| auth.longest_validity())
        };
        let revocations = Arc::new(Revocations::new(backend.clone(), kept_for));
        let guard: Arc<dyn Guard> = Arc::new(TakenBack::new(auth.cloned(), revocations.clone()));
        let namespace =
            Namespace::new(backend.clone(), catalog, admission.clone(), reported, metrics, revocations, guard.clone());
        let namespace = Arc::new(namespace.named(&broker.namespace));
        let hub_config = HubConfig {
            shards: std::thread::available_parallelism().map_or(1, usize::from),
            heartbeat: config.websocket.heartbeat,
            max_subscriptions: config.websocket.max_subscriptions,
            outbox_bytes: config.websocket.outbox_bytes,
        };
        let hub = Hub::start(
            &hub_config,
            catalog,
            metrics,
            namespace.subscribers(),
            namespace.pace(),
            &guard,
            namespace.incidents(),
        )
        .map_err(ServerError::Thread)?;
        let hub = Arc::new(hub);
        let (report, relay_report) = watch::channel(RelayReport::default());
        let relay = Relay::new(backend.clone(), hub.clone(), catalog.clone(), metrics.clone(), report, &namespace);
        let readiness = Readiness {
            backend: backend.clone(),
            hub: hub.clone(),
            relay: relay_report,
            health,
            metrics: metrics.clone(),
            incidents: namespace.incidents().clone(),
            pulse: broker.pulse,
            partitioned_after: broker.broker.is_shared().then_some(config.server.partitioned_after),
        };
        Ok(Self { backend, hub, namespace, relay, signals, readiness })
    }
}
