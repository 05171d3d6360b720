//! `tidings trigger`: valid events with made-up data, through the real binary.

use std::collections::HashSet;
use std::fs;

use serde_json::Value;

use crate::support::daemon::Daemon;

/// The events that a dry run prints.
fn printed(daemon: &Daemon, arguments: &[&str]) -> Vec<Value> {
    let ended = daemon.run(&[&["trigger", "--dry-run"], arguments].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The data of the events that the daemon keeps.
fn kept(daemon: &Daemon, channel: &str) -> Vec<Value> {
    let ended = daemon.run(&["history", channel, "--since", "start", "--limit", "1000", "--json"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["event"]["data"].clone()).collect()
}

#[test]
fn the_daemon_accepts_what_is_made_for_each_of_its_types() {
    let folder = tempfile::tempdir().unwrap();
    let schemas = folder.path().join("own");
    fs::create_dir(&schemas).unwrap();
    let own = r#"{"type":"object","additionalProperties":false,"required":["sku","stars"],"x-tidings-key":"sku",
        "properties":{"sku":{"type":"string","pattern":"^[A-Z]{2}\\d{6}$"},"stars":{"type":"integer","minimum":1,"maximum":5},
        "text":{"type":"string","minLength":20,"maxLength":400},"at":{"type":"string","format":"date-time"}}}"#;
    fs::write(schemas.join("product-review.schema.json"), own).unwrap();
    let daemon = Daemon::with(&["--listen", "127.0.0.1:0", "--schemas", "own"], folder);
    for known in
        ["cache-invalidate", "data-update", "inventory-change", "order-status", "finance-change", "product-review"]
    {
        let ended = daemon.run(&["trigger", known, "--count", "120", "--json"]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(ended.out.lines().count(), 120);
        assert!(ended.err.contains("--seed "), "{ended:?}");
        assert_eq!(kept(&daemon, known).len(), 120);
    }
    let subjects: HashSet<_> = kept(&daemon, "product-review").iter().map(|data| data["sku"].to_string()).collect();
    assert!(subjects.len() > 50, "{subjects:?}");
}

#[test]
fn the_same_seed_gives_the_same_data_and_given_fields_stay() {
    let daemon = Daemon::start();
    let arguments = ["order-status", "newStatus=shipped", "--seed", "7", "--count", "5"];
    let first = printed(&daemon, &arguments);
    assert_eq!(first.len(), 5);
    assert!(first.iter().all(|event| event["data"]["newStatus"] == "shipped"), "{first:?}");
    assert_eq!(printed(&daemon, &arguments), first);
    // A dry run publishes nothing.
    assert_eq!(kept(&daemon, "order-status"), [] as [Value; 0]);
    // A rate changes nothing in what is published.
    let ended = daemon.run(&[&["trigger", "--rate", "1000"], &arguments[..]].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let data: Vec<_> = first.iter().map(|event| event["data"].clone()).collect();
    assert_eq!(kept(&daemon, "order-status"), data);
    let one = daemon.run(&["trigger", "order-status", "newStatus=shipped", "--seed", "7", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&one.out).unwrap()["type"], "order-status");
}

#[test]
fn what_cannot_be_made_is_named() {
    let daemon = Daemon::start();
    let ended = daemon.run(&["trigger", "order-status", "newStatus=lost"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.err.contains("/data/newStatus: "), "{ended:?}");
    assert!(ended.err.contains("No valid data was found for order-status: correct the fields"), "{ended:?}");
    let ended = daemon.run(&["trigger", "order-statu"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.err.contains("order-status"), "the nearest type is named: {ended:?}");
    let ended = daemon.run(&["trigger", "order-status", "--rate", "0"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.err.contains("events per second"), "{ended:?}");
}
