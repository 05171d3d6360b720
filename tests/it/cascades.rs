//! Cascades: an event invalidates caches, together with it and once.

use std::fs;
use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};
use tidings::config::CascadeTables;

use crate::access::world::World;
use crate::support::broker::redis_url;
use crate::support::cluster::Cluster;
use crate::support::daemon::tidings;
use crate::support::each_broker::{TestBroker, over_each_broker, own_prefix};
use crate::support::events::{order, sale, sale_data, with};
use crate::support::http::{Accepted, Response};
use crate::support::node::{self, Node};
use crate::support::redis::Redis;
use crate::support::subscriber::Subscriber;
use crate::support::until;

over_each_broker!(
    a_cause_brings_its_cascade,
    a_duplicate_cause_brings_the_first_cascade,
    a_batch_brings_a_cascade_for_each_cause,
);

const RULES: &str = r#"
[[cascade]]
on = "inventory-change"
where = { reason = ["sale", "return"] }
tags = ["products:{productId}", "variants:{variantId}", "dashboard:overview"]
"#;

/// A configuration with [`RULES`].
fn with_rules(mut config: tidings::config::Config) -> tidings::config::Config {
    config.cascades = Some(CascadeTables::parse(Path::new("tidings.toml"), RULES).unwrap());
    config
}

async fn node(broker: &TestBroker) -> Node {
    broker.node_with(|config| *config = with_rules(config.clone())).await
}

/// The entries of both lists of a 202.
fn answer(response: &Response) -> (Vec<Accepted>, Vec<Accepted>) {
    (response.entries("accepted"), response.entries("cascaded"))
}

async fn a_cause_brings_its_cascade(broker: TestBroker) {
    let node = node(&broker).await;
    let mut subscriber = Subscriber::to(&node, "cache-invalidate").await;
    let cause = with(
        with(sale("7"), "source", "shop"),
        "traceparent",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    );
    let (accepted, cascaded) = answer(&node.post(&cause).await);
    assert_eq!((accepted.len(), cascaded.len()), (1, 1));
    let delivered = subscriber.event().await;
    let event = &delivered.event;
    assert_eq!((&event["id"], &delivered.position), (&json!(cascaded[0].id), &cascaded[0].position));
    assert_eq!((&*cascaded[0].event_type, cascaded[0].duplicate), ("cache-invalidate", false));
    assert_eq!(event["data"], json!({"tags": ["products:7", "dashboard:overview"]}), "what is absent is left out");
    assert_eq!((&event["causationid"], &event["source"]), (&json!(accepted[0].id), &json!("shop")));
    assert_eq!(event["traceparent"], cause["traceparent"]);
    // What no rule matches, and what is no cause, brings nothing.
    let mut counted = sale_data("7");
    counted["reason"] = json!("count");
    let tag = json!({"type": "cache-invalidate", "data": {"tags": ["a"]}});
    let others = json!([{"type": "inventory-change", "data": counted}, order("1"), tag]);
    let (accepted, cascaded) = answer(&node.post(&others).await);
    assert_eq!((accepted.len(), cascaded), (3, vec![]));
    assert_eq!(subscriber.event().await.event["data"], tag["data"]);
    subscriber.pong_is_next().await;
    assert_eq!(node.metric("tidings_events_cascaded_total").await, 1.0);
    assert_eq!(node.metric("tidings_cascade_omissions_total").await, 1.0);
    assert_eq!(node.metric("tidings_events_published_total").await, 4.0, "of publishers");
}

async fn a_duplicate_cause_brings_the_first_cascade(broker: TestBroker) {
    let nodes = [node(&broker).await, node(&broker).await];
    // Memory and files have one node.
    let shared = !matches!(broker, TestBroker::Memory | TestBroker::File(_));
    let other = &nodes[usize::from(shared)];
    let mut subscriber = Subscriber::to(&nodes[0], "cache-invalidate").await;
    let cause = with(sale("7"), "id", "once");
    let (_, first) = answer(&nodes[0].post(&cause).await);
    let (accepted, again) = answer(&other.post(&with(sale("8"), "id", "once")).await);
    assert!(accepted[0].duplicate);
    assert_eq!(again, [Accepted { duplicate: true, ..first[0].clone() }]);
    // An event of another type with this id is another cause; a user's own invalidation is none.
    let ids = json!([with(order("1"), "id", "once"), with(sale("9"), "id", "twice"), with(sale("9"), "id", "twice")]);
    let (_, cascaded) = answer(&nodes[0].post(&ids).await);
    assert_eq!(cascaded.iter().map(|entry| entry.duplicate).collect::<Vec<_>>(), [false, true], "within a batch, too");
    let tags: Vec<_> = subscriber.events(2).await.into_iter().map(|one| one.event["data"]["tags"][0].clone()).collect();
    assert_eq!(tags, ["products:7", "products:9"]);
    subscriber.pong_is_next().await;
}

