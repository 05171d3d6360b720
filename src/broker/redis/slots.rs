//! A cluster as one of its nodes sees it: which master has which slots, and how new that view is. This module queries and
//! parses `CLUSTER INFO`, `CLUSTER SLOTS` and `CLUSTER NODES`.

use std::ops::RangeInclusive;

use fred::clients::Client;
use fred::interfaces::ClientLike;
use fred::types::config::Server as Node;
use fred::types::{ClusterHash, CustomCommand, Value};

use super::BrokerError;
use super::errors::from_special_server;

/// One node's view of the cluster.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClusterView {
    /// The cluster's current epoch. It rises with every change of masters and slots.
    pub epoch: u64,
    /// The slots that are served, each range with its master.
    pub masters: Vec<(RangeInclusive<u16>, Node)>,
    /// All masters that serve slots, and their replicas.
    pub nodes: Vec<Node>,
}

impl ClusterView {
    /// Queries the node `queried`, to which the client is connected.
    ///
    /// # Errors
    /// The node refused, did not answer, or reports that the cluster is down; then the failed masters are named.
    pub async fn query(client: &Client, queried: &Node) -> Result<Self, BrokerError> {
        let cluster = async |subcommand: &'static str| {
            let command = CustomCommand::new_static("CLUSTER", ClusterHash::FirstKey, false);
            client.custom::<Value, _>(command, vec![subcommand]).await.map_err(|error| from_special_server(&error))
        };
        // The epoch comes first: the slots that are read next may be newer than it, but never older.
        let info = cluster("INFO").await?.into_string().unwrap_or_default();
        let slots = cluster("SLOTS").await?;
        let field = |name: &str| info.lines().find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':'));
        if field("cluster_state") == Some("fail") {
            let nodes = cluster("NODES").await?.into_string().unwrap_or_default();
            return Err(BrokerError::Unavailable(format!("the cluster is down{}", failed_masters(&nodes))));
        }
        let epoch = field("cluster_current_epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or_default();
        Self::parse(epoch, slots, queried)
            .ok_or_else(|| BrokerError::Unavailable("unexpected reply to CLUSTER SLOTS".into()))
    }

    fn parse(epoch: u64, slots: Value, queried: &Node) -> Option<Self> {
        let mut view = Self { epoch, masters: Vec::new(), nodes: Vec::new() };
        for range in array(slots)? {
            let [first, last, nodes @ ..] = &array(range)?[..] else { return None };
            for (index, node) in nodes.iter().enumerate() {
                let [host, port, ..] = &array(node.clone())?[..] else { return None };
                let host = host.as_str().unwrap_or_default();
                if host == "?" {
                    // The node is configured to announce a host name, and has none yet.
                    continue;
                }
                // An empty host stands for the host that was queried.
                let host = if host.is_empty() { queried.host.clone() } else { host.into_owned().into() };
                let node = Node::new(host, u16::try_from(port.as_u64()?).ok()?);
                if index == 0 {
                    let slot = |value: &Value| u16::try_from(value.as_u64()?).ok();
                    view.masters.push((slot(first)?..=slot(last)?, node.clone()));
                }
                if !view.nodes.contains(&node) {
                    view.nodes.push(node);
                }
            }
        }
        Some(view)
    }
}

/// The failed masters that have slots, as the end of an error text. `nodes` is the reply to `CLUSTER NODES`, lines of
/// `ID HOST:PORT@BUS,NAME FLAGS MASTER PING PONG EPOCH LINK SLOT…`.
fn failed_masters(nodes: &str) -> String {
    let failed = nodes.lines().filter_map(|line| {
        let fields: Vec<_> = line.split(' ').collect();
        let has_failed = fields.get(2)?.split(',').any(|flag| flag == "fail");
        (has_failed && fields.len() > 8).then(|| fields[1].split('@').next())?
    });
    match failed.collect::<Vec<_>>() {
        failed if failed.is_empty() => String::new(),
        failed => format!(": failed masters: {}", failed.join(", ")),
    }
}

fn array(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(values) => Some(values),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(values: impl IntoIterator<Item = Value>) -> Value {
        Value::Array(values.into_iter().collect())
    }

    fn node(host: impl Into<Value>, port: i64) -> Value {
        list([host.into(), port.into(), "id".into(), list([])])
    }

    #[test]
    fn an_empty_host_is_the_queried_host_and_an_unknown_one_is_left_out() {
        let queried = Node::new("seed", 1);
        let slots = list([
            list([0.into(), 99.into(), node("a", 7000), node("b", 7001)]),
            list([100.into(), 100.into(), node("", 7002)]),
            list([101.into(), 200.into(), node(Value::Null, 7003), node("a", 7000)]),
            list([201.into(), 300.into(), node("?", 7004)]),
        ]);
        let view = ClusterView::parse(7, slots, &queried).unwrap();
        let [a, b, c, d] = [("a", 7000), ("b", 7001), ("seed", 7002), ("seed", 7003)].map(|(h, p)| Node::new(h, p));
        assert_eq!(view.masters, [(0..=99, a.clone()), (100..=100, c.clone()), (101..=200, d.clone())]);
        assert_eq!((view.epoch, view.nodes), (7, vec![a, b, c, d]));
    }

    #[test]
    fn failed_masters_with_slots_are_named() {
        let nodes = "\
            1 127.0.0.1:7001@17001 myself,master - 0 1 1 connected 0-99\n\
            2 127.0.0.1:7002@17002,name master,fail - 1 2 2 disconnected 100-199\n\
            3 127.0.0.1:7003@17003 slave,fail 1 1 2 2 disconnected\n\
            4 127.0.0.1:7004@17004 master,fail? - 1 2 2 disconnected 200\n";
        assert_eq!(failed_masters(nodes), ": failed masters: 127.0.0.1:7002");
        assert_eq!(failed_masters(""), "");
    }

    #[test]
    fn an_unexpected_reply_gives_no_view() {
        let queried = Node::new("seed", 1);
        for slots in [
            Value::Null,
            list([1.into()]),
            list([list([0.into()])]),
            list([list([0.into(), 99999.into(), node("a", 1)])]),
        ] {
            assert_eq!(ClusterView::parse(0, slots.clone(), &queried), None, "{slots:?}");
        }
    }
}
