//! `tidings config check --connect`, run as a program: what it says of real servers.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::daemon::{Daemon, Ended, run, tidings};
use crate::support::redis::{Redis, documented_user};
use crate::support::upstash::{TOKEN, Upstash};

fn check(broker: &str, flags: &[&str]) -> Ended {
    check_with(broker, flags, "")
}

/// The same, with tables in tidings.toml.
fn check_with(broker: &str, flags: &[&str], tables: &str) -> Ended {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tidings.toml"), tables).unwrap();
    let arguments = [&["config", "check", "--connect", "--broker", broker], flags].concat();
    run(tidings(Path::new(folder.path()), &arguments), "")
}

/// The line of a check: its result, and what was found.
fn line<'a>(ended: &'a Ended, check: &str) -> &'a str {
    let line = ended.out.lines().find(|line| line.starts_with(check));
    line.unwrap_or_else(|| panic!("{check} is not in {ended:?}"))
}

#[test]
fn a_complete_server_has_no_warning() {
    let redis = Redis::durable();
    let ended = check(&format!("redis://127.0.0.1:{}", redis.port), &[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!ended.out.contains("warning") && !ended.out.contains("fails"), "{ended:?}");
    assert!(line(&ended, "protocol").contains("RESP3") && line(&ended, "sharded pub/sub").contains("yes"));
    assert!(line(&ended, "server").contains("Redis ") && line(&ended, "persistence").contains("append-only file"));
    // A probe a second, a heartbeat each 5 s, and a check of the rights each 16 s, for 30 days.
    assert!(line(&ended, "idle node").contains("3,272,400 calls a month"), "{ended:?}");
}

#[test]
fn what_a_server_lacks_is_named() {
    let options =
        ["--rename-command", "HELLO", "", "--rename-command", "SSUBSCRIBE", "", "--maxmemory-policy", "allkeys-lru"];
    let redis = Redis::with(&[&options[..], &["--appendonly", "no"]].concat());
    let ended = check(&format!("redis://127.0.0.1:{}", redis.port), &["--broker-pulse", "60s"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for (check, words) in [
        ("protocol", ["warning", "RESP2"]),
        ("sharded pub/sub", ["warning", "internal:"]),
        ("eviction", ["warning", "set maxmemory-policy noeviction"]),
        ("persistence", ["warning", "set appendonly yes"]),
        ("idle node", ["ok", "89,100 calls a month"]),
    ] {
        assert!(words.iter().all(|word| line(&ended, check).contains(word)), "{check}: {ended:?}");
    }
}

#[test]
fn a_missing_right_and_a_server_that_is_down_fail() {
    let redis = Redis::start();
    documented_user(&redis, "~tidings:*");
    let broker = format!("redis://tidings:s3cret@127.0.0.1:{}", redis.port);
    let ended = check(&broker, &[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(line(&ended, "server").contains("not known"), "the documented rights are enough: {ended:?}");
    redis.cli(&["acl", "setuser", "tidings", "-xadd"]);
    let ended = check(&broker, &[]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(line(&ended, "round trip").contains("+xadd") && !format!("{ended:?}").contains("s3cret"), "{ended:?}");
    drop(redis);
    let ended = check(&broker, &[]);
    assert!(ended.code == Some(1) && line(&ended, "round trip").contains("refused"), "{ended:?}");
    assert!(ended.err.contains("no node would become ready"), "{ended:?}");
}

#[test]
fn a_broker_in_the_process_has_nothing_to_connect_to() {
    let ended = check("memory", &[]);
    assert!(ended.code == Some(0) && ended.err.contains("nothing to connect to"), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rest_interface_has_a_longer_pulse() {
    let upstash = Upstash::start();
    let broker = format!("upstash+http://{TOKEN}@127.0.0.1:{}", upstash.port);
    let ended = tokio::task::spawn_blocking(move || check(&broker, &[])).await.unwrap();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(line(&ended, "protocol").contains("REST"), "{ended:?}");
    assert!(line(&ended, "idle node").contains("89,100 calls a month, with broker_pulse = 60s"), "{ended:?}");
}

#[test]
fn the_rights_for_newest_events_are_named() {
    let redis = Redis::start();
    documented_user(&redis, "~tidings:*");
    let broker = format!("redis://tidings:s3cret@127.0.0.1:{}", redis.port);
    let table = "[types.order-status]\nlatest = \"1h\"\n";
    let rights = ["+del", "+zadd", "+zcard", "+zcount", "+zrange", "+zrem"];
    let ended = check_with(&broker, &[], table);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(line(&ended, "round trip").contains(&rights.join(" ")), "{ended:?}");
    redis.cli(&[&["acl", "setuser", "tidings"][..], &rights].concat());
    assert_eq!(check_with(&broker, &[], table).code, Some(0));
}

const BRIDGES: &str = r#"
[[bridge]]
name = "channel"
channels = ["channel:inventory:change"]
type = "inventory-change"
id = "/eventId"
redis = "REDIS"

[[bridge]]
name = "pattern"
channels = ["ws:*"]
type = "inventory-change"
redis = "REDIS"

[[bridge]]
name = "out"
direction = "out"
channels = ["legacy:inventory"]
type = "inventory-change"
redis = "REDIS"
"#;

/// The line of a bridge.
fn bridge<'a>(ended: &'a Ended, name: &str) -> &'a str {
    let is_it = |line: &&str| line.starts_with("bridge") && line.contains(&format!("{name}:"));
    ended.out.lines().find(is_it).unwrap_or_else(|| panic!("{name} is not in {ended:?}"))
}

#[test]
fn the_rights_that_a_bridge_lacks_are_named_one_by_one() {
    let (bus, redis) = (Redis::start(), Redis::start());
    let rights = documented_user(&redis, "&channel:inventory:change");
    let legacy = redis.watch("legacy:*");
    let broker = format!("redis://127.0.0.1:{}", bus.port);
    let tables = BRIDGES.replace("REDIS", &format!("redis://legacy:s3cret@127.0.0.1:{}", redis.port));
    let ended = check_with(&broker, &[], &tables);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for name in ["channel", "pattern", "out"] {
        assert!(bridge(&ended, name).contains("has every right"), "{ended:?}");
    }
    assert_eq!(rights, ["+ping", "+subscribe", "+psubscribe", "+publish", "+multi", "+discard", "+info"]);
    let every_channel = ["&channel:inventory:change", "&ws:*", "&legacy:inventory"];
    for (change, name, advice) in [
        (&["-ping"][..], "channel", "grant +ping"),
        (&["-subscribe"], "channel", "grant +subscribe"),
        (&["-psubscribe"], "pattern", "grant +psubscribe"),
        (&["-publish"], "out", "grant +publish"),
        (&["resetchannels", "&ws:*"], "channel", "grant &channel:inventory:change"),
        (&["resetchannels", "&ws:1"], "pattern", "grant &ws:*"),
        (&["resetchannels", "&ws:*"], "out", "grant &legacy:inventory"),
    ] {
        redis.cli(&[&["acl", "setuser", "legacy"], change].concat());
        let ended = check_with(&broker, &[], &tables);
        assert_eq!(ended.code, Some(1), "{change:?}: {ended:?}");
        let line = bridge(&ended, name);
        assert!(line.contains("fails") && line.contains(advice) && !line.contains("s3cret"), "{change:?}: {ended:?}");
        assert!(ended.err.contains("a bridge would not work"), "{ended:?}");
        redis.cli(&[&["acl", "setuser", "legacy"][..], &rights, &every_channel].concat());
    }
    redis.cli(&["acl", "setuser", "legacy", "-multi"]);
    let ended = check_with(&broker, &[], &tables);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(bridge(&ended, "out").contains("warning") && bridge(&ended, "out").contains("+multi"), "{ended:?}");
    // Nothing was published.
    redis.cli(&["publish", "legacy:end", "the end"]);
    assert_eq!(legacy.message().0, "legacy:end");
}

#[test]
fn the_calls_of_flows_are_counted() {
    let redis = Redis::start();
    let broker = format!("redis://127.0.0.1:{}", redis.port);
    let tables = BRIDGES.replace("REDIS", &broker);
    let ended = check_with(&broker, &["--broker-pulse", "60s"], &tables);
    // A bridge with an id needs no lease. Each of the others is a call in 2.25 s.
    let expected = "2,393,100 calls a month, with broker_pulse = 60s; 2,304,000 of these are for the leases of 2 flows";
    assert!(line(&ended, "idle node").contains(expected), "{ended:?}");
}

/// Keys of these namespaces.
const KEYS: &str = r#"
[[key]]
id = "admin"
hash = "sha256:0f007385b6f9d4b7eeb2748605afe1a984a0a3bfa3f014d09e2a784ce9e5cd1a"
name = "admin"
publish = ["*"]

[[key]]
id = "shop"
hash = "sha256:0f007385b6f9d4b7eeb2748605afe1a984a0a3bfa3f014d09e2a784ce9e5cd1b"
name = "shop"
namespace = "shop"
publish = ["*"]

[[key]]
id = "crm"
hash = "sha256:0f007385b6f9d4b7eeb2748605afe1a984a0a3bfa3f014d09e2a784ce9e5cd1c"
name = "crm"
namespace = "crm"
publish = ["*"]
"#;

/// Counts the calls that Redis gets, not what scripts call.
fn calls(redis: &Redis) -> u64 {
    let text = redis.cli(&["info", "commandstats"]);
    let call = |line: &str| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        ["eval", "evalsha"].contains(&name).then(|| rest.split(',').next()?.parse::<u64>().ok())?
    };
    text.lines().filter_map(call).sum()
}

#[test]
fn the_calls_of_each_namespace_are_counted() {
    let redis = Redis::start();
    let broker = format!("redis://127.0.0.1:{}", redis.port);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("auth.toml"), KEYS).unwrap();
    let run = |command: &[&str]| {
        let flags = ["--broker", &broker, "--broker-pulse", "60s", "--auth", "auth.toml"];
        run(tidings(folder.path(), &[command, &flags].concat()), "")
    };
    let ended = run(&["config", "check", "--connect"]);
    // Of each of three namespaces: 89,100 for the pulse, 3,456,000 for revoked credentials.
    let expected = "10,635,300 calls a month in 3 namespaces, with broker_pulse = 60s; 10,368,000 of these are for revoked credentials";
    assert!(line(&ended, "idle node").contains(expected), "{ended:?}");
}

/// What a node really calls is what the check says.
#[test]
fn an_idle_node_with_namespaces_makes_the_calls_that_are_said() {
    let redis = Redis::start();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("auth.toml"), KEYS).unwrap();
    let broker = format!("redis://127.0.0.1:{}", redis.port);
    let _daemon = Daemon::with(&["--listen", "127.0.0.1:0", "--broker", &broker, "--auth", "auth.toml"], folder);
    // A pulse, a fifth of a heartbeat, a sixteenth of the rights, and 4 in 3 s for revoked credentials: of each namespace.
    let said = 3.0 * (1.0 + 0.2 + 1.0 / 16.0 + 4.0 / 3.0);
    let mut measured = Vec::new();
    // A node that starts is not idle yet.
    while measured.len() < 12 {
        let (before, started) = (calls(&redis), Instant::now());
        std::thread::sleep(Duration::from_secs(5));
        let a_second = (calls(&redis) - before) as f64 / started.elapsed().as_secs_f64();
        measured.push(a_second);
        if (0.75 * said..1.15 * said).contains(&a_second) {
            return;
        }
    }
    panic!("{measured:?} calls a second, not {said}");
}

#[test]
fn a_refused_login_and_a_missing_database_say_what_to_change() {
    let redis = Redis::start();
    redis.cli(&["config", "set", "requirepass", "s3cret"]);
    let at = |login: &str, database: &str| format!("redis://{login}127.0.0.1:{}{database}", redis.port);
    for (broker, advice) in [
        (at("nobody:wrong@", ""), "check the user and the password in `broker`"),
        (at("", ""), "check the user and the password in `broker`"),
        (at(":s3cret@", "/99"), "check the number of the database in `broker`"),
    ] {
        let ended = check(&broker, &[]);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let line = line(&ended, "round trip");
        assert!(line.contains("fails") && line.contains(advice), "{broker}: {ended:?}");
        assert!(!line.contains("what docs/redis.md lists"), "{broker}: {ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_wrong_token_nothing_is_said_of_the_server() {
    let upstash = Upstash::start();
    let broker = format!("upstash+http://wrong@127.0.0.1:{}", upstash.port);
    let ended = tokio::task::spawn_blocking(move || check(&broker, &[])).await.unwrap();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(line(&ended, "round trip").contains("check the token in `broker`"), "{ended:?}");
    for unknown in ["sharded pub/sub", "server", "eviction", "persistence", "protocol"] {
        assert!(!ended.out.lines().any(|line| line.starts_with(unknown)), "{unknown}: {ended:?}");
    }
    assert!(line(&ended, "idle node").contains("89,100 calls a month"), "{ended:?}");
}
