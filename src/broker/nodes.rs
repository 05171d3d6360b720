//! The registry of nodes: which nodes use a broker, and when each last sent a heartbeat.
//!
//! Each node writes its own entry. The broker's clock stamps it, so that no two nodes' clocks are ever compared. A node that
//! shuts down in order removes its entry, so that only nodes that failed are listed as lost. The caller decides when to
//! write.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::BrokerError;

/// How long the registry keeps the entry of a node that sends no heartbeats.
pub const FORGOTTEN: Duration = Duration::from_secs(3600);

/// The shortest time between two heartbeats.
const MIN_HEARTBEAT: Duration = Duration::from_secs(5);

/// The time between two heartbeats of a node with this pulse.
pub fn heartbeat(pulse: Duration) -> Duration {
    MIN_HEARTBEAT.max(pulse)
}

/// The registry of nodes that a backend keeps.
#[async_trait]
pub trait Nodes: Send + Sync {
    /// Adds a node's entry or renews it: a heartbeat.
    async fn beat(&self, node: &NodeState) -> Result<(), BrokerError>;

    /// Removes a node's entry.
    async fn leave(&self, id: &str) -> Result<(), BrokerError>;

    /// All nodes with a heartbeat within [`FORGOTTEN`].
    async fn list(&self) -> Result<Vec<Heard>, BrokerError>;
}

/// A node's own description, as its heartbeats carry it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeState {
    pub id: String,
    /// `HOST:PORT` at which the node is reached.
    pub address: String,
    pub version: String,
    /// When the node started, in RFC 3339, by its own clock.
    pub started: String,
    /// Open connections of subscribers.
    pub connections: u64,
    /// The node is about to stop.
    pub draining: bool,
    /// The time between two heartbeats, in ms. An earlier version did not write it.
    #[serde(default = "default_heartbeat_ms")]
    pub heartbeat_ms: u64,
}

fn default_heartbeat_ms() -> u64 {
    5_000
}

/// A node and its last heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    pub node: NodeState,
    /// The time of the last heartbeat, by the broker's clock.
    pub at: SystemTime,
    /// The age of the last heartbeat, by the broker's clock.
    pub ago: Duration,
}

/// The registry of a broker that only this process uses.
#[derive(Debug, Default)]
pub(super) struct SingleNodeRegistry(Mutex<Option<LastHeartbeat>>);

#[derive(Debug, Clone)]
struct LastHeartbeat {
    node: NodeState,
    at: SystemTime,
    /// The same time by the monotonic clock, for its age.
    instant: Instant,
}

impl SingleNodeRegistry {
    fn set(&self, last: Option<LastHeartbeat>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = last;
    }
}

#[async_trait]
impl Nodes for SingleNodeRegistry {
    async fn beat(&self, node: &NodeState) -> Result<(), BrokerError> {
        self.set(Some(LastHeartbeat { node: node.clone(), at: SystemTime::now(), instant: Instant::now() }));
        Ok(())
    }

    async fn leave(&self, _id: &str) -> Result<(), BrokerError> {
        self.set(None);
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Heard>, BrokerError> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let heard = last.map(|LastHeartbeat { node, at, instant }| Heard { node, at, ago: instant.elapsed() });
        Ok(heard.into_iter().collect())
    }
}
