//! Bridges: messages of a legacy publisher become events, and events become messages; over real Redis, with the real binary.

mod connections;
mod elsewhere;
mod example;
mod fairness;
mod memory;
mod origins;
mod too_large;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::support::cluster::Cluster;
use crate::support::daemon::Daemon;
use crate::support::redis::Redis;
use crate::support::until;

const SALE: &str = r#"{"type":"inventory:change","productId":"p1","oldQuantity":5,"newQuantity":4,"reason":"sale","timestamp":1700000000123}"#;

/// A node on this Redis with these tables.
async fn node(redis: &Redis, tables: &str) -> Daemon {
    node_on(&format!("redis://127.0.0.1:{}", redis.port), tables).await
}

async fn node_on(broker: &str, tables: &str) -> Daemon {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tidings.toml"), tables).unwrap();
    let flags = ["--listen", "127.0.0.1:0", "--broker", broker, "--log-max-events", "100000"];
    let daemon = Daemon::with(&flags, folder);
    let ready =
        async || reqwest::get(format!("{}/readyz", daemon.url)).await.is_ok_and(|answer| answer.status() == 200);
    until("the node is ready", async || ready().await.then_some(())).await;
    daemon
}

/// Waits until so many connections listen on a channel or pattern.
async fn listening(redis: &Redis, channel: &str, count: usize) {
    let asked = async || {
        let answer = match channel.contains('*') {
            true => redis.cli(&["pubsub", "numpat"]),
            false => redis.cli(&["pubsub", "numsub", channel]),
        };
        (answer.lines().last().is_some_and(|last| last.trim() == count.to_string())).then_some(())
    };
    until("the bridge listens", asked).await;
}

/// A publisher that knows nothing of tidings.
struct Publisher(BufReader<TcpStream>);

impl Publisher {
    fn to(redis: &Redis) -> Self {
        Self(BufReader::new(TcpStream::connect(("127.0.0.1", redis.port)).unwrap()))
    }

    fn publish(&mut self, channel: &str, message: &[u8]) {
        let mut command = Vec::new();
        for part in [b"PUBLISH", channel.as_bytes(), message] {
            command.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
            command.extend_from_slice(part);
            command.extend_from_slice(b"\r\n");
        }
        self.0.get_mut().write_all(&[b"*3\r\n", &*command].concat()).unwrap();
        let mut reply = String::new();
        self.0.read_line(&mut reply).unwrap();
        assert!(reply.starts_with(':'), "{reply}");
    }
}

async fn metric(daemon: &Daemon, name: &str) -> f64 {
    let text = reqwest::get(format!("{}/metrics", daemon.url)).await.unwrap().text().await.unwrap();
    let line = text.lines().find(|line| line.starts_with(&format!("{name}{{"))).unwrap_or_else(|| panic!("no {name}"));
    line.rsplit(' ').next().and_then(|value| value.parse().ok()).unwrap()
}

/// All events of a channel.
async fn events(daemon: &Daemon, channel: &str) -> Vec<Value> {
    let (mut all, mut since) = (Vec::new(), "start".to_owned());
    loop {
        let url = format!("{}/v1/events?channel={channel}&limit=1000&since={since}", daemon.url);
        let page: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
        let events = page["events"].as_array().unwrap();
        if events.is_empty() {
            return all;
        }
        all.extend(events.iter().map(|entry| entry["event"].clone()));
        since = page["cursor"].as_str().unwrap().to_owned();
    }
}

const WITH_ID: &str = r#"
[[bridge]]
name = "legacy"
channels = ["channel:inventory:change"]
type = "inventory-change"
drop = ["/type", "/timestamp"]
time = "/timestamp"
id = "/eventId"
"#;

