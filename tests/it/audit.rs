//! The audit: a line for each event in the log, for refusals, revocations and reloads; a full disk in both modes; no secrets.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tidings::config::{AuditConfig, BrokerUrl, OnFailure};

use crate::access::world::World;
use crate::file_log::load::{Ledger, Load, post, status, wait_for_readyz};
use crate::support::daemon::{Daemon, Running, tidings};
use crate::support::disk::Disk;
use crate::support::events::sale;
use crate::support::node::{self, Node};
use crate::support::redis::Redis;
use crate::support::subscriber::Subscriber;
use crate::support::until;

const RULES: &str = "[[cascade]]\non = \"order-status\"\ntags = [\"orders:{orderId}\"]\n";
const CHANNELS: [&str; 4] = ["inventory-change", "order-status", "data-update", "cache-invalidate"];

/// All lines of an audit, the rotated files first.
fn lines(file: &Path) -> Vec<Value> {
    let rotated = |number: usize| PathBuf::from(format!("{}.{number}", file.display()));
    let count = (1..).take_while(|number| rotated(*number).exists()).count();
    let files = (1..=count).rev().map(rotated).chain([file.to_owned()]);
    let text: String = files.map(|file| std::fs::read_to_string(file).unwrap()).collect();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn of_kind<'l>(lines: &'l [Value], kind: &str) -> Vec<&'l Value> {
    lines.iter().filter(|line| line["kind"] == kind).collect()
}

/// A daemon whose audit has these settings.
fn daemon(folder: tempfile::TempDir, flags: &[&str], audit: &str) -> Daemon {
    std::fs::write(folder.path().join("tidings.toml"), format!("{RULES}[audit]\nfile = \"log/audit.ndjson\"\n{audit}"))
        .unwrap();
    let common = ["--listen", "127.0.0.1:0", "--node-id", "n1", "--log-max-events", "1000000"];
    Daemon::with(&[&common, flags].concat(), folder)
}

/// The value of a metric of a daemon.
async fn metric(url: &str, name: &str) -> f64 {
    let text = reqwest::get(format!("{url}/metrics")).await.unwrap().text().await.unwrap();
    let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_else(|| panic!("no {name}"));
    line.rsplit(' ').next().and_then(|value| value.parse().ok()).unwrap()
}

/// Everything in the log, by type and id.
async fn logged(url: &str) -> HashMap<(String, String), String> {
    let mut all = HashMap::new();
    for channel in CHANNELS {
        let mut since = "start".to_owned();
        loop {
            let url = format!("{url}/v1/events?channel={channel}&limit=1000&since={since}");
            let page: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
            let events = page["events"].as_array().unwrap();
            if events.is_empty() {
                break;
            }
            for entry in events {
                let id = entry["event"]["id"].as_str().unwrap().to_owned();
                all.insert((channel.to_owned(), id), entry["position"].as_str().unwrap().to_owned());
            }
            since = page["cursor"].as_str().unwrap().to_owned();
        }
    }
    all
}

fn key(line: &Value) -> (String, String) {
    (line["type"].as_str().unwrap().to_owned(), line["id"].as_str().unwrap().to_owned())
}

