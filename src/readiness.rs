//! The readiness probe: proves again and again that a namespace of this node can publish and receive.
//!
//! A probe is written to the broker, comes back by the same way as the events, and reaches the same relay. An open socket
//! proves nothing, so nothing else makes a node ready. If no probe has come back for long, the node is partitioned: it
//! evicts its connections, since another node may still reach the broker.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::broker::Backend;
use crate::health::{Health, RelayReport};
use crate::hub::{EvictReason, Hub};
use crate::incidents::{IncidentKind, Incidents};
use crate::metrics::Metrics;

/// The longest time between two round trips while they fail: a node that waits for its broker is not idle.
const RETRY: Duration = Duration::from_secs(1);
/// The shortest time between two round trips: a connection that is lost again and again must not make them a hot loop.
const MIN_PULSE: Duration = Duration::from_millis(100);
/// How long a round trip may take.
const TIMEOUT: Duration = Duration::from_secs(2);
/// A round that fails after this time ran out of time. One that fails earlier knows the cause.
const SLOW: Duration = Duration::from_secs(1);
/// Slow rounds at the start that are no error yet: a connection may take several round trips of a slow network.
const SLOW_ROUNDS_AT_START: u64 = 3;

/// The readiness probe of one namespace.
pub struct Readiness {
    pub backend: Arc<dyn Backend>,
    pub hub: Arc<Hub>,
    pub relay: watch::Receiver<RelayReport>,
    pub health: watch::Sender<Health>,
    pub metrics: Arc<Metrics>,
    /// Is told when the namespace is no longer ready, and when it is ready again.
    pub incidents: Arc<Incidents>,
    /// Between two round trips.
    pub pulse: Duration,
    /// How long round trips may fail until the node is partitioned, from the beginning of the first that failed. `None` if
    /// it has the broker to itself: no other node could reach it then.
    pub partitioned_after: Option<Duration>,
}

impl Readiness {
    /// Sends probes until the namespace is closed.
    pub async fn run(mut self) {
        let mut failing_since = None;
        let (mut was_ready, mut reported) = (false, false);
        for number in 1.. {
            let sent = Instant::now();
            let result = self.round_trip(number).await;
            let elapsed = sent.elapsed();
            if result.is_ok() {
                self.metrics.round_trip_seconds.observe(elapsed.as_secs_f64());
                failing_since = None;
            } else if self.backend.returned_from_any_server(number) {
                // Another node would reach no more of the broker than this one does.
                failing_since = None;
            } else {
                failing_since.get_or_insert(sent);
            }
            let next = sent + if result.is_ok() { self.pulse } else { self.pulse.min(RETRY) };
            let before = self.health.borrow().clone();
            match &result {
                Ok(()) => {
                    if before.ready.is_err() {
                        tracing::info!("ready: the round trip through the broker works");
                    }
                    if reported {
                        let detail = "ready again: the round trip through the broker works".into();
                        self.incidents.note(IncidentKind::Ready, None, detail);
                    }
                    (was_ready, reported) = (true, false);
                }
                Err(reason) if !was_ready && elapsed >= SLOW && number <= SLOW_ROUNDS_AT_START => {
                    tracing::info!(reason, "not ready yet");
                }
                Err(reason) => {
                    if !std::mem::replace(&mut reported, true) {
                        tracing::error!(reason, "not ready");
                        self.incidents.note(IncidentKind::NotReady, None, reason.clone());
                    }
                }
            }
            let failing_for = failing_since.map(|since| since.elapsed());
            let partitioned = self.partitioned_after.is_some_and(|limit| failing_for > Some(limit));
            if before.partitioned && !partitioned {
                // Before new connections are admitted, so that none of them is evicted.
                self.hub.evict(None).await;
            }
            self.health.send_replace(Health { ready: result, partitioned });
            if partitioned && !before.partitioned {
                tracing::error!("partitioned from the broker: all connections are evicted");
                self.hub.evict(Some(EvictReason::Partitioned)).await;
            }
            if self.health.is_closed() {
                return;
            }
            let due_early = async {
                self.backend.pulse_due().await;
                tokio::time::sleep_until(sent + MIN_PULSE).await;
            };
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                () = due_early => {}
            }
        }
    }

    /// Sends a probe, and waits until the relay has received it. Then every log must be readable, too.
    async fn round_trip(&mut self, number: u64) -> Result<(), String> {
        let round_trip = async {
            // The relay compares the heads that are found with what it has delivered, so that a lost signal is made up for
            // within a pulse.
            self.backend.pulse(number, &|_| {}).await.map_err(|error| error.to_string())?;
            let returned = self.relay.wait_for(|relay| relay.returned_probe >= number);
            returned.await.map(drop).map_err(|_| "the relay has ended".to_owned())
        };
        let result = tokio::time::timeout(TIMEOUT, round_trip).await;
        let problem = self.relay.borrow().problem();
        match result {
            Ok(Err(reason)) => Err(reason),
            Ok(Ok(())) => problem.map_or(Ok(()), Err),
            Err(_) => Err(problem.unwrap_or_else(|| "what is published does not come back from the broker".to_owned())),
        }
    }
}