fn numbered(number: usize) -> String {
    SALE.replace(r#""timestamp""#, &format!(r#""eventId":"e{number}","timestamp""#))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_an_id_the_death_of_a_node_loses_nothing_and_each_message_is_one_event() {
    let redis = Redis::start();
    let (one, other) = (node(&redis, WITH_ID).await, node(&redis, WITH_ID).await);
    listening(&redis, "channel:inventory:change", 2).await;
    let mut publisher = Publisher::to(&redis);
    let mut killed = Some(one);
    for number in 0..1_500 {
        publisher.publish("channel:inventory:change", numbered(number).as_bytes());
        if number == 700 {
            killed.take().unwrap().process.signal("KILL");
        }
    }
    let all = until("all messages are events", async || {
        Some(events(&other, "inventory-change").await).filter(|events| events.len() >= 1_500)
    });
    let all = all.await;
    let mut ids: Vec<_> = all.iter().map(|event| event["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((all.len(), ids.len()), (1_500, 1_500));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_id_one_node_listens_and_another_takes_over() {
    let redis = Redis::start();
    // The member is not named by `id` then, so it would be data.
    let without =
        WITH_ID.replace("id = \"/eventId\"\n", "").replace("\"/timestamp\"]", "\"/timestamp\", \"/eventId\"]");
    let (one, other) = (node(&redis, &without).await, node(&redis, &without).await);
    listening(&redis, "channel:inventory:change", 1).await;
    let mut publisher = Publisher::to(&redis);
    for number in 0..100 {
        publisher.publish("channel:inventory:change", numbered(number).as_bytes());
    }
    let counted = async |node: &Daemon, count: usize| {
        let all = async || Some(events(node, "inventory-change").await).filter(|events| events.len() >= count);
        assert_eq!(until("the events are there", all).await.len(), count);
    };
    counted(&other, 100).await;
    let first_runs = metric_of(&one, "tidings_flow_running", "legacy").await == 1.0;
    let (stopped, left) = if first_runs { (one, other) } else { (other, one) };
    stopped.process.signal("TERM");
    assert_eq!(stopped.process.ended().code, Some(0));
    until("the other node listens", async || {
        (metric_of(&left, "tidings_flow_running", "legacy").await == 1.0).then_some(())
    })
    .await;
    listening(&redis, "channel:inventory:change", 1).await;
    publisher.publish("channel:inventory:change", numbered(100).as_bytes());
    counted(&left, 101).await;
}

async fn metric_of(daemon: &Daemon, name: &str, flow: &str) -> f64 {
    let text = reqwest::get(format!("{}/metrics", daemon.url)).await.unwrap().text().await.unwrap();
    let is_it = |line: &&str| line.starts_with(&format!("{name}{{")) && line.contains(&format!("name=\"{flow}\""));
    let line = text.lines().find(is_it).unwrap_or_else(|| panic!("no {name} of {flow}"));
    line.rsplit(' ').next().and_then(|value| value.parse().ok()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_event_is_counted_and_what_follows_goes_on() {
    let redis = Redis::start();
    let node = node(&redis, WITH_ID).await;
    listening(&redis, "channel:inventory:change", 1).await;
    let mut publisher = Publisher::to(&redis);
    let garbage: [&[u8]; 7] = [
        b"",
        b"\xff\xfe\x00garbage\r\n",
        b"[1,2]",
        b"{\"a\":1,\"a\":2}",
        br#"{"type":"inventory:change","eventId":"x","oldQuantity":1}"#,
        br#"{"eventId":null}"#,
        &[b'['; 70_000],
    ];
    for message in garbage {
        publisher.publish("channel:inventory:change", message);
    }
    publisher.publish("channel:inventory:change", numbered(1).as_bytes());
    let all = async || Some(events(&node, "inventory-change").await).filter(|events| !events.is_empty());
    assert_eq!(until("the event behind the garbage", all).await.len(), 1);
    assert_eq!(metric(&node, "tidings_bridge_refused_total").await, 7.0);
    let kept = node.run(&["bridge", "dead", "legacy", "--json"]);
    assert_eq!(kept.code, Some(0), "{}", kept.err);
    let kept: Vec<Value> = kept.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let reasons: Vec<_> = kept.iter().map(|letter| letter["reason"].as_str().unwrap()).collect();
    let expected = [
        "the message is not JSON",
        "the message is not JSON",
        "the message is not a JSON object",
        "the message is not JSON",
        "/data/productId: ",
        "/eventId is not there",
        "the message has 70000 bytes, and events have at most 65536 (max_event_bytes)",
    ];
    assert_eq!(reasons.len(), expected.len(), "{reasons:#?}");
    // One that is too large does not wait for those before it to be published.
    let (too_large, others): (Vec<&str>, Vec<&str>) =
        reasons.iter().partition(|reason| reason.contains("max_event_bytes"));
    for (reason, expected) in others.iter().chain(&too_large).zip(expected) {
        assert!(reason.starts_with(&format!("channel:inventory:change: {expected}")), "{reason}");
    }
    let garbage = "\u{fffd}\u{fffd}\0garbage\r\n";
    assert!(kept.iter().any(|letter| letter["message"] == garbage), "{kept:#?}");
    let table = node.run(&["bridge", "dead", "legacy"]).out;
    assert!(table.starts_with("ID ") && table.contains("max_event_bytes"), "{table}");
    assert_eq!(node.run(&["bridge", "dead", "other"]).code, Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_passes_the_messages_of_each_of_its_nodes_on() {
    let cluster = Cluster::masters();
    let node = node_on(&cluster.text(), WITH_ID).await;
    listening(&cluster.nodes[1], "channel:inventory:change", 1).await;
    for (number, redis) in cluster.nodes.iter().enumerate() {
        Publisher::to(redis).publish("channel:inventory:change", numbered(number).as_bytes());
    }
    let all = async || Some(events(&node, "inventory-change").await).filter(|events| events.len() >= 3);
    assert_eq!(until("the events", all).await.len(), 3);
}

/// What a bridge logs when it works.
const CONNECTED: &str = r#""role":"bridge""#;

/// Both ways over one channel, and a pattern that covers the bus itself.
const BOTH_WAYS: &str = r#"
[[bridge]]
name = "in"
channels = ["*"]
type_from = "/type"
types = { "inventory:change" = "inventory-change" }
drop = ["/type", "/timestamp"]
map = { "/productId" = "/sku" }
time = "/timestamp"

[[bridge]]
name = "out"
direction = "out"
channels = ["channel:inventory:change", "elsewhere"]
type_from = "/type"
types = { "inventory:change" = "inventory-change" }
map = { "/productId" = "/sku" }
set = { "/version" = 2 }
time = "/timestamp"
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_go_out_once_and_nothing_goes_round() {
    let redis = Redis::start();
    let node = node(&redis, BOTH_WAYS).await;
    listening(&redis, "*", 1).await;
    // One of each bridge: the one that sends has then saved where it begins.
    node.process.said(CONNECTED);
    node.process.said(CONNECTED);
    let (legacy, elsewhere) = (redis.watch("channel:*"), redis.watch("elsewhere"));
    let event = json!({"type": "inventory-change", "id": "e1", "time": "2026-01-31T12:00:00Z",
        "data": {"productId": "p1", "oldQuantity": 5, "newQuantity": 4, "reason": "sale"}});
    let (status, _) = crate::file_log::load::post(&node.url, &event).await.unwrap();
    assert_eq!(status, 202);
    let (channel, message) = legacy.message();
    assert_eq!(channel, "channel:inventory:change");
    let expected = json!({"type": "inventory:change", "sku": "p1", "oldQuantity": 5, "newQuantity": 4, "reason": "sale",
        "timestamp": 1_769_860_800_000_u64, "version": 2});
    assert_eq!(serde_json::from_str::<Value>(&message).unwrap(), expected);
    // A message of the legacy publisher becomes one event, which does not go back to where it came from.
    let theirs = SALE.replace("productId", "sku");
    Publisher::to(&redis).publish("channel:inventory:change", theirs.as_bytes());
    assert_eq!(legacy.message().1, theirs);
    let two = async || Some(events(&node, "inventory-change").await).filter(|events| events.len() >= 2);
    until("their event", two).await;
    let mut second = event.clone();
    second["id"] = json!("e2");
    crate::file_log::load::post(&node.url, &second).await.unwrap();
    assert!(legacy.message().1.contains(r#""version":2"#), "nothing came between");
    // Readers of the other channel have not heard theirs.
    let others = [elsewhere.message().1, elsewhere.message().1, elsewhere.message().1];
    assert!(others.iter().all(|message| message.contains(r#""version":2"#)), "{others:?}");
    until("all were sent", async || (metric_of(&node, "tidings_bridge_sent_total", "out").await == 3.0).then_some(()))
        .await;
    assert_eq!(events(&node, "inventory-change").await.len(), 3);
    assert_eq!(metric_of(&node, "tidings_bridge_refused_total", "in").await, 0.0);
}

/// The table of the bridge that sends, alone.
fn out() -> String {
    BOTH_WAYS.split("[[bridge]]").nth(2).map(|table| format!("[[bridge]]{table}")).unwrap()
}

fn sale(id: &str) -> Value {
    let data = json!({"productId": id, "oldQuantity": 5, "newQuantity": 4, "reason": "sale"});
    json!({"type": "inventory-change", "id": id, "data": data})
}

/// The node that has the lease loses it together with the log, so that the next holder finds no position.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_lost_with_the_position_of_a_bridge_is_counted_as_a_gap() {
    let redis = Redis::start();
    let first = node(&redis, &out()).await;
    first.process.said(CONNECTED);
    let second = node(&redis, &out()).await;
    let legacy = redis.watch("elsewhere");
    crate::file_log::load::post(&first.url, &sale("a")).await.unwrap();
    assert!(legacy.message().1.contains(r#""sku":"a""#));
    until("the second node has the event", async || {
        (!events(&second, "inventory-change").await.is_empty()).then_some(())
    })
    .await;
    first.process.signal("STOP");
    redis.cli(&["flushall"]);
    second.process.said(CONNECTED);
    crate::file_log::load::post(&second.url, &sale("b")).await.unwrap();
    assert!(legacy.message().1.contains(r#""sku":"b""#));
    assert_eq!(metric_of(&second, "tidings_flow_gaps_total", "out").await, 1.0);
    // The first node finds that another one has the lease, and sends nothing again.
    first.process.signal("CONT");
    crate::file_log::load::post(&second.url, &sale("c")).await.unwrap();
    assert!(legacy.message().1.contains(r#""sku":"c""#));
    first.process.said("the flow lost its lease");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_published_while_no_bridge_ran_goes_out_later() {
    let redis = Redis::start();
    let (out, event) = (out(), sale);
    let first = node(&redis, &out).await;
    let legacy = redis.watch("elsewhere");
    first.process.said(CONNECTED);
    crate::file_log::load::post(&first.url, &event("a")).await.unwrap();
    assert!(legacy.message().1.contains(r#""sku":"a""#));
    first.process.signal("TERM");
    assert_eq!(first.process.ended().code, Some(0));
    let plain = node(&redis, "").await;
    crate::file_log::load::post(&plain.url, &event("b")).await.unwrap();
    let _second = node(&redis, &out).await;
    assert!(legacy.message().1.contains(r#""sku":"b""#));
}
