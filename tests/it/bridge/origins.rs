//! Where an event of a bridge came from: it goes out to every channel but that one, however the URLs of its Redis are written.

use serde_json::{Value, json};

use super::{Publisher, events, listening, metric_of, node, node_on};
use crate::file_log::load::post;
use crate::support::cluster::Cluster;
use crate::support::daemon::Daemon;
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::sentinel::Sentinels;
use crate::support::until;

/// Listens on these channels.
fn inward(channels: &str, redis: &str) -> String {
    format!("[[bridge]]\nname = \"in\"\nchannels = {channels}\ntype = \"inventory-change\"\nid = \"/id\"\n{redis}")
}

/// Sends to these.
fn outward(name: &str, channels: &str, redis: &str) -> String {
    format!(
        "[[bridge]]\nname = \"{name}\"\ndirection = \"out\"\nchannels = {channels}\ntype = \"inventory-change\"\n{redis}"
    )
}

fn message(product: &str) -> String {
    json!({"id": product, "productId": product, "oldQuantity": 5, "newQuantity": 4, "reason": "sale"}).to_string()
}

fn product(message: &str) -> String {
    serde_json::from_str::<Value>(message).unwrap()["productId"].as_str().unwrap().to_owned()
}

/// Waits until a bridge has saved where it begins: it is connected then.
async fn connected(node: &Daemon, name: &str) {
    until("the bridge is connected", async || {
        (metric_of(node, "tidings_bridge_connected", name).await == 1.0).then_some(())
    })
    .await;
}

async fn reaches(node: &Daemon, metric: &str, name: &str, value: f64) {
    until(metric, async || (metric_of(node, metric, name).await == value).then_some(())).await;
}

