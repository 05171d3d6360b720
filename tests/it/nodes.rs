//! The registry of nodes, `GET /v1/nodes` and `tidings nodes`: which nodes share the broker, and which are draining or lost.

use serde_json::{Value, json};
use tidings::broker::nodes::NodeState;

use crate::support::broker;
use crate::support::daemon::Daemon;
use crate::support::each_broker::{TestBroker, over_each_broker};
use crate::support::http::members;
use crate::support::node::Node;
use crate::support::redis::Redis;
use crate::support::subscriber::Subscriber;
use crate::support::until;

const KEY: &str = "tidings:default:nodes";

over_each_broker!(
    a_node_lists_itself,
    the_address_is_the_advertised_one,
    the_connection_count_follows_with_the_next_heartbeat,
);

/// Waits until node `at` lists the node `id` with an entry that satisfies `like`, and returns the entry.
async fn wait_for_entry(at: &Node, id: &str, like: impl Fn(&Value) -> bool) -> Value {
    until(&format!("{id} is listed"), async || {
        let entry = nodes(at).await.into_iter().find(|node| node["id"] == id)?;
        like(&entry).then_some(entry)
    })
    .await
}

/// The list of nodes as node `at` returns it.
async fn nodes(at: &Node) -> Vec<Value> {
    let response = at.get("/v1/nodes").await;
    assert_eq!(response.status, 200, "{response:?}");
    let list = response.json();
    assert_eq!(members(&list), ["nodes"]);
    list["nodes"].as_array().expect("a list").clone()
}

