//! Whether this node can publish and receive: proved by a round trip through the broker, again and again.
//!
//! A canary is written to the broker, comes back over the same bus as the events and is heard by the same relay. A socket
//! that is open proves nothing, so nothing else makes the node ready.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::broker::Broker;
use crate::metrics::Metrics;

/// Between two round trips.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long a round trip may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Ready, or why not.
pub type Readiness = Result<(), String>;

/// Sends canaries for as long as somebody wants to know; `heard` is the number of the last one that came back.
pub async fn watch_broker(
    broker: Arc<dyn Broker>,
    mut heard: watch::Receiver<u64>,
    ready: watch::Sender<Readiness>,
    metrics: Arc<Metrics>,
) {
    for number in 1.. {
        let sent = Instant::now();
        let round_trip = async {
            broker.canary(number).await.map_err(|error| error.to_string())?;
            heard.wait_for(|heard| *heard >= number).await.map_err(|_| "the relay has ended".to_owned())?;
            Ok(())
        };
        let silent = || Err("what is published does not come back from the broker".to_owned());
        let now = tokio::time::timeout(PATIENCE, round_trip).await.unwrap_or_else(|_| silent());
        if now.is_ok() {
            metrics.canary_seconds.observe(sent.elapsed().as_secs_f64());
        }
        metrics.ready.set(i64::from(now.is_ok()));
        let changed = ready.send_if_modified(|before| {
            let changed = number == 1 || before.is_ok() != now.is_ok();
            before.clone_from(&now);
            changed
        });
        match now {
            Ok(()) if changed => tracing::info!("ready: the broker's round trip works"),
            Err(reason) if changed => tracing::error!(reason, "not ready"),
            _ => {}
        }
        if ready.is_closed() {
            return;
        }
        tokio::time::sleep_until(sent + INTERVAL).await;
    }
}