/// Publishes over HTTP, with the attributes of an event that came from the channel `a`.
async fn publish(node: &Daemon, product: &str) {
    let data = json!({"productId": product, "oldQuantity": 5, "newQuantity": 4, "reason": "sale"});
    let event = json!({"type": "inventory-change", "source": "bridge/in", "bridgechannel": "a", "data": data});
    assert_eq!(post(&node.url, &event).await.unwrap().0, 202);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_goes_to_every_channel_but_the_one_that_it_came_from() {
    let redis = Redis::start();
    let node = node(&redis, &(inward(r#"["a", "b"]"#, "") + &outward("out", r#"["a", "second"]"#, ""))).await;
    listening(&redis, "b", 1).await;
    connected(&node, "out").await;
    let (a, second) = (redis.watch("a"), redis.watch("second"));
    let mut publisher = Publisher::to(&redis);
    publisher.publish("b", message("from-b").as_bytes());
    assert_eq!(product(&a.message().1), "from-b");
    assert_eq!(product(&second.message().1), "from-b");
    publisher.publish("a", message("from-a").as_bytes());
    assert_eq!(a.message().1, message("from-a"));
    assert_eq!(product(&second.message().1), "from-a");
    // Nobody but a bridge says where an event came from.
    publish(&node, "posted").await;
    assert_eq!(product(&a.message().1), "posted", "nothing came between");
    assert_eq!(product(&second.message().1), "posted");
    let all = events(&node, "inventory-change").await;
    let origins: Vec<_> = all.iter().map(|event| event.get("bridgechannel").and_then(Value::as_str)).collect();
    assert_eq!(origins, [Some("b"), Some("a"), None]);
    reaches(&node, "tidings_bridge_sent_total", "out", 3.0).await;
    assert_eq!(metric_of(&node, "tidings_bridge_ignored_total", "out").await, 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_readers_hear_a_message_once_however_the_url_of_their_redis_is_written() {
    let redis = Redis::start();
    for (user, right) in [("listen", "+subscribe"), ("sender", "+publish")] {
        redis.cli(&["acl", "setuser", user, "on", ">PW", "resetchannels", "&a", "+ping", right]);
    }
    let proxy = Proxy::start(redis.port).await;
    let socket = redis.directory.path().join("redis.sock");
    let urls = [
        format!("redis://127.0.0.1:{}/", redis.port),
        format!("redis://127.0.0.1:{}/0", redis.port),
        format!("redis://localhost:{}", redis.port),
        format!("redis://sender:PW@127.0.0.1:{}", redis.port),
        // Another address: only the server knows that it is the same one.
        format!("redis+unix://{}", socket.display()),
        format!("redis://127.0.0.1:{}", proxy.port),
    ];
    let names: Vec<_> = (0..urls.len()).map(|number| format!("out{number}")).collect();
    let tables: String =
        names.iter().zip(&urls).map(|(name, url)| outward(name, r#"["a"]"#, &format!("redis = \"{url}\"\n"))).collect();
    let other = Redis::start();
    let elsewhere = outward("elsewhere", r#"["a"]"#, &format!("redis = \"redis://127.0.0.1:{}\"\n", other.port));
    let node = node(&redis, &(inward(r#"["a"]"#, "") + &tables + &elsewhere)).await;
    listening(&redis, "a", 1).await;
    for name in names.iter().map(String::as_str).chain(["elsewhere"]) {
        connected(&node, name).await;
    }
    let (a, there) = (redis.watch("a"), other.watch("a"));
    Publisher::to(&redis).publish("a", message("theirs").as_bytes());
    assert_eq!(a.message().1, message("theirs"));
    assert_eq!(product(&there.message().1), "theirs", "another Redis has other readers");
    for name in &names {
        reaches(&node, "tidings_bridge_ignored_total", name, 1.0).await;
    }
    publish(&node, "posted").await;
    for _ in &names {
        assert_eq!(product(&a.message().1), "posted", "nothing came between");
    }
    // Users with few rights, on both sides: the address decides.
    let listen = format!("redis = \"redis://listen:PW@localhost:{}\"\n", redis.port);
    let sender = format!("redis = \"redis://sender:PW@127.0.0.1:{}\"\n", redis.port);
    let bus = Redis::start();
    let tables = inward(r#"["a"]"#, &listen) + &outward("out", r#"["a"]"#, &sender);
    let few = node_on(&format!("redis://127.0.0.1:{}", bus.port), &tables).await;
    listening(&redis, "a", 2).await;
    connected(&few, "out").await;
    Publisher::to(&redis).publish("a", message("again").as_bytes());
    reaches(&few, "tidings_bridge_ignored_total", "out", 1.0).await;
    assert_eq!(metric_of(&few, "tidings_bridge_sent_total", "out").await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_behind_sentinels_and_the_nodes_of_a_cluster_are_the_same_redis() {
    let (bus, set, cluster) = (Redis::start(), Sentinels::start().await, Cluster::masters());
    let redis = |url: &str| format!("redis = \"{url}\"\n");
    let server = |redis: &Redis| format!("redis = \"redis://127.0.0.1:{}\"\n", redis.port);
    let cases = [
        (redis(&set.url()), server(&set.servers[0]), &set.servers[0]),
        (server(&set.servers[0]), redis(&set.url()), &set.servers[0]),
        (redis(&cluster.text()), server(&cluster.nodes[2]), &cluster.nodes[0]),
    ];
    for (inside, outside, reader) in cases {
        let tables = inward(r#"["a"]"#, &inside) + &outward("out", r#"["a", "second"]"#, &outside);
        let node = node(&bus, &tables).await;
        connected(&node, "in").await;
        connected(&node, "out").await;
        let second = reader.watch("second");
        let theirs = message(&format!("{inside}{outside}").replace(['"', '\n'], ""));
        Publisher::to(reader).publish("a", theirs.as_bytes());
        assert_eq!(product(&second.message().1), product(&theirs));
        reaches(&node, "tidings_bridge_ignored_total", "out", 1.0).await;
        node.process.signal("TERM");
        assert_eq!(node.process.ended().code, Some(0));
    }
}

/// A price that is a text has no place for the amount, in either direction.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_has_no_place_is_kept_with_its_reason_and_not_lost() {
    let redis = Redis::start();
    let both = "type_from = \"/kind\"\ntypes = { data = \"data-update\" }\nmap = { \"/id/number\" = \"/number\" }\n";
    let tables = format!(
        "[[bridge]]\nname = \"in\"\nchannels = [\"a\"]\n{both}[[bridge]]\nname = \"out\"\ndirection = \"out\"\n\
         channels = [\"b\"]\ntype = \"data-update\"\nmap = {{ \"/resource\" = \"/id/resource\" }}\n"
    );
    let node = node(&redis, &tables).await;
    listening(&redis, "a", 1).await;
    connected(&node, "out").await;
    Publisher::to(&redis).publish("a", br#"{"kind":"data","resource":"r","id":"1","action":"update","number":6}"#);
    let data = json!({"resource": "r", "id": "1", "action": "update"});
    assert_eq!(post(&node.url, &json!({"type": "data-update", "data": data})).await.unwrap().0, 202);
    for (name, reason) in [
        ("in", "a: /number cannot be moved to /id/number: what is on the way there is no object"),
        ("out", "/resource cannot be moved to /id/resource: what is on the way there is no object"),
    ] {
        reaches(&node, "tidings_bridge_refused_total", name, 1.0).await;
        let letter = until("the letter", async || {
            let out = node.run(&["bridge", "dead", name, "--json"]).out;
            out.lines().next().map(|line| serde_json::from_str::<Value>(line).unwrap())
        });
        assert_eq!(letter.await["reason"], reason);
    }
    assert_eq!(metric_of(&node, "tidings_bridge_sent_total", "out").await, 0.0);
}