async fn a_node_lists_itself(broker: TestBroker) {
    let node = broker.node().await;
    let entry = wait_for_entry(&node, "test-node", |_| true).await;
    assert_eq!(members(&entry), ["address", "connections", "id", "lastHeartbeat", "started", "state", "version"]);
    assert_eq!(entry["address"], node.address.to_string());
    assert_eq!(entry["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&entry["state"], &entry["connections"]), (&json!("up"), &json!(0)));
    let time = |name: &str| entry[name].as_str().expect("a time").parse::<jiff::Timestamp>().expect("RFC 3339");
    assert!(time("started") <= time("lastHeartbeat"), "{entry}");
    assert_eq!(nodes(&node).await.len(), 1);
}

async fn the_address_is_the_advertised_one(broker: TestBroker) {
    let node = broker.node_with(|config| config.server.advertise = Some("bus.example.com:80".into())).await;
    assert_eq!(wait_for_entry(&node, "test-node", |_| true).await["address"], "bus.example.com:80");
}

async fn the_connection_count_follows_with_the_next_heartbeat(broker: TestBroker) {
    let node = broker.node().await;
    let _subscribers = [Subscriber::connect(&node).await, Subscriber::connect(&node).await];
    wait_for_entry(&node, "test-node", |entry| entry["connections"] == 2).await;
}

/// Two nodes, `one` and `two`, on one Redis.
async fn two() -> (TestBroker, Node, Node) {
    let broker = TestBroker::redis();
    let one = broker.node_with(|config| config.server.node_id = "one".into()).await;
    let two = broker.node_with(|config| config.server.node_id = "two".into()).await;
    wait_for_entry(&one, "two", |_| true).await;
    (broker, one, two)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopping_node_is_listed_as_draining_and_then_removed() {
    let (_redis, one, mut two) = two().await;
    assert_eq!(nodes(&two).await.iter().map(|node| &node["id"]).collect::<Vec<_>>(), ["one", "two"]);
    // This client does not answer the close frame, so the drain takes long enough to be observed.
    let _unresponsive = crate::support::raw::RawConnection::open(&two).await;
    two.begin_stop();
    wait_for_entry(&one, "two", |entry| entry["state"] == "draining").await;
    two.stopped().await.expect("the node stops without an error");
    assert_eq!(nodes(&one).await.iter().map(|node| &node["id"]).collect::<Vec<_>>(), ["one"]);
}

#[test]
fn a_second_node_with_the_same_id_is_logged() {
    let redis = Redis::start();
    let url = format!("redis://127.0.0.1:{}", redis.port);
    let start = || {
        let flags = ["--listen", "127.0.0.1:0", "--node-id", "twin", "--broker", &url];
        Daemon::with(&flags, tempfile::tempdir().unwrap())
    };
    let first = start();
    let _second = start();
    first.process.said("another node has the same id");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leaving_node_does_not_remove_another_node_with_its_id() {
    let redis = Redis::start();
    let (one, two) = (broker::Node::on_redis(redis.port).await, broker::Node::on_redis(redis.port).await);
    let (one, two) = (one.broker.nodes(), two.broker.nodes());
    let state = NodeState {
        id: "twin".into(),
        address: "a".into(),
        version: "v".into(),
        started: "s".into(),
        connections: 0,
        draining: false,
        heartbeat_ms: 5_000,
    };
    for node in [one, two] {
        node.beat(&state).await.expect("the heartbeat is stored");
    }
    one.leave("twin").await.expect("the node leaves");
    assert_eq!(two.list().await.expect("a list").len(), 1);
    two.leave("twin").await.expect("the node leaves");
    assert_eq!(two.list().await.expect("a list").len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_lost_by_the_clock_of_redis() {
    let redis = Redis::start();
    let seconds: u64 = redis.cli(&["time"]).lines().next().expect("a time").parse().expect("seconds");
    for (id, ago) in [("quiet", 1), ("lost", 16), ("forgotten", 3700)] {
        let state =
            json!({"id": id, "address": "a", "version": "v", "started": "s", "connections": 7, "draining": false});
        redis.cli(&["hset", KEY, id, &format!("{}000 session {state}", seconds - ago)]);
    }
    // Entries that cannot be parsed must be ignored.
    redis.cli(&["hset", KEY, "foreign", "bytes", "half", "1 {"]);
    let broker = TestBroker::Redis(redis);
    let node = broker.node().await;
    wait_for_entry(&node, "test-node", |_| true).await;
    let states: Vec<_> = nodes(&node).await.iter().map(|node| (node["id"].clone(), node["state"].clone())).collect();
    assert_eq!(json!(states), json!([["lost", "lost"], ["quiet", "up"], ["test-node", "up"]]));
    let TestBroker::Redis(redis) = &broker else { unreachable!() };
    assert_eq!(redis.cli(&["hexists", KEY, "forgotten"]), "0", "an entry is removed an hour after its last heartbeat");
    assert!(
        redis.cli(&["ttl", KEY]).parse::<i64>().expect("seconds") > 3000,
        "the registry expires when no node is left"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_registry_recovers_after_a_restart_of_redis() {
    let (mut broker, one, _two) = two().await;
    let TestBroker::Redis(redis) = &mut broker else { unreachable!() };
    redis.kill();
    until("the registry is unavailable", async || {
        let response = one.get("/v1/nodes").await;
        (response.status == 503).then(|| response.problem(503, "broker-unavailable"))
    })
    .await;
    redis.run();
    until("both nodes are listed again", async || {
        let response = one.get("/v1/nodes").await;
        (response.status == 200 && response.json()["nodes"].as_array()?.len() == 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_command_prints_a_table_or_json() {
    let daemon = Daemon::with(&["--listen", "127.0.0.1:0", "--node-id", "n-1"], tempfile::tempdir().unwrap());
    let table = until("the node is listed", async || {
        let table = daemon.run(&["nodes"]);
        assert_eq!(table.code, Some(0), "{}", table.err);
        (table.out.lines().count() == 2).then_some(table.out)
    })
    .await;
    let (head, row) = table.split_once('\n').expect("two lines");
    assert!(head.starts_with("NODE") && head.ends_with("LAST HEARTBEAT"), "{table}");
    let address = daemon.url.trim_start_matches("http://");
    assert_eq!(row.split_whitespace().take(4).collect::<Vec<_>>(), ["n-1", "up", address, "0"]);
    let line: Value = serde_json::from_str(&daemon.run(&["nodes", "--json"]).out).expect("one object");
    assert_eq!(line["state"], "up");
    assert_eq!(members(&line), ["address", "connections", "id", "lastHeartbeat", "started", "state", "version"]);
}
