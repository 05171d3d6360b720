//! Flows: webhooks, bridges and sinks, by which events go in and out beside subscribers. And the audit, which is no flow.
//!
//! A flow is a service of the node with a folder of its own. It implements [`Flow`], and [`supervise`] runs it:
//!
//! - On one node at a time, which holds the flow's [`Lease`]. If that node dies, another takes over within 15 s.
//! - It keeps how far it came in a [`Checkpoint`], which an earlier holder of the lease cannot set back.
//! - It reads channels with a [`ChannelReader`], which waits for this node's relay and reports gaps. [`ChannelReads`] reads
//!   several of them side by side.
//! - What it has to give up goes into a [`DeadLetters`] box.
//! - After an error or a panic it begins again, from its checkpoint. At the drain of the node it ends what it has begun and
//!   gives the lease back, so that another node goes on at once.
//!
//! A flow uses the application layer as everybody does, with [`Caller::internal`]: it is no second way to the log.

pub mod audit;
#[cfg(feature = "redis")]
pub mod bridge;
mod channel_reader;
mod channel_reads;
mod checkpoint;
mod dead_boxes;
pub mod dead_letters;
mod lease;
#[cfg(test)]
mod lossy;
mod settings;
pub mod sink;
mod supervisor;
pub mod webhook;

use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

#[cfg(feature = "redis")]
pub use channel_reader::event_time;
pub use channel_reader::{ChannelReader, Step};
pub use channel_reads::ChannelReads;
pub use checkpoint::Checkpoint;
pub use dead_boxes::DeadBoxes;
pub use dead_letters::{DeadLetter, DeadLetters};
pub use lease::{IDLE_INTERVAL, Lease};
pub use settings::name;
pub use supervisor::supervise;

use crate::access::{Caller, NamespaceId};
use crate::broker::BrokerError;
use crate::bus::{Bus, FlowStore};
use crate::metrics::FlowLabel;
use crate::protocol::{ErrorCode, Problem};

/// Which flow it is, on every node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowId {
    /// `webhook`, `bridge` or `sink`.
    pub kind: &'static str,
    /// The `name` of its table in the configuration.
    pub name: Arc<str>,
}

/// A flow of this node. It may run many times: after each error, and each time that this node gets the lease.
#[async_trait]
pub trait Flow: Send + Sync + 'static {
    /// Which flow it is.
    fn id(&self) -> &FlowId;

    /// Whether one node at a time runs it. Otherwise every node does, without a lease.
    fn is_exclusive(&self) -> bool {
        true
    }

    /// Does the flow's work until [`Turn::stopping`] is cancelled. Dropped at once when the lease is lost, so it keeps all of
    /// its work in this future, and spawns no task.
    ///
    /// # Errors
    /// What keeps it from working. It is run again after a pause.
    async fn run(&self, turn: &Turn) -> Result<(), FlowError>;
}

/// One run of a flow: what the supervisor gives to it.
pub struct Turn {
    /// The flow's part of the store.
    pub store: FlowStore,
    /// The lease. `None` for a flow that every node runs.
    pub lease: Option<Lease>,
    /// Cancelled when the node drains: the flow begins nothing new, ends what it has begun, and returns.
    pub stopping: CancellationToken,
}

/// Why a run of a flow ended.
#[derive(Debug, thiserror::Error)]
pub enum FlowError {
    /// Another node has the lease, or may have it.
    #[error("another node may have the lease")]
    LeaseLost,
    /// The broker refused a call, or did not answer.
    #[error("{0}")]
    Broker(#[from] BrokerError),
    /// The application layer refused a call.
    #[error("{}", .0.cause.as_deref().unwrap_or(&.0.detail))]
    Refused(Problem),
    /// A value in the store is not what a flow writes there.
    #[error("the value {key} in the store cannot be read: {cause}")]
    Damaged { key: String, cause: String },
}

impl FlowId {
    /// The flow as one text: `webhook/revalidate`. It names the flow's part of the store, and is the source of its events.
    pub fn path(&self) -> String {
        format!("{}/{}", self.kind, self.name)
    }

    /// The labels of its metrics.
    pub fn label(&self) -> FlowLabel {
        FlowLabel { flow: self.kind, name: self.name.clone() }
    }

    /// The caller that it is to the application layer. Flows work in the namespace of the configuration, the first.
    pub fn caller(&self) -> Caller {
        Caller::internal(NamespaceId::FIRST, self.path())
    }

    /// Whether it works in the namespace of this caller. To others it does not exist, as its events do not.
    pub fn is_of(&self, caller: &Caller) -> bool {
        self.caller().namespace() == caller.namespace()
    }

    /// Its part of the store.
    pub fn store(&self, bus: &Bus) -> FlowStore {
        bus.flow_store(&self.caller(), &self.path())
    }
}

impl Turn {
    /// Whether this node still has the lease. Ask before each effect outside of the broker: this process may have stood still.
    ///
    /// # Errors
    /// [`FlowError::LeaseLost`].
    pub fn check(&self) -> Result<(), FlowError> {
        match &self.lease {
            Some(lease) if !lease.is_held() => Err(FlowError::LeaseLost),
            _ => Ok(()),
        }
    }

    /// The fencing token of the lease, which rises with each holder. 0 without a lease.
    pub fn token(&self) -> u64 {
        self.lease.as_ref().map_or(0, Lease::token)
    }
}

impl FlowError {
    /// The error about a value in the store that cannot be read.
    fn damaged(key: &str, cause: &dyn std::fmt::Display) -> Self {
        Self::Damaged { key: key.to_owned(), cause: cause.to_string() }
    }

    /// The answer to an operator whose call failed so.
    pub fn problem(self) -> Problem {
        match self {
            Self::Refused(problem) => problem,
            error => {
                let detail =
                    "the broker does not answer or refused the call: try again; the reason is in this node's log";
                Problem::new(ErrorCode::BrokerUnavailable, detail).with_cause(error)
            }
        }
    }
}

impl From<Problem> for FlowError {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem)
    }
}

#[cfg(test)]
mod tests;
