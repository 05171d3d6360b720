//! `GET /v1/nodes`: the nodes of the cluster, and how each is.

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::App;
use crate::access::Caller;
use crate::bus::{NodeStatus, NodeSummary};
use crate::protocol::Problem;

/// The nodes of the bus.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Nodes")]
pub(super) struct Response {
    nodes: Vec<Node>,
}

/// A node, and how it is.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Node {
    id: String,
    address: String,
    version: String,
    /// RFC 3339, by the node's clock.
    started: String,
    /// RFC 3339, by the broker's clock.
    last_heartbeat: String,
    /// As of the last heartbeat.
    connections: u64,
    /// `up`, `draining`, or `lost`.
    state: &'static str,
}

pub(super) async fn list(State(app): State<App>, caller: Caller) -> Result<Json<Response>, Problem> {
    let nodes = app.bus.nodes(&caller).await?;
    Ok(Json(Response { nodes: nodes.into_iter().map(Node::from).collect() }))
}

impl From<NodeSummary> for Node {
    fn from(summary: NodeSummary) -> Self {
        let NodeSummary { id, address, version, started, connections, last_heartbeat, status } = summary;
        let last_heartbeat = format!("{:.3}", Timestamp::try_from(last_heartbeat).unwrap_or_default());
        let state = match status {
            NodeStatus::Up => "up",
            NodeStatus::Draining => "draining",
            NodeStatus::Lost => "lost",
        };
        Self { id, address, version, started, last_heartbeat, connections, state }
    }
}
