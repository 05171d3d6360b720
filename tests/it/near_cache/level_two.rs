//! L2 on a real Redis: shared by instances of Rust and TypeScript, with fences and locks, and while Redis is away.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tidings::cache::{BoxError, Foreign, Invalidation, L2, L2Entry, Options, RedisL2};
use tidings::config::BrokerUrl;

use super::{Database, Instance, port, tag, through};
use crate::support::daemon;
use crate::support::node::{Node, config};
use crate::support::proxy::{Mode, Proxy};
use crate::support::redis::Redis;
use crate::support::{PATIENCE, until};

const PREFIX: &str = "test:";
/// How often a test is tried again with other keys: a machine that is busy can make Redis seem slow for a second.
const ATTEMPTS: usize = 20;

fn url(redis: &Redis) -> String {
    format!("redis://127.0.0.1:{}", redis.port)
}

/// An L2 that is connected.
async fn l2(redis: &Redis) -> RedisL2 {
    let l2 = RedisL2::connect(&url(redis)).unwrap().prefix(PREFIX);
    until("L2 is connected", async || l2.get("nothing").await.ok()).await;
    l2
}

async fn options(redis: &Redis) -> Options {
    Options::default().ttl(Duration::from_secs(300)).l2(l2(redis).await)
}

async fn instance(node: &Node, redis: &Redis, database: &Database) -> Instance {
    Instance::start(&node.url(""), database, options(redis).await).await
}

fn entry(value: Option<&str>, fence: &str) -> L2Entry {
    L2Entry {
        value: value.map(|value| value.as_bytes().to_vec()),
        tags: vec!["a b".into(), "c\"d".into()],
        fence: fence.parse().unwrap(),
        ttl: Duration::from_secs(60),
    }
}

/// Writes an entry, however long it takes.
async fn put(l2: &RedisL2, key: &str, entry: L2Entry) {
    until("it is written", async || l2.set(key, entry.clone()).await.ok()).await;
}

/// Reads an entry, however long it takes.
async fn get(l2: &RedisL2, key: &str) -> Option<L2Entry> {
    until("it is read", async || l2.get(key).await.ok()).await
}