/// Each event of the log has one line that is no duplicate, at its position, and every other line of it has the same one.
fn compare(lines: &[Value], logged: &HashMap<(String, String), String>) {
    let mut first: HashMap<(String, String), usize> = HashMap::new();
    for line in of_kind(lines, "event") {
        let position = line["position"].as_str().unwrap_or_else(|| panic!("{line}"));
        assert_eq!(logged.get(&key(line)).map(String::as_str), Some(position), "{line}");
        *first.entry(key(line)).or_default() += usize::from(line["duplicate"] == false);
    }
    assert_eq!(first.len(), logged.len());
    assert!(first.values().all(|count| *count == 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_of_the_log_has_its_line() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("log")).unwrap();
    let daemon = daemon(folder, &["--broker", "file:events"], "max_bytes = \"128KiB\"\nkeep = 1000\n");
    wait_for_readyz(&daemon.url, 200).await;
    let ledger = Arc::new(Ledger::default());
    let load = Load::start(&ledger, &daemon.url, 8);
    until("the load makes progress", async || (ledger.acknowledged() >= 3_000).then_some(())).await;
    load.stop().await;
    ledger.publish_again(&daemon.url).await;
    let logged = logged(&daemon.url).await;
    assert!(logged.len() > 3_000, "events and cascades: {}", logged.len());
    daemon.process.signal("TERM");
    assert_eq!(daemon.process.ended().code, Some(0));
    let lines = lines(&daemon.folder.path().join("log/audit.ndjson"));
    compare(&lines, &logged);
    assert!(daemon.folder.path().join("log/audit.ndjson.3").exists(), "it was rotated");
    assert_eq!(of_kind(&lines, "lost"), [] as [&Value; 0]);
    // What was published again is a duplicate, and so is its cascade.
    let duplicates = of_kind(&lines, "event").into_iter().filter(|line| line["duplicate"] == true).count();
    assert_eq!(duplicates, logged.len());
    let cascade = lines.iter().find(|line| line["type"] == "cache-invalidate").unwrap();
    let cause = lines.iter().find(|line| line["id"] == cascade["causationid"]).unwrap();
    assert_eq!((&cause["type"], &cause["requestId"]), (&json!("order-status"), &cascade["requestId"]));
    assert_eq!(
        (&cause["node"], &cause["namespace"], &cause["address"]),
        (&json!("n1"), &json!("default"), &json!("127.0.0.1"))
    );
    assert!(cause.get("data").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_survives_a_kill_where_publishers_wait_for_their_lines() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("log")).unwrap();
    let daemon = daemon(folder, &["--broker", "file:events"], "on_failure = \"refuse\"\ndata = true\n");
    wait_for_readyz(&daemon.url, 200).await;
    let ledger = Arc::new(Ledger::default());
    let load = Load::start(&ledger, &daemon.url, 8);
    until("the load makes progress", async || (ledger.acknowledged() >= 500).then_some(())).await;
    daemon.process.signal("KILL");
    load.stop().await;
    let folder = daemon.folder;
    drop(daemon.process);
    let audit = folder.path().join("log/audit.ndjson");
    let mut text = std::fs::read_to_string(&audit).unwrap();
    text.truncate(text.rfind('\n').unwrap() + 1);
    std::fs::write(&audit, text).unwrap();
    let found: HashMap<_, _> = lines(&audit).iter().map(|line| (key(line).1, line["position"].clone())).collect();
    for (id, position) in ledger.acknowledged_positions() {
        assert_eq!(found.get(&id), Some(&json!(position)), "{id}");
    }
    assert!(lines(&audit).iter().all(|line| line["data"].is_object()));
}

/// Publishes one event after the other; returns the ids that were answered with 202.
async fn publish(url: &str, ids: std::ops::Range<usize>) -> Vec<String> {
    let mut answered = Vec::new();
    for number in ids {
        let mut event = sale("7");
        let id = format!("sale {number}");
        event["id"] = json!(id);
        if post(url, &event).await.is_some_and(|(status, _)| status == 202) {
            answered.push(id);
        }
    }
    answered
}

/// Publishes until the audit fails; returns how many it has published, and the ids that were answered with 202.
async fn publish_until_it_fails(url: &str) -> (usize, Vec<String>) {
    let mut answered = Vec::new();
    let mut next = 0;
    while metric(url, "tidings_audit_failing").await == 0.0 {
        assert!(next < 100_000, "the disk does not get full");
        answered.extend(publish(url, next..next + 20).await);
        next += 20;
    }
    (next, answered)
}

async fn full_disk_and_publishers_go_on(disk: fn(&Path) -> Disk) {
    let folder = tempfile::tempdir().unwrap();
    let disk = disk(folder.path());
    let daemon = daemon(folder, &[], "");
    let (url, process) = (daemon.url.clone(), daemon.process.id());
    wait_for_readyz(&url, 200).await;
    assert_eq!(publish(&url, 100_000..100_010).await.len(), 10);
    disk.fill(process);
    let (count, answered) = publish_until_it_fails(&url).await;
    assert_eq!(answered.len(), count, "publishers notice nothing");
    assert_eq!(publish(&url, count..count + 50).await.len(), 50);
    assert_eq!(status(&url, "/readyz").await, 200);
    disk.make_room(process);
    let mut next = count + 50;
    while metric(&url, "tidings_audit_failing").await == 1.0 {
        assert_eq!(publish(&url, next..next + 1).await.len(), 1);
        next += 1;
    }
    daemon.process.signal("TERM");
    assert_eq!(daemon.process.ended().code, Some(0));
    let lines = lines(&daemon.folder.path().join("log/audit.ndjson"));
    let lost: u64 = of_kind(&lines, "lost").iter().map(|line| line["lines"].as_u64().unwrap()).sum();
    assert!(lost >= 50, "{lost}");
    assert_eq!(
        of_kind(&lines, "event").len() as u64 + lost,
        next as u64 + 10,
        "each event has a line or is told as lost"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_loses_lines_and_says_how_many() {
    full_disk_and_publishers_go_on(|folder| Disk::small(folder, "1m")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_on_file_sizes_loses_lines_and_says_how_many() {
    full_disk_and_publishers_go_on(Disk::limited).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_publishers_where_the_audit_must_be_complete() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::small(folder.path(), "1m");
    let daemon = daemon(folder, &[], "on_failure = \"refuse\"\n");
    let (url, process) = (daemon.url.clone(), daemon.process.id());
    wait_for_readyz(&url, 200).await;
    disk.fill(process);
    let (count, mut answered) = publish_until_it_fails(&url).await;
    let (status, problem) = post(&url, &sale("7")).await.unwrap();
    assert_eq!((status, &problem["code"]), (503, &json!("broker-unavailable")));
    assert!(problem["detail"].as_str().unwrap().contains("audit"), "{problem}");
    // The daemon and the command say the same of the event.
    let order = ["publish", "order-status", "orderId=1", "newStatus=shipped", "--retry-timeout", "0s"];
    let refused = daemon.run(&order);
    assert!(refused.code == Some(1) && refused.err.contains("audit"), "{refused:?}");
    assert!(refused.err.contains("It is not known") && !refused.err.contains("nothing was published"), "{refused:?}");
    let looked = daemon.run(&["doctor"]);
    assert!(looked.code == Some(1) && looked.out.contains("make room on the disk of `file` in [audit]"), "{looked:?}");
    assert!(!looked.out.contains("what the broker refuses"), "{looked:?}");
    let response = reqwest::get(format!("{url}/readyz")).await.unwrap();
    let (status, reason) = (response.status(), response.text().await.unwrap());
    assert!(status == 503 && reason.contains("the audit file of this node cannot be written"), "{status} {reason}");
    disk.make_room(process);
    // It finds out by itself that there is room.
    wait_for_readyz(&url, 200).await;
    until("publishers are answered again", async || (!publish(&url, 0..1).await.is_empty()).then_some(())).await;
    answered.extend(publish(&url, 0..count).await);
    let logged = logged(&url).await;
    daemon.process.signal("TERM");
    assert_eq!(daemon.process.ended().code, Some(0));
    let lines = lines(&daemon.folder.path().join("log/audit.ndjson"));
    compare(&lines, &logged);
    assert!(answered.iter().all(|id| logged.contains_key(&("inventory-change".into(), id.clone()))));
}

#[test]
fn a_file_that_cannot_be_written_refuses_the_start_and_fails_the_check() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("log")).unwrap();
    for (file, why) in [
        ("nowhere/audit.ndjson", "the directory nowhere is missing: make it"),
        ("log", "this is a directory: name a file in it"),
        ("sub/", "this is a directory: name a file in it"),
    ] {
        std::fs::write(folder.path().join("tidings.toml"), format!("[audit]\nfile = {file:?}\n")).unwrap();
        for command in [&["serve", "--listen", "127.0.0.1:0"][..], &["config", "check"]] {
            let ended = Running::start(tidings(folder.path(), command)).ended();
            assert_eq!(ended.code, Some(1), "{ended:?}");
            assert!(ended.err.contains(&format!("audit.file: cannot write {file}: {why}")), "{}", ended.err);
        }
    }
}

#[tokio::test]
async fn refusals_revocations_and_reloads_have_lines_without_secrets() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.ndjson");
    let mut config = world.over(node::config(BrokerUrl::Memory));
    config.audit = Some(AuditConfig {
        file: file.clone(),
        max_bytes: 1 << 20,
        keep: 2,
        data: false,
        on_failure: OnFailure::Continue,
    });
    let mut node = Node::start(config).await;
    let token = world.granting(json!({"publish": ["inventory-change"], "admin": ["revoke"]}));
    let bad = format!("{token}x");

    node.publish_as(&token, &sale("7")).await;
    let order = json!({"type": "order-status", "data": {"orderId": "1", "newStatus": "pending"}});
    assert_eq!(node.ask(Method::POST, "/v1/events", &token, Some(&order)).await.status, 403);
    assert_eq!(node.ask(Method::POST, "/v1/events", &bad, Some(&order)).await.status, 401);
    assert_eq!(node.post(&order).await.status, 401);
    assert_eq!(node.get(&format!("/v1/events?access_token={token}")).await.status, 401);
    assert_eq!(node.get_as(&token, "/v1/nodes").await.status, 403);
    let mut subscriber = Subscriber::with_token(&node, "/v1/ws?channel=order-status", &token).await;
    assert_eq!(subscriber.frame_of("error").await["code"], "forbidden");
    subscriber.say(json!({"type": "subscribe", "sub": "a", "channel": "data-update"})).await;
    assert_eq!(subscriber.frame_of("error").await["code"], "forbidden");
    let revocation = json!({"sub": "u9"});
    assert_eq!(node.ask(Method::POST, "/v1/revocations", &token, Some(&revocation)).await.status, 204);
    let reloads = || -> Value {
        lines(&file).iter().filter(|line| line["kind"] == "reloaded").map(|line| line["result"].clone()).collect()
    };
    world.write("nonsense = 1", "");
    until("the refused reload has its line", async || (reloads() == json!(["refused"])).then_some(())).await;
    world.write("", "[anonymous]\nsubscribe = [\"cache-invalidate\"]");
    until("the accepted reload has its line", async || (reloads() == json!(["refused", "accepted"])).then_some(()))
        .await;
    assert_eq!(node.get("/v1/events?channel=order-status").await.status, 401);
    node.begin_stop();
    node.stopped().await.unwrap();

    let lines = lines(&file);
    let text = std::fs::read_to_string(&file).unwrap();
    for secret in [&*token, token.rsplit('.').next().unwrap(), "access_token", "channel="] {
        assert!(!text.contains(secret), "{secret}");
    }
    let event = of_kind(&lines, "event")[0];
    assert_eq!((&event["publisher"], &event["issuer"]), (&json!("u1"), &json!("https://issuer.test/")));
    let refused: Vec<Value> = of_kind(&lines, "refused")
        .into_iter()
        .map(|line| {
            assert!(line["address"] == "127.0.0.1" && line["requestId"].is_string(), "{line}");
            json!([line["action"], line["name"], line["code"], line["reason"], line["publisher"]])
        })
        .collect();
    let expected = json!([
        ["publish", "order-status", "forbidden", null, "u1"],
        ["authenticate", null, "unauthenticated", "malformed", null],
        ["authenticate", null, "unauthenticated", "none", null],
        ["authenticate", null, "unauthenticated", "in-query", null],
        ["administer", "nodes", "forbidden", null, "u1"],
        ["subscribe", "order-status", "forbidden", null, "u1"],
        ["subscribe", "data-update", "forbidden", null, "u1"],
        ["subscribe", "order-status", "unauthenticated", null, null],
    ]);
    assert_eq!(json!(refused), expected);
    let revoked = of_kind(&lines, "revoked")[0];
    assert_eq!(
        (&revoked["revoked"], &revoked["name"], &revoked["publisher"]),
        (&json!("sub"), &json!("u9"), &json!("u1"))
    );
}

/// A publisher that has gone does not keep its events out of the audit.
#[tokio::test]
async fn the_events_of_a_publisher_that_has_gone_have_lines() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("log")).unwrap();
    let redis = Redis::start();
    let daemon = daemon(folder, &["--broker", &format!("redis://127.0.0.1:{}", redis.port)], "");
    wait_for_readyz(&daemon.url, 200).await;
    redis.pause();
    let mut event = sale("7");
    event["id"] = json!("gone");
    let request = reqwest::Client::new().post(format!("{}/v1/events", daemon.url)).json(&event);
    assert!(request.timeout(Duration::from_millis(200)).send().await.unwrap_err().is_timeout());
    let file = daemon.folder.path().join("log/audit.ndjson");
    let line = until("the line", async || lines(&file).into_iter().find(|line| line["id"] == "gone")).await;
    assert!(line["position"].is_null() && line["duplicate"].is_null(), "nobody knows its position: {line}");
    redis.go_on();
}
