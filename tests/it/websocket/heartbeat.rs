//! Heartbeats: the daemon sends Pings and `heartbeat` frames with correct positions, spread over the interval, and closes a
//! client from which it receives nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::each_broker::{TestBroker, over_each_broker};
use crate::support::events::{offset, sale};
use crate::support::http::members;
use crate::support::node::Node;
use crate::support::raw::{FIN, PING, PONG, RawConnection, TEXT, frame, text};
use crate::support::subscriber::Subscriber;
use crate::support::within;

over_each_broker!(
    a_ping_and_a_heartbeat_frame_are_sent_in_every_interval,
    a_heartbeat_names_the_head_of_every_subscribed_channel,
    the_heartbeat_position_includes_events_that_the_filter_excluded,
    first_heartbeats_are_spread_over_the_interval,
    no_event_up_to_a_heartbeat_position_follows_that_heartbeat,
    a_client_that_is_silent_for_two_intervals_is_closed_with_4009,
    any_frame_from_the_client_keeps_the_connection_open,
);

/// A node with this heartbeat interval.
async fn node_with_heartbeat(broker: &TestBroker, millis: u64) -> Node {
    broker.node_with(|config| config.websocket.heartbeat = Duration::from_millis(millis)).await
}

async fn a_ping_and_a_heartbeat_frame_are_sent_in_every_interval(broker: TestBroker) {
    let node = node_with_heartbeat(&broker, 250).await;
    let mut subscriber = Subscriber::connect(&node).await;
    assert_eq!(subscriber.welcome["heartbeatMs"], 250);
    let (mut pings, mut heartbeats) = (0, 0);
    while pings < 4 || heartbeats < 4 {
        match subscriber.message().await.expect("the connection is open") {
            Message::Ping(_) => pings += 1,
            Message::Text(text) => {
                let frame: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(frame, json!({"type": "heartbeat", "positions": {}}));
                heartbeats += 1;
            }
            other => panic!("{other:?}"),
        }
        assert!(i32::abs(pings - heartbeats) <= 1, "{pings} pings, {heartbeats} heartbeats");
    }
}

async fn a_heartbeat_names_the_head_of_every_subscribed_channel(broker: TestBroker) {
    let node = node_with_heartbeat(&broker, 250).await;
    let mut subscriber = Subscriber::connect(&node).await;
    let stock = subscriber.subscribe("a", "inventory-change").await;
    let orders = subscriber.subscribe("b", "order-status").await;
    subscriber.subscribe("c", "order-status").await;
    let heartbeat = subscriber.heartbeat().await;
    assert_eq!(members(&heartbeat), ["positions", "type"]);
    assert_eq!(
        heartbeat["positions"],
        json!({"inventory-change": stock["position"], "order-status": orders["position"]})
    );
    let last = node.publish(&json!([sale("1"), sale("2")])).await.remove(1);
    subscriber.events(2).await;
    assert_eq!(subscriber.heartbeat().await["positions"]["inventory-change"], last.position.as_str());
    for name in ["b", "c"] {
        subscriber.say(json!({"type": "unsubscribe", "sub": name})).await;
        subscriber.frame_of("unsubscribed").await;
    }
    assert_eq!(subscriber.heartbeat().await["positions"], json!({"inventory-change": last.position}));
}

async fn the_heartbeat_position_includes_events_that_the_filter_excluded(broker: TestBroker) {
    let node = node_with_heartbeat(&broker, 250).await;
    let mut subscriber = Subscriber::connect(&node).await;
    subscriber.subscribe_where("s", "inventory-change", json!({"productId": "mine"})).await;
    let accepted = node.publish(&sale("other")).await.remove(0);
    within("the heartbeat names the new head", async {
        while subscriber.heartbeat().await["positions"]["inventory-change"] != accepted.position.as_str() {}
    })
    .await;
}

