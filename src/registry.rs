//! This node's heartbeats in the registry of nodes.
//!
//! If the broker cannot be reached this module stays silent: [`readiness`](crate::readiness) reports that.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::broker::Backend;
use crate::broker::nodes::NodeState;
use crate::metrics::Metrics;

/// Pause after a heartbeat that failed, so that a lost registry is soon complete again.
const RETRY: Duration = Duration::from_secs(1);

/// Sends heartbeats for as long as it is polled, and one at once when the node is asked to stop. It is listed as draining
/// from then on.
pub async fn run(backend: Arc<dyn Backend>, mut node: NodeState, metrics: Arc<Metrics>, stopping: CancellationToken) {
    loop {
        node.connections = u64::try_from(metrics.connections.get()).unwrap_or_default();
        node.draining = stopping.is_cancelled();
        let pause = match backend.nodes().beat(&node).await {
            Ok(()) => Duration::from_millis(node.heartbeat_ms),
            Err(_) => RETRY,
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stopping.cancelled(), if !node.draining => {}
        }
    }
}
