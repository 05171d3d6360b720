//! Whether this node can publish and receive: proved by a round trip through the broker, again and again.
//!
//! A probe is written to the broker, comes back over the same bus as the events and is heard by the same relay. A socket
//! that is open proves nothing, so nothing else makes the node ready. Where none has come back for long, the node is cut
//! off: its connections are sent away, since another node may be better off.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::broker::Backend;
use crate::hub::{EvictReason, Hub};
use crate::metrics::Metrics;

/// Between two round trips.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long a round trip may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the round trips say.
#[derive(Debug, Clone)]
pub struct Health {
    /// Ready, or why not.
    pub ready: Result<(), String>,
    /// It has not been ready for so long that nobody is to stay here.
    pub partitioned: bool,
}

/// What is known before the first round trip.
impl Default for Health {
    fn default() -> Self {
        Self { ready: Err("no round trip through the broker yet".to_owned()), partitioned: false }
    }
}

/// Sends probes for as long as somebody wants to know; `heard` is the number of the last one that came back. `patience`
/// is how long the node may go without one until it is partitioned; where nobody else could be better off, there is none.
pub async fn watch_broker(
    broker: Arc<dyn Backend>,
    hub: Arc<Hub>,
    mut heard: watch::Receiver<u64>,
    health: watch::Sender<Health>,
    metrics: Arc<Metrics>,
    patience: Option<Duration>,
) {
    let mut last = Instant::now();
    for number in 1.. {
        let sent = Instant::now();
        let round_trip = async {
            broker.probe(number).await.map_err(|error| error.to_string())?;
            heard.wait_for(|heard| *heard >= number).await.map_err(|_| "the relay has ended".to_owned())?;
            Ok(())
        };
        let silent = || Err("what is published does not come back from the broker".to_owned());
        let now = tokio::time::timeout(PATIENCE, round_trip).await.unwrap_or_else(|_| silent());
        if now.is_ok() {
            metrics.round_trip_seconds.observe(sent.elapsed().as_secs_f64());
            last = Instant::now();
        } else if broker.came_back_in_part(number) {
            // Whose channels are in the other part would find it no better elsewhere.
            last = Instant::now();
        }
        metrics.ready.set(i64::from(now.is_ok()));
        let before = health.borrow().clone();
        match &now {
            _ if number > 1 && before.ready.is_ok() == now.is_ok() => {}
            Ok(()) => tracing::info!("ready: the broker's round trip works"),
            Err(reason) => tracing::error!(reason, "not ready"),
        }
        let partitioned = patience.is_some_and(|patience| last.elapsed() > patience);
        if before.partitioned && !partitioned {
            // First, so that nobody comes in who would be sent away.
            hub.evict(None).await;
        }
        health.send_replace(Health { ready: now, partitioned });
        if partitioned && !before.partitioned {
            tracing::error!("cut off from the broker: all connections are sent away");
            hub.evict(Some(EvictReason::Partitioned)).await;
        }
        if health.is_closed() {
            return;
        }
        tokio::time::sleep_until(sent + INTERVAL).await;
    }
}