async fn a_batch_brings_a_cascade_for_each_cause(broker: TestBroker) {
    let node = node(&broker).await;
    let mut subscriber = Subscriber::to(&node, "cache-invalidate").await;
    let batch: Vec<_> =
        (0..1000).map(|number| if number % 2 == 0 { sale(&number.to_string()) } else { order("1") }).collect();
    let (accepted, cascaded) = answer(&node.post(&json!(batch)).await);
    assert_eq!((accepted.len(), cascaded.len()), (1000, 500));
    for (cause, entry) in accepted.iter().step_by(2).zip(&cascaded) {
        let delivered = subscriber.event().await;
        assert_eq!((delivered.event["causationid"].as_str(), &delivered.position), (Some(&*cause.id), &entry.position));
    }
    subscriber.pong_is_next().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cause_whose_cascade_cannot_be_appended_is_not_appended() {
    let redis = Redis::start();
    let node = Node::start(with_rules(node::config(redis_url(redis.port)))).await;
    let mut subscriber = Subscriber::to(&node, "inventory-change").await;
    redis.cli(&["del", "tidings:default:cache-invalidate:meta"]);
    redis.cli(&["set", "tidings:default:cache-invalidate:meta", "not a hash"]);
    let batch = json!([with(sale("1"), "id", "a"), with(sale("2"), "id", "b")]);
    node.post(&batch).await.problem(503, "broker-unavailable");
    node.post(&batch).await.problem(503, "broker-unavailable");
    subscriber.pong_is_next().await;
    // Other events go on.
    node.publish(&order("1")).await;
    redis.cli(&["del", "tidings:default:cache-invalidate:meta"]);
    let (accepted, cascaded) = answer(&node.post(&batch).await);
    assert!(
        accepted.iter().chain(&cascaded).all(|entry| !entry.duplicate),
        "neither was in: {accepted:?} {cascaded:?}"
    );
    assert_eq!(subscriber.events(2).await.len(), 2);
}

/// A node that dies between the two leaves the same behind as this: on a Cluster they are in two slots.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_cluster_a_retry_completes_a_cause_without_its_cascade() {
    let cluster = Cluster::shared();
    let mut config = with_rules(node::config(cluster.url()));
    config.broker.prefix = own_prefix();
    let prefix = config.broker.prefix.clone();
    let node = Node::start(config).await;
    let mut invalidations = Subscriber::to(&node, "cache-invalidate").await;
    let key = format!("{prefix}default:{{cache-invalidate}}:meta");
    let on_its_node = |command: &[&str]| assert!(cluster.nodes.iter().any(|node| node.try_cli(command).is_some()));
    on_its_node(&["del", &key]);
    on_its_node(&["set", &key, "not a hash"]);
    let cause = with(sale("1"), "id", "a");
    until("the cause alone is in the log", async || {
        node.post(&cause).await.problem(503, "broker-unavailable");
        let history = node.get("/v1/events?channel=inventory-change&since=start").await;
        (history.status == 200 && history.json()["events"].as_array()?.len() == 1).then_some(())
    })
    .await;
    on_its_node(&["del", &key]);
    let (accepted, cascaded) = answer(&node.post(&cause).await);
    assert_eq!((accepted[0].duplicate, cascaded[0].duplicate), (true, false));
    let event = loop {
        let frame = invalidations.frame().await;
        // The log of the channel was lost with its key.
        if frame["type"] != "gap" {
            break frame;
        }
    };
    assert_eq!(event["event"]["causationid"], "a");
    let (_, again) = answer(&node.post(&cause).await);
    assert_eq!(again, [Accepted { duplicate: true, ..cascaded[0].clone() }]);
    invalidations.pong_is_next().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_grant_to_publish_the_cause_is_enough_and_its_pin_holds() {
    let world = World::new();
    let node = Node::start(with_rules(world.over(TestBroker::Memory.config()))).await;
    let grants = json!({"publish": [{"channel": "inventory-change", "where": {"productId": "7"}}]});
    let shop = world.granting(grants);
    let post = async |event: &Value| node.ask(Method::POST, "/v1/events", &shop, Some(event)).await;
    let (_, cascaded) = answer(&post(&sale("7")).await);
    assert_eq!(cascaded.len(), 1);
    post(&sale("8")).await.problem(403, "forbidden");
    post(&json!({"type": "cache-invalidate", "data": {"tags": ["products:7"]}})).await.problem(403, "forbidden");
    // A subscriber of the cause alone does not see what followed.
    let only_causes = world.granting(json!({"subscribe": ["inventory-change"]}));
    let history = node.get_as(&only_causes, "/v1/events?since=start").await.json();
    assert_eq!(history["events"].as_array().unwrap().len(), 1);
}

/// A folder with [`RULES`] as its configuration, and the output of a command there.
fn command(folder: &Path, arguments: &[&str]) -> std::process::Output {
    tidings(folder, arguments).output().expect("the command runs")
}

#[test]
fn the_command_line_tries_rules_without_a_daemon() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("tidings.toml"), RULES).unwrap();
    fs::write(folder.path().join("sale.json"), with(sale("7"), "id", "a").to_string()).unwrap();
    fs::write(folder.path().join("order.json"), order("1").to_string()).unwrap();
    let run = |arguments: &[&str]| {
        let output = command(folder.path(), arguments);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, out, err) = run(&["cascade", "test", "sale.json", "--json"]);
    assert_eq!((code, out.lines().count()), (Some(0), 1), "{err}");
    let event: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(event["data"], json!({"tags": ["products:7", "dashboard:overview"]}));
    assert_eq!((&event["causationid"], &event["id"]), (&json!("a"), &json!("cascade:inventory-change:a")));
    let (_, out, _) = run(&["cascade", "test", "sale.json"]);
    for part in
        ["tidings.toml:2: ", "left out: variants:{variantId} of cascade[0]: data.variantId is absent", "products:7"]
    {
        assert!(out.contains(part), "{part:?} is not in {out}");
    }
    assert_eq!(run(&["cascade", "test", "order.json", "--json"]), (Some(0), String::new(), String::new()));
    assert!(run(&["cascade", "test", "order.json"]).1.starts_with("nothing follows"));
    let (_, out, _) = run(&["cascade", "list", "--json"]);
    let rule: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&rule["on"], &rule["where"]), (&json!("inventory-change"), &json!({"reason": ["sale", "return"]})));
    assert_eq!((&rule["rule"], &rule["place"], &rule["keys"]), (&json!(0), &json!("tidings.toml:2"), &json!([])));
    assert!(run(&["cascade", "list"]).1.contains("products:{productId}"));
    // Mistakes.
    let (code, out, err) = run(&["cascade", "test", "missing.json"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("cannot read missing.json: there is no such file"), "{err}");
    fs::write(
        folder.path().join("bad.json"),
        json!({"type": "inventory-change", "data": {"productid": "7"}}).to_string(),
    )
    .unwrap();
    let (code, _, err) = run(&["cascade", "test", "bad.json"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("bad.json: /data/productid: ") && err.contains("did you mean `productId`"), "{err}");
    fs::write(folder.path().join("tidings.toml"), RULES.replace("{productId}", "{productid}")).unwrap();
    for arguments in [
        &["cascade", "list"][..],
        &["config", "check"],
        &["serve", "--listen", "127.0.0.1:0"],
        &["codegen", "typescript", "--out", "out", "--config", "tidings.toml"],
    ] {
        let (code, _, err) = run(arguments);
        assert_eq!(code, Some(1), "{arguments:?}");
        let mistake = "tidings.toml:5: cascade[0].tags[0]: inventory-change has no field \"productid\"; did you mean `productId`?";
        assert!(err.contains(mistake), "{arguments:?}: {err}");
    }
    fs::write(folder.path().join("tidings.toml"), "cascade = 7").unwrap();
    assert!(run(&["config", "check"]).2.contains("tidings.toml:1: cascade: this is a list of tables"));
    fs::write(folder.path().join("tidings.toml"), RULES.replace("[[cascade]]", "[[cascades]]")).unwrap();
    assert!(run(&["config", "check"]).2.contains("unknown key cascades; did you mean `cascade`?"));
}

#[test]
fn typescript_gets_the_tags_of_the_cascades() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("tidings.toml"), format!("schemas = \"types\"\n{RULES}")).unwrap();
    fs::create_dir(folder.path().join("types")).unwrap();
    fs::write(
        folder.path().join("types/review.schema.json"),
        r#"{"type":"object","properties":{"sku":{"type":"string"}}}"#,
    )
    .unwrap();
    let generated = |arguments: &[&str]| {
        let output = command(folder.path(), &[&["codegen", "typescript", "--out", "out"], arguments].concat());
        assert!(output.status.success(), "{output:?}");
        fs::read_to_string(folder.path().join("out/events.ts")).unwrap()
    };
    let source = generated(&["--config", "tidings.toml"]);
    let union =
        "export type CacheTag =\n  | \"dashboard:overview\"\n  | `products:${string}`\n  | `variants:${string}`;\n";
    assert!(source.ends_with(union), "{source}");
    assert!(source.contains("\"review\""), "{source}");
    assert!(generated(&[]).ends_with("export type CacheTag = string;\n"), "only a named file counts");
}
