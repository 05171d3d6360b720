//! A real Redis Cluster of three masters, with or without replicas. Tests move its slots and kill its nodes.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tidings::config::BrokerUrl;

use super::PATIENCE;
use super::broker::url;
use super::redis::{Redis, free_port};

/// The first slot of each master. Each master has at least one channel of the built-in types.
const FIRST: [u16; 3] = [0, 9601, 15_501];

/// A cluster of `redis-server` processes.
pub struct Cluster {
    /// Three masters, then the replica of each if there are replicas.
    pub nodes: Vec<Redis>,
}

impl Cluster {
    /// Three masters that all tests of this process share. Each test uses a key prefix of its own.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| Self::of((0..3).map(|_| node(&["--appendonly", "no"]).left_running()).collect()))
    }

    /// Three masters that sync every write to disk.
    pub fn durable() -> Self {
        Self::of((0..3).map(|_| node(&["--appendonly", "yes", "--appendfsync", "always"])).collect())
    }

    /// Three masters that keep nothing on disk.
    pub fn masters() -> Self {
        Self::of((0..3).map(|_| node(&["--appendonly", "no"])).collect())
    }

    /// Three masters with a replica each.
    pub fn with_replicas() -> Self {
        Self::of((0..6).map(|_| node(&["--appendonly", "no"])).collect())
    }

    fn of(mut nodes: Vec<Redis>) -> Self {
        nodes.iter_mut().for_each(Redis::run);
        let cluster = Self { nodes };
        for (index, node) in cluster.nodes.iter().enumerate() {
            node.cli(&["cluster", "set-config-epoch", &(index + 1).to_string()]);
            cluster.nodes[0].cli(&["cluster", "meet", "127.0.0.1", &node.port.to_string(), &node.bus_port.to_string()]);
            if let Some(first) = FIRST.get(index) {
                let last = FIRST.get(index + 1).map_or(16_383, |next| next - 1);
                node.cli(&["cluster", "addslotsrange", &first.to_string(), &last.to_string()]);
            }
        }
        let all = format!("cluster_known_nodes:{}", cluster.nodes.len());
        wait("the nodes to know each other", || cluster.nodes.iter().all(|node| info(node).contains(&all)));
        for (index, replica) in cluster.nodes.iter().enumerate().skip(FIRST.len()) {
            replica.cli(&["cluster", "replicate", &cluster.id(index - FIRST.len())]);
        }
        for replica in cluster.nodes.iter().skip(FIRST.len()) {
            wait("a replica to follow", || replica.cli(&["info", "replication"]).contains("master_link_status:up"));
        }
        cluster.wait_until_up();
        cluster
    }

    /// Waits until all nodes report that the cluster is up.
    pub fn wait_until_up(&self) {
        wait("the cluster to be up", || self.nodes.iter().all(|node| info(node).contains("cluster_state:ok")));
    }

    /// The broker's URL, with two of the nodes.
    pub fn url(&self) -> BrokerUrl {
        url(&self.text())
    }

    /// The URL as text.
    pub fn text(&self) -> String {
        format!("redis-cluster://127.0.0.1:{},127.0.0.1:{}", self.nodes[1].port, self.nodes[0].port)
    }

    /// The cluster's id of a node.
    fn id(&self, node: usize) -> String {
        self.nodes[node].cli(&["cluster", "myid"])
    }

    /// The slot of a channel.
    pub fn slot(&self, channel: &str) -> String {
        self.nodes[0].cli(&["cluster", "keyslot", &format!("{{{channel}}}")])
    }

    /// Begins the move of a channel's slot from one node to another. No key is moved yet.
    pub fn begin_move(&self, channel: &str, [from, to]: [usize; 2]) {
        let (slot, source, target) = (self.slot(channel), self.id(from), self.id(to));
        self.nodes[to].cli(&["cluster", "setslot", &slot, "importing", &source]);
        self.nodes[from].cli(&["cluster", "setslot", &slot, "migrating", &target]);
    }

    /// The keys of a channel's slot that are still on the node `from`.
    pub fn keys(&self, channel: &str, from: usize) -> Vec<String> {
        let keys = self.nodes[from].cli(&["cluster", "getkeysinslot", &self.slot(channel), "100"]);
        keys.lines().map(str::to_owned).collect()
    }

    /// Moves keys during the move of their slot.
    pub fn move_keys(&self, keys: &[String], [from, to]: [usize; 2]) {
        let port = self.nodes[to].port.to_string();
        let command = ["migrate", "127.0.0.1", &port, "", "0", "5000", "keys"];
        self.nodes[from].cli(&command.into_iter().chain(keys.iter().map(String::as_str)).collect::<Vec<_>>());
    }

    /// Ends the move of a channel's slot, when all keys are moved.
    pub fn end_move(&self, channel: &str, [from, to]: [usize; 2]) {
        let (slot, target) = (self.slot(channel), self.id(to));
        for node in [to, from] {
            self.nodes[node].cli(&["cluster", "setslot", &slot, "node", &target]);
        }
    }

    /// Moves the slot of a channel, with `keys` keys in one command and a pause before each command.
    pub async fn move_slot(&self, channel: &str, way: [usize; 2], keys: usize, pause: Duration) {
        self.begin_move(channel, way);
        loop {
            tokio::time::sleep(pause).await;
            let left = self.keys(channel, way[0]);
            if left.is_empty() {
                return self.end_move(channel, way);
            }
            self.move_keys(&left[..keys.min(left.len())], way);
        }
    }

    /// Waits until a replica is a master.
    pub fn wait_for_promotion(&self, replica: usize) {
        let promoted = || self.nodes[replica].cli(&["info", "replication"]).contains("role:master");
        wait("a replica to be promoted", promoted);
    }
}

/// A node that is not started yet and belongs to no cluster.
fn node(options: &[&str]) -> Redis {
    let bus = free_port();
    let port = bus.to_string();
    let cluster = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-port", &port];
    let mut node = Redis::stopped(&[&cluster, options].concat());
    node.bus_port = bus;
    node
}

/// The reply to `CLUSTER INFO`.
fn info(node: &Redis) -> String {
    node.cli(&["cluster", "info"])
}

/// Blocks until a condition is true. Panics after [`PATIENCE`].
fn wait(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "timed out waiting for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
