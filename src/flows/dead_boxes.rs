//! The dead letters of bridges and sinks, for an operator. Every node answers: they are in the store.

use std::sync::Arc;

use super::{DeadLetter, DeadLetters, FlowError, FlowId};
use crate::access::{AdminRight, Caller};
use crate::bus::Bus;
use crate::protocol::{ErrorCode, Problem};
use crate::suggest::{self, Known};

/// The boxes of the flows of this node's configuration.
pub struct DeadBoxes {
    bus: Arc<Bus>,
    flows: Vec<FlowId>,
}

impl DeadBoxes {
    pub fn new(bus: Arc<Bus>, flows: Vec<FlowId>) -> Self {
        Self { bus, flows }
    }

    /// What this flow has given up, the oldest first.
    ///
    /// # Errors
    /// `forbidden`, `not-found`, `broker-unavailable`.
    pub async fn list(&self, caller: &Caller, kind: &str, name: &str) -> Result<Vec<DeadLetter>, Problem> {
        self.bus.require(caller, AdminRight::Flows)?;
        let of_kind = || self.flows.iter().filter(|flow| flow.kind == kind && flow.is_of(caller));
        let flow = of_kind().find(|flow| &*flow.name == name).ok_or_else(|| {
            let plural = match kind {
                "bridge" => "bridges",
                "sink" => "sinks",
                _ => "flows",
            };
            let known = Known::new(plural, of_kind().map(|flow| &*flow.name));
            let refusal = format!("there is no {kind} {} here", suggest::quoted(name));
            Problem::new(ErrorCode::NotFound, known.refuse(&refusal, name))
        })?;
        DeadLetters::new(flow.store(&self.bus)).list(None).await.map_err(FlowError::problem)
    }
}