/// The entry under a key of L2. `None`: there is none within a second.
async fn find(l2: &RedisL2, key: &str) -> Option<L2Entry> {
    for _ in 0..100 {
        if let Ok(Some(entry)) = l2.get(key).await {
            return Some(entry);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    None
}

/// Reads new keys with one instance and then with the other, until the other one has found one in L2. Returns that key.
async fn shared(l2: &RedisL2, one: &Instance, other: &Instance, name: &str) -> String {
    for attempt in 0..ATTEMPTS {
        let key = format!("{name}-{attempt}");
        one.database.set(&key, 1);
        assert_eq!(one.read(&key).await, 1);
        if find(l2, &key).await.is_none() {
            continue;
        }
        let before = other.coherence.stats();
        assert_eq!(other.read(&key).await, 1);
        let after = other.coherence.stats();
        if after.hits_l2 > before.hits_l2 {
            assert_eq!(after.loads, before.loads);
            return key;
        }
    }
    panic!("L2 is not shared: {:?}", other.coherence.stats());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_instance_has_loaded_another_one_reads_until_it_is_invalidated() {
    let (node, redis) = (Node::start(config(BrokerUrl::Memory)).await, Redis::start());
    let (database, l2) = (Database::default(), l2(&redis).await);
    let (a, b) = (instance(&node, &redis, &database).await, instance(&node, &redis, &database).await);
    let key = shared(&l2, &a, &b, "k").await;
    assert_eq!(database.loads(&key), 1);
    assert_eq!(b.peek(&key), Some(1));
    let position = a.write(&key, 2).await;
    b.has_applied(&position).await;
    assert_eq!(b.read(&key).await, 2);
    // One that starts now has followed the log.
    let c = instance(&node, &redis, &database).await;
    assert_eq!(c.read(&key).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_over_a_newer_fence_is_refused() {
    let redis = Redis::start();
    let l2 = l2(&redis).await;
    for (fence, value, stored) in [
        ("e1:9", "1", "1"),
        ("e1:10", "2", "2"),
        ("e1:9", "3", "2"),
        ("e1:10", "4", "4"),
        ("e2:1", "5", "5"),
        // Of an older log: nobody serves it, and it is replaced by the next one.
        ("e1:11", "6", "6"),
    ] {
        put(&l2, "k", entry(Some(value), fence)).await;
        let found = get(&l2, "k").await.unwrap();
        assert_eq!(found.value.as_deref(), Some(stored.as_bytes()), "{fence}");
        assert_eq!(found.tags, ["a b", "c\"d"]);
        assert!(found.ttl <= Duration::from_secs(60));
    }
    put(&l2, "absent", entry(None, "e1:1")).await;
    assert_eq!(get(&l2, "absent").await.unwrap().value, None);
    assert!(get(&l2, "nothing").await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_of_a_writer_that_was_paused_is_not_served() {
    let (node, redis) = (Node::start(config(BrokerUrl::Memory)).await, Redis::start());
    let (database, l2) = (Database::default(), l2(&redis).await);
    let a = instance(&node, &redis, &database).await;
    database.set("k", 2);
    let before = a.coherence.invalidate(Invalidation::tag("other")).await.unwrap();
    a.write("k", 2).await;
    let old = L2Entry { tags: vec![tag("k")], fence: before, ..entry(Some("1"), "e:1") };
    // Nothing newer is there, so Redis takes it.
    put(&l2, "k", old).await;
    for _ in 0..3 {
        assert_eq!(instance(&node, &redis, &database).await.read("k").await, 2);
    }
    assert_eq!(a.read("k").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn something_else_under_a_key_is_a_miss() {
    let (node, redis) = (Node::start(config(BrokerUrl::Memory)).await, Redis::start());
    let (database, l2) = (Database::default(), l2(&redis).await);
    let a = instance(&node, &redis, &database).await;
    for text in ["garbage", "e 1 []\nv1", "e 1 [\nv1", "e 1 []\nx"] {
        redis.cli(&["set", "test:k", text]);
        until("it is refused", async || l2.get("k").await.unwrap_err().is::<Foreign>().then_some(())).await;
    }
    redis.cli(&["set", "test:k", "e 1 []\nv1", "px", "60000"]);
    database.set("k", 2);
    assert_eq!(a.read("k").await, 2, "its epoch is that of another log");
    // A value of another type.
    let (applied, before) = (a.coherence.invalidate(Invalidation::tag("other")).await.unwrap(), a.coherence.stats());
    put(&l2, "k2", entry(Some("\"text\""), &applied.to_string())).await;
    database.set("k2", 3);
    assert_eq!(a.read("k2").await, 3);
    assert!(a.coherence.stats().l2_errors > before.l2_errors);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_the_bus_does_not_prove_is_not_served() {
    let (node, redis) = (Node::start(config(BrokerUrl::Memory)).await, Redis::start());
    let (database, l2) = (Database::default(), l2(&redis).await);
    let proxy = Proxy::start(port(&node)).await;
    let a = instance(&node, &redis, &database).await;
    let bound = Duration::from_millis(200);
    let cut = Instance::start(&through(&proxy), &database, options(&redis).await.bound(bound)).await;
    shared(&l2, &a, &cut, "before").await;
    let fence = a.coherence.invalidate(Invalidation::tag("other")).await.unwrap();
    cut.has_applied(&fence).await;
    put(&l2, "k", entry(Some("1"), &fence.to_string())).await;
    proxy.set(Mode::Silent);
    tokio::time::sleep(bound).await;
    database.set("k", 2);
    let hits = cut.coherence.stats().hits_l2;
    // The entry in L2 may be current or not: this instance cannot know.
    assert_eq!(cut.read("k").await, 2);
    assert_eq!(cut.coherence.stats().hits_l2, hits);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_lock_one_instance_loads_and_the_others_take_its_result() {
    let (node, redis) = (Node::start(config(BrokerUrl::Memory)).await, Redis::start());
    let database = Database::default();
    let mut instances = Vec::new();
    for _ in 0..3 {
        let mut instance = instance(&node, &redis, &database).await;
        instance.delay = Duration::from_millis(200);
        instances.push(instance);
    }
    for attempt in 0..ATTEMPTS {
        let key = format!("k{attempt}");
        database.set(&key, 7);
        let reads = instances.iter().map(|instance| instance.load(instance.entry(&key).lock()));
        assert_eq!(futures_util::future::join_all(reads).await, [7, 7, 7]);
        if database.loads(&key) == 1 {
            until("the lock is given back", async || {
                redis.cli(&["exists", &format!("{PREFIX}lock:{key}")]).ends_with('0').then_some(())
            })
            .await;
            return;
        }
    }
    panic!("every instance loads: {:?}", instances[0].coherence.stats());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_whose_holder_has_died_ends_by_itself() {
    let (node, redis) = (Node::start(config(BrokerUrl::Memory)).await, Redis::start());
    let (database, l2) = (Database::default(), l2(&redis).await);
    let a = instance(&node, &redis, &database).await;
    database.set("k", 1);
    redis.cli(&["set", "test:lock:k", "dead", "px", "300"]);
    assert_eq!(a.load(a.entry("k").lock_with(PATIENCE, Duration::from_secs(10))).await, 1);
    // A reader does not wait for ever for one that is alive.
    redis.cli(&["set", "test:lock:k2", "alive"]);
    database.set("k2", 2);
    assert_eq!(a.load(a.entry("k2").lock_with(Duration::from_millis(100), Duration::from_secs(10))).await, 2);
    assert_eq!(redis.cli(&["get", "test:lock:k2"]), "alive");
    for attempt in 0..ATTEMPTS {
        if is_locked_once(&l2, &redis, &format!("k3-{attempt}")).await.is_ok() {
            return;
        }
    }
    panic!("Redis never answers in time");
}

/// Takes, prolongs and gives back a lock.
async fn is_locked_once(l2: &RedisL2, redis: &Redis, key: &str) -> Result<(), BoxError> {
    let (long, name) = (Duration::from_secs(60), format!("test:lock:{key}"));
    assert!(l2.lock(key, "one", Duration::from_secs(1)).await?);
    l2.extend(key, "other", long).await?;
    assert!(redis.cli(&["pttl", &name]).parse::<i64>().unwrap() <= 1_000, "only its holder prolongs it");
    l2.extend(key, "one", long).await?;
    assert!(redis.cli(&["pttl", &name]).parse::<i64>().unwrap() > 1_000);
    assert!(!l2.lock(key, "other", long).await?);
    l2.unlock(key, "other").await?;
    assert!(!l2.lock(key, "other", long).await?, "only its holder gives it back");
    l2.unlock(key, "one").await?;
    assert!(l2.lock(key, "other", long).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_go_on_while_redis_is_paused_or_gone() {
    let (node, mut redis) = (Node::start(config(BrokerUrl::Memory)).await, Redis::start());
    let (database, l2) = (Database::default(), l2(&redis).await);
    let (a, b) = (instance(&node, &redis, &database).await, instance(&node, &redis, &database).await);
    shared(&l2, &a, &b, "at first").await;
    redis.pause();
    is_without_l2(&a, "paused").await;
    redis.go_on();
    shared(&l2, &a, &b, "continued").await;
    redis.kill();
    is_without_l2(&a, "gone").await;
    redis.run();
    // It is connected again, at the latest after a second.
    until("L2 is connected", async || l2.get("nothing").await.ok()).await;
    shared(&l2, &a, &b, "back").await;
}

/// Reads, some of it with a lock, while Redis does not answer: until L2 has failed, which it is asked for once a second.
async fn is_without_l2(instance: &Instance, name: &str) {
    let before = instance.coherence.stats();
    let mut number = 0;
    until("L2 has failed", async || {
        number += 1;
        let key = format!("{name}-{number}");
        instance.database.set(&key, 9);
        assert_eq!(instance.read(&key).await, 9);
        assert_eq!(instance.peek(&key), Some(9), "L1 goes on");
        let locked = format!("{name}-{number}-locked");
        instance.database.set(&locked, 8);
        assert_eq!(instance.load(instance.entry(&locked).lock()).await, 8);
        (number >= 5 && instance.coherence.stats().l2_errors > before.l2_errors).then_some(())
    })
    .await;
    assert_eq!(instance.coherence.stats().hits_l2, before.hits_l2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_away_when_it_starts_is_found_later() {
    let node = Node::start(config(BrokerUrl::Memory)).await;
    let (mut redis, database) = (Redis::stopped(&[]), Database::default());
    let level_two = RedisL2::connect(&url(&redis)).unwrap().prefix(PREFIX);
    let a = Instance::proven(&node.url(""), &database, Options::default().l2(level_two)).await;
    is_without_l2(&a, "away").await;
    redis.run();
    let l2 = l2(&redis).await;
    let b = instance(&node, &redis, &database).await;
    shared(&l2, &a, &b, "there").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn close_waits_for_what_is_written_to_l2() {
    let (node, redis) = (Node::start(config(BrokerUrl::Memory)).await, Redis::start());
    let (database, l2) = (Database::default(), l2(&redis).await);
    let proxy = Proxy::start(redis.port).await;
    for attempt in 0..ATTEMPTS {
        let slow = RedisL2::connect(&format!("redis://127.0.0.1:{}", proxy.port)).unwrap().prefix(PREFIX);
        until("L2 is connected", async || slow.get("nothing").await.ok()).await;
        let a = Instance::start(&node.url(""), &database, Options::default().l2(slow)).await;
        let key = format!("k{attempt}");
        database.set(&key, 1);
        proxy.set(Mode::Latency(Duration::from_millis(40)));
        assert_eq!(a.read(&key).await, 1);
        a.coherence.close().await;
        let is_written = get(&l2, &key).await.is_some();
        proxy.set(Mode::Pass);
        if a.coherence.stats().l2_errors == 0 && is_written {
            return;
        }
    }
    panic!("what was loaded is not in L2");
}

/// Runs commands of `tests/cache/peer.mjs`, and returns their answers.
fn typescript(node: &Node, redis: &Redis, commands: &[Value]) -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let built = root.join("clients/typescript/dist/cache.js");
    assert!(built.exists(), "{} is missing: make setup builds it", built.display());
    let mut command = Command::new("node");
    command.arg(root.join("tests/cache/peer.mjs")).args([&node.url(""), &url(redis), PREFIX]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let lines: String = commands.iter().map(|command| format!("{command}\n")).collect();
    let ended = daemon::run(command, &lines);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rust_and_typescript_read_the_entries_of_each_other() {
    let (node, redis) = (Node::start(config(BrokerUrl::Memory)).await, Redis::start());
    let l2 = l2(&redis).await;
    let values = [json!({"a": [1, "é\n", null]}), json!("text"), json!(1.5), json!(false)];
    let tags = json!(["a b", "c\"d", "é"]);
    let mut commands: Vec<_> = values
        .iter()
        .enumerate()
        .map(|(at, value)| json!({"write": format!("ts{at}"), "entry": {"value": value, "tags": tags, "fence": "e1:7", "ttlMs": 60_000}}))
        .collect();
    commands.push(json!({"write": "null", "entry": {"value": null, "tags": [], "fence": "e1:7", "ttlMs": 60_000}}));
    commands.push(json!({"write": "undefined", "entry": {"tags": [], "fence": "e1:7", "ttlMs": 60_000}}));
    typescript(&node, &redis, &commands);
    for (at, value) in values.iter().enumerate() {
        let found = get(&l2, &format!("ts{at}")).await.unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&found.value.unwrap()).unwrap(), *value);
        assert_eq!((json!(found.tags), found.fence.to_string()), (tags.clone(), "e1:7".into()));
        let written = L2Entry { value: Some(value.to_string().into_bytes()), ..entry(None, "e1:8") };
        put(&l2, &format!("rs{at}"), written).await;
    }
    assert_eq!(get(&l2, "null").await.unwrap().value.as_deref(), Some(&b"null"[..]));
    assert_eq!(get(&l2, "undefined").await.unwrap().value, None);
    put(&l2, "absent", entry(None, "e1:8")).await;
    let commands: Vec<_> = (0..values.len()).map(|at| json!({"find": format!("rs{at}")})).collect();
    // A writer in TypeScript with an older fence, over an entry of Rust.
    let old = json!({"write": "rs0", "entry": {"value": "old", "tags": [], "fence": "e1:7", "ttlMs": 60_000}});
    let commands = [&[old], &commands[..], &[json!({"find": "absent"})]].concat();
    let mut answers = typescript(&node, &redis, &commands);
    assert_eq!(answers.pop().unwrap()["isUndefined"], true);
    for (value, answer) in values.iter().zip(&answers[1..]) {
        assert_eq!((&answer["value"], &answer["fence"]), (value, &json!("e1:8")));
        assert_eq!(answer["tags"], json!(["a b", "c\"d"]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_in_typescript_and_one_in_rust_share_one_l2() {
    let (node, redis) = (Node::start(config(BrokerUrl::Memory)).await, Redis::start());
    let (database, l2) = (Database::default(), l2(&redis).await);
    let keys: Vec<_> = (0..ATTEMPTS).map(|number| format!("ts{number}")).collect();
    let reads = |keys: &[String], value: u64| -> Vec<_> {
        keys.iter().map(|key| json!({"read": key, "value": value, "tags": [tag(key)]})).collect()
    };
    typescript(&node, &redis, &reads(&keys, 5));
    let rust = instance(&node, &redis, &database).await;
    for key in &keys {
        let (before, read) = (rust.coherence.stats().hits_l2, rust.read(key).await);
        assert_eq!(read, if rust.coherence.stats().hits_l2 > before { 5 } else { 0 });
    }
    assert!(rust.coherence.stats().hits_l2 > 0, "{:?}", rust.coherence.stats());
    // The other way.
    let keys: Vec<_> = (0..ATTEMPTS).map(|number| format!("rs{number}")).collect();
    for key in &keys {
        database.set(key, 6);
        rust.read(key).await;
    }
    find(&l2, &keys[ATTEMPTS - 1]).await;
    rust.write(&keys[0], 7).await;
    let answers = typescript(&node, &redis, &reads(&keys, 9));
    assert_eq!(answers[0], json!({"value": 9, "isFromL2": false}), "it was invalidated");
    let shared =
        answers.iter().filter(|answer| answer["isFromL2"] == true).inspect(|answer| assert_eq!(answer["value"], 6));
    assert!(shared.count() > 0, "{answers:?}");
}
