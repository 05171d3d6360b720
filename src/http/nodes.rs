//! `GET /v1/nodes`: who else is on this broker, and how each is.

use std::time::Duration;

use axum::Json;
use axum::extract;
use jiff::Timestamp;
use serde::Serialize;

use super::App;
use super::problem::{Code, Problem};
use crate::broker::nodes::{Heard, NodeState};

/// Three heartbeats.
const LOST: Duration = Duration::from_secs(15);

#[derive(Serialize)]
pub(super) struct Nodes {
    nodes: Vec<Node>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    id: String,
    address: String,
    version: String,
    started: String,
    last_heartbeat: String,
    /// As of the last heartbeat.
    connections: u64,
    state: State,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Up,
    Draining,
    Lost,
}

pub(super) async fn list(extract::State(app): extract::State<App>) -> Result<Json<Nodes>, Problem> {
    let heard = app.broker.nodes().list().await;
    let heard =
        heard.map_err(|error| Problem::new(Code::BrokerUnavailable, "the broker is unavailable").with_cause(error))?;
    let mut nodes: Vec<_> = heard.into_iter().map(node).collect();
    nodes.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(Json(Nodes { nodes }))
}

fn node(Heard { node, at, ago }: Heard) -> Node {
    let state = state(&node, ago);
    let NodeState { id, address, version, started, connections, .. } = node;
    let at = Timestamp::try_from(at).unwrap_or_default();
    Node { id, address, version, started, last_heartbeat: format!("{at:.3}"), connections, state }
}

fn state(node: &NodeState, ago: Duration) -> State {
    match node.draining {
        _ if ago >= LOST => State::Lost,
        true => State::Draining,
        false => State::Up,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_says_more_than_what_was_said() {
        let mut said = NodeState {
            id: String::new(),
            address: String::new(),
            version: String::new(),
            started: String::new(),
            connections: 0,
            draining: false,
        };
        let just = LOST - Duration::from_millis(1);
        assert_eq!([state(&said, just), state(&said, LOST)], [State::Up, State::Lost]);
        said.draining = true;
        assert_eq!([state(&said, just), state(&said, LOST)], [State::Draining, State::Lost]);
    }
}
