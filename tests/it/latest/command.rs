//! `tidings latest`, `tidings tail --since latest` and the Rust client.

use serde_json::{Value, json};
use tidings::client::{Client, Error};

use super::{ORDERS, keeping};
use crate::support::daemon::{Daemon, Running};
use crate::support::each_broker::TestBroker;
use crate::support::events::{order, with_data};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_reads_newest_events() {
    let node = TestBroker::Memory.node_with(keeping).await;
    let client = Client::new(&node.url("/")).unwrap();
    assert!(client.latest(ORDERS, "a/b").await.unwrap().is_none());
    node.publish(&json!([order("a/b"), order("o2"), order("o3")])).await;
    let newest = node.publish(&with_data(order("a/b"), "newStatus", "shipped")).await.remove(0).position;
    let found = client.latest(ORDERS, "a/b").await.unwrap();
    // The node may have answered the first request less than two seconds ago, and then knows of the event by its relay.
    assert_eq!(found.unwrap().position.to_string(), newest);
    let (mut cursor, mut ids) = (None, Vec::new());
    loop {
        let page = client.latest_list(ORDERS, None, cursor.as_ref(), 2).await.unwrap();
        for entry in &page.events {
            let event: Value = serde_json::from_str(entry.event.get()).unwrap();
            ids.push(event["data"]["orderId"].as_str().unwrap().to_owned());
        }
        if !page.more {
            assert_eq!(page.cursor.to_string(), newest);
            break;
        }
        cursor = Some(page.cursor);
    }
    assert_eq!(ids, ["o2", "o3", "a/b"]);
    assert!(client.latest("data-update", "1").await.is_err());
}

/// A URL drops them, and would be that of the list.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_refuses_a_subject_that_no_url_can_have() {
    let node = TestBroker::Memory.node_with(keeping).await;
    let client = Client::new(&node.url("/")).unwrap();
    node.publish(&json!([order("."), order(".."), order("...")])).await;
    for subject in [".", "..", ""] {
        let error = client.latest(ORDERS, subject).await.unwrap_err();
        assert!(matches!(&error, Error::Url(text) if text.contains(&format!("{subject:?}"))), "{error:?}");
    }
    assert!(client.latest(ORDERS, "...").await.unwrap().is_some());
    let error = client.latest("..", "healthz").await.unwrap_err();
    assert!(matches!(&error, Error::Url(text) if text.contains("type")), "{error:?}");
}

/// Otherwise a tail would wait for new events without a word.
#[test]
fn channels_that_keep_no_newest_events_are_said_to_begin_with_their_next_one() {
    let daemon = Daemon::start();
    let tail = Running::start(daemon.command(&["tail", "--since", "latest"]));
    tail.said("no type keeps its newest events (`latest` in [types.NAME]): all channels begin with their next event");
    tail.said("following");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tidings.toml"), "[types.order-status]\nlatest = \"1h\"\n").unwrap();
    let daemon = Daemon::with(&["--listen", "127.0.0.1:0"], folder);
    let tail = Running::start(daemon.command(&["tail", "--since", "latest"]));
    let said = tail.said("these keep no newest events and begin with their next one");
    assert!(said.contains("inventory-change") && !said.contains("order-status"), "{said}");
}

#[test]
fn the_commands_print_newest_events() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tidings.toml"), "[types.order-status]\nlatest = \"1h\"\n").unwrap();
    let daemon = Daemon::with(&["--listen", "127.0.0.1:0"], folder);
    let nothing = daemon.run(&["latest", ORDERS]);
    assert!(nothing.code == Some(0) && nothing.out.is_empty(), "{nothing:?}");
    assert!(nothing.err.contains("order-status: no subject has an event"), "{nothing:?}");
    let publish = |id: &str, status: &str| {
        let fields = [format!("orderId={id}"), format!("newStatus={status}")];
        let published = daemon.run(&["publish", ORDERS, &fields[0], &fields[1]]);
        assert_eq!(published.code, Some(0), "{published:?}");
    };
    for (id, status) in [("o1", "pending"), ("o2", "pending"), ("o1", "shipped")] {
        publish(id, status);
    }
    let one = daemon.run(&["latest", ORDERS, "o1"]);
    assert!(one.code == Some(0) && one.out.contains("newStatus=shipped") && one.out.lines().count() == 1, "{one:?}");
    let ids = |out: &str| -> Vec<String> {
        let id = |line: &str| serde_json::from_str::<Value>(line).unwrap()["event"]["data"]["orderId"].to_string();
        out.lines().map(id).collect()
    };
    assert_eq!(ids(&daemon.run(&["latest", ORDERS, "--json"]).out), ["\"o2\"", "\"o1\""]);
    assert_eq!(ids(&daemon.run(&["latest", ORDERS, "--json", "--where", "newStatus=pending"]).out), ["\"o2\""]);
    let unmatched = daemon.run(&["latest", ORDERS, "--where", "newStatus=refunded"]);
    assert!(unmatched.code == Some(0) && unmatched.err.contains("no newest event matches"), "{unmatched:?}");
    assert!(!daemon.run(&["latest", ORDERS]).err.contains("no subject"));
    let dots = daemon.run(&["latest", ORDERS, ".."]);
    assert!(dots.code == Some(1) && dots.err.contains("no URL can have"), "{dots:?}");
    assert!(dots.err.contains("--where") && !dots.err.contains("may not be a tidings daemon"), "{dots:?}");
    let none = daemon.run(&["latest", ORDERS, "o3"]);
    assert!(none.code == Some(1) && none.err.contains("the subject \"o3\" has no event"), "{none:?}");
    let refused = daemon.run(&["latest", "data-update"]);
    assert!(refused.code == Some(1) && refused.err.contains("latest-not-kept"), "{refused:?}");
    for channels in [&["tail", ORDERS][..], &["tail"]] {
        let tail = daemon.run(&[channels, &["--since", "latest", "--count", "2", "--json"]].concat());
        assert_eq!(ids(&tail.out), ["\"o2\"", "\"o1\""], "{tail:?}");
    }
}
