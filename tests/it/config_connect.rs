//! `tidings config check --connect`, run as a program: what it says of real servers.

use std::path::Path;

use crate::support::daemon::{Ended, run, tidings};
use crate::support::redis::{Redis, documented_user};
use crate::support::upstash::{TOKEN, Upstash};

fn check(broker: &str, flags: &[&str]) -> Ended {
    let folder = tempfile::tempdir().unwrap();
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
