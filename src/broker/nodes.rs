//! The registry of nodes: who is on a broker, and when each was last heard of.
//!
//! Nodes write, the broker's clock judges: no node's clock is compared with another's. A node that stops in order leaves,
//! so that what is called lost is what somebody should look at. Nothing here knows when a node writes.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::BrokerError;

/// How long a lost node is remembered.
pub const FORGOTTEN: Duration = Duration::from_secs(3600);

/// What a backend keeps of the nodes.
#[async_trait]
pub trait Nodes: Send + Sync {
    /// Enters a node, or renews its entry.
    async fn beat(&self, node: &NodeState) -> Result<(), BrokerError>;

    /// Takes a node out.
    async fn leave(&self, id: &str) -> Result<(), BrokerError>;

    /// All that were heard of within [`FORGOTTEN`].
    async fn list(&self) -> Result<Vec<Heard>, BrokerError>;
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeState {
    pub id: String,
    pub address: String,
    pub version: String,
    /// RFC 3339, by its own clock.
    pub started: String,
    pub connections: u64,
    pub draining: bool,
}

/// A node, and when it was last heard of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    pub node: NodeState,
    /// By the broker's clock, as how long ago that was.
    pub at: SystemTime,
    pub ago: Duration,
}

/// The registry of a broker that has one node.
#[derive(Debug, Default)]
pub(super) struct Alone(Mutex<Option<(NodeState, SystemTime, Instant)>>);

impl Alone {
    fn set(&self, entry: Option<(NodeState, SystemTime, Instant)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = entry;
    }
}

#[async_trait]
impl Nodes for Alone {
    async fn beat(&self, node: &NodeState) -> Result<(), BrokerError> {
        self.set(Some((node.clone(), SystemTime::now(), Instant::now())));
        Ok(())
    }

    async fn leave(&self, _id: &str) -> Result<(), BrokerError> {
        self.set(None);
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Heard>, BrokerError> {
        let entry = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(entry.map(|(node, at, since)| Heard { node, at, ago: since.elapsed() }).into_iter().collect())
    }
}
