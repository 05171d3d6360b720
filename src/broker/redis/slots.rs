//! What a node of a cluster says about it: which master has which slots, and how new its fingerprint is.

use std::ops::RangeInclusive;

use fred::clients::Client;
use fred::interfaces::ClientLike;
use fred::types::config::Server as Node;
use fred::types::{ClusterHash, CustomCommand, Value};

use super::link::reason;

/// A cluster as one of its nodes sees it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct View {
    /// Rises with every change of masters and slots.
    pub epoch: u64,
    /// The slots that are served, each range with its master.
    pub masters: Vec<(RangeInclusive<u16>, Node)>,
    /// All nodes that serve slots or stand in for one that does.
    pub nodes: Vec<Node>,
}

impl View {
    /// Asks the node `asked`, to which the client is connected.
    ///
    /// # Errors
    /// It says nothing of use, and why.
    pub async fn ask(client: &Client, asked: &Node) -> Result<Self, String> {
        let cluster = async |what: &'static str| {
            let command = CustomCommand::new_static("CLUSTER", ClusterHash::FirstKey, false);
            client.custom::<Value, _>(command, vec![what]).await.map_err(|error| reason(&error))
        };
        // First how new it is: what is said next may be newer.
        let info = cluster("INFO").await?.into_string().unwrap_or_default();
        let slots = cluster("SLOTS").await?;
        let of = |name: &str| info.lines().find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':'));
        if of("cluster_state") == Some("fail") {
            let nodes = cluster("NODES").await?.into_string().unwrap_or_default();
            return Err(format!("the cluster is down{}", missed(&nodes)));
        }
        let epoch = of("cluster_current_epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or_default();
        Self::read(epoch, slots, asked).ok_or_else(|| "it answers CLUSTER SLOTS as no Redis does".into())
    }

    fn read(epoch: u64, slots: Value, asked: &Node) -> Option<Self> {
        let mut view = Self { epoch, masters: Vec::new(), nodes: Vec::new() };
        for range in array(slots)? {
            let [first, last, nodes @ ..] = &array(range)?[..] else { return None };
            for (index, said) in nodes.iter().enumerate() {
                let [host, port, ..] = &array(said.clone())?[..] else { return None };
                let host = host.as_str().unwrap_or_default();
                if host == "?" {
                    // It has no name yet.
                    continue;
                }
                let host = if host.is_empty() { asked.host.clone() } else { host.into_owned().into() };
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

/// The masters whose slots nobody serves, from lines of `ID HOST:PORT@BUS,NAME FLAGS MASTER PING PONG EPOCH LINK SLOT…`.
fn missed(nodes: &str) -> String {
    let missed = nodes.lines().filter_map(|line| {
        let fields: Vec<_> = line.split(' ').collect();
        let failed = fields.get(2)?.split(',').any(|flag| flag == "fail");
        (failed && fields.len() > 8).then(|| fields[1].split('@').next())?
    });
    match missed.collect::<Vec<_>>() {
        missed if missed.is_empty() => String::new(),
        missed => format!(": it misses {}", missed.join(", ")),
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
    fn nodes_are_named_as_they_want_to_be() {
        let asked = Node::new("seed", 1);
        let slots = list([
            list([0.into(), 99.into(), node("a", 7000), node("b", 7001)]),
            list([100.into(), 100.into(), node("", 7002)]),
            list([101.into(), 200.into(), node(Value::Null, 7003), node("a", 7000)]),
            list([201.into(), 300.into(), node("?", 7004)]),
        ]);
        let view = View::read(7, slots, &asked).unwrap();
        let [a, b, c, d] = [("a", 7000), ("b", 7001), ("seed", 7002), ("seed", 7003)].map(|(h, p)| Node::new(h, p));
        assert_eq!(view.masters, [(0..=99, a.clone()), (100..=100, c.clone()), (101..=200, d.clone())]);
        assert_eq!((view.epoch, view.nodes), (7, vec![a, b, c, d]));
    }

    #[test]
    fn masters_that_are_missed_are_named() {
        let nodes = "\
            1 127.0.0.1:7001@17001 myself,master - 0 1 1 connected 0-99\n\
            2 127.0.0.1:7002@17002,name master,fail - 1 2 2 disconnected 100-199\n\
            3 127.0.0.1:7003@17003 slave,fail 1 1 2 2 disconnected\n\
            4 127.0.0.1:7004@17004 master,fail? - 1 2 2 disconnected 200\n";
        assert_eq!(missed(nodes), ": it misses 127.0.0.1:7002");
        assert_eq!(missed(""), "");
    }

    #[test]
    fn what_no_redis_says_is_refused() {
        let asked = Node::new("seed", 1);
        for slots in [
            Value::Null,
            list([1.into()]),
            list([list([0.into()])]),
            list([list([0.into(), 99999.into(), node("a", 1)])]),
        ] {
            assert_eq!(View::read(0, slots.clone(), &asked), None, "{slots:?}");
        }
    }
}
