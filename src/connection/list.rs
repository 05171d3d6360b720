//! Lists the connections of the caller's namespace: WebSockets and event streams of its hub, and long-polls.

use std::collections::BTreeMap;

use super::Connections;
use crate::access::Caller;
use crate::bus::{ConnectionOrder, ConnectionRow, Survey};
use crate::protocol::Problem;

/// The connections of a namespace of this node.
#[derive(Debug)]
pub struct Listed {
    /// The first ones, in the order that was asked for.
    pub connections: Vec<ConnectionRow>,
    /// How many there are.
    pub total: usize,
    /// How many were closed with each code since the node started.
    pub closed: BTreeMap<u16, u64>,
}

impl Connections {
    /// The first connections in an order, at most `limit`.
    ///
    /// # Errors
    /// `forbidden` without the admin right `connections`.
    pub async fn list(&self, caller: &Caller, order: ConnectionOrder, limit: usize) -> Result<Listed, Problem> {
        let long_polls = self.bus.long_polls(caller)?;
        let hub = self.hub(caller);
        let mut survey = Survey::new(order, limit);
        long_polls.survey(&mut survey);
        hub.survey(&mut survey).await;
        Ok(Listed { total: survey.total(), connections: survey.into_rows(), closed: hub.closed() })
    }
}