async fn first_heartbeats_are_spread_over_the_interval(broker: TestBroker) {
    const INTERVAL: f64 = 1.0;
    let node = node_with_heartbeat(&broker, 1000).await;
    let first_heartbeat = async || {
        let mut subscriber = Subscriber::connect(&node).await;
        let begin = Instant::now();
        subscriber.heartbeat().await;
        begin.elapsed().as_secs_f64()
    };
    let waited = join_all((0..40).map(|_| first_heartbeat())).await;
    let (least, most) = waited.iter().fold((f64::MAX, 0.0_f64), |(least, most), &one| (least.min(one), most.max(one)));
    // Forty evenly drawn numbers all fall into one half about once in 10^12 runs.
    assert!(least < INTERVAL / 2.0 && most - least > INTERVAL / 4.0, "{waited:?}");
    assert!(most < INTERVAL + 2.0, "{waited:?}");
}

async fn no_event_up_to_a_heartbeat_position_follows_that_heartbeat(broker: TestBroker) {
    let node = node_with_heartbeat(&broker, 250).await;
    let mut subscriber = Subscriber::connect(&node).await;
    subscriber.subscribe_where("s", "inventory-change", json!({"productId": "mine"})).await;
    let enough = AtomicBool::new(false);
    let publish = async {
        while !enough.load(Ordering::Relaxed) {
            node.publish(&json!([sale("mine"), sale("other"), sale("other")])).await;
        }
    };
    let read = async {
        let (mut heartbeat_position, mut heartbeats, mut next) = (0, 0, 1);
        while heartbeats < 4 {
            let frame = subscriber.any_frame().await;
            if frame["type"] == "heartbeat" {
                heartbeats += 1;
                let head = offset(frame["positions"]["inventory-change"].as_str().unwrap());
                assert!(head >= heartbeat_position, "heartbeat positions never decrease");
                heartbeat_position = head;
            } else {
                let at = offset(frame["position"].as_str().unwrap());
                assert!(
                    at > heartbeat_position,
                    "the event at {at} came after a heartbeat with position {heartbeat_position}"
                );
                assert_eq!(at, next);
                next += 3;
            }
        }
        enough.store(true, Ordering::Relaxed);
    };
    futures_util::join!(publish, read);
}

async fn a_client_that_is_silent_for_two_intervals_is_closed_with_4009(broker: TestBroker) {
    let node = node_with_heartbeat(&broker, 300).await;
    let mut silent = RawConnection::open(&node).await;
    let begin = Instant::now();
    assert_eq!(silent.close_code().await, 4009);
    let waited = begin.elapsed();
    assert!(waited > Duration::from_millis(500), "closed before two intervals: {waited:?}");
    assert!(waited < Duration::from_millis(600 + 300 + 2000), "closed too long after two intervals: {waited:?}");
    // The client does not answer the close frame either; the daemon ends the connection without it.
    silent.expect_end().await;
}

async fn any_frame_from_the_client_keeps_the_connection_open(broker: TestBroker) {
    let node = node_with_heartbeat(&broker, 500).await;
    let stays_open = async |what: &str, bytes: Vec<u8>| {
        let mut raw = RawConnection::open(&node).await;
        let mut heartbeats = 0;
        while heartbeats < 4 {
            let received =
                raw.frame_or_end().await.unwrap_or_else(|| panic!("{what} did not keep the connection alive"));
            if received.opcode == TEXT && received.json()["type"] == "heartbeat" {
                heartbeats += 1;
                raw.send(&bytes).await;
            }
        }
    };
    let library = async {
        let mut subscriber = Subscriber::to(&node, "inventory-change").await;
        for _ in 0..4 {
            subscriber.heartbeat().await;
        }
    };
    futures_util::join!(
        stays_open("an unsolicited Pong", frame(FIN | PONG, b"")),
        stays_open("a Ping", frame(FIN | PING, b"x")),
        stays_open("a frame", text(r#"{"type":"ping"}"#)),
        library,
    );
}
