//! This node's entry in the registry of nodes: kept fresh, and with it what the others are told of this one.
//!
//! Where the broker cannot be reached nothing is said here: that is for [`health`](crate::health) to say.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::broker::Backend;
use crate::broker::nodes::NodeState;
use crate::metrics::Metrics;

/// Between two heartbeats.
const BEAT: Duration = Duration::from_secs(5);
/// Before the next attempt, where one failed: a registry that was lost is whole again soon.
const RETRY: Duration = Duration::from_secs(1);

/// Writes heartbeats for as long as it is polled, and at once when the node begins to drain.
pub async fn keep(broker: Arc<dyn Backend>, mut node: NodeState, metrics: Arc<Metrics>, draining: CancellationToken) {
    loop {
        node.connections = u64::try_from(metrics.connections.get()).unwrap_or_default();
        node.draining = draining.is_cancelled();
        let pause = match broker.nodes().beat(&node).await {
            Ok(()) => BEAT,
            Err(_) => RETRY,
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = draining.cancelled(), if !node.draining => {}
        }
    }
}
