//! Heartbeats: both ways, jittered at first, and true about what was sent.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::each_broker::{TestBroker, over_each_broker};
use crate::support::events::{offset, sale};
use crate::support::http::members;
use crate::support::node::Node;
use crate::support::raw::{FIN, PING, PONG, Raw, TEXT, frame, text};
use crate::support::subscriber::Subscriber;
use crate::support::within;

over_each_broker!(
    a_ping_and_a_heartbeat_frame_come_again_and_again,
    a_heartbeat_names_the_head_of_every_subscribed_channel,
    the_head_counts_what_the_filter_kept_back,
    the_first_heartbeats_are_spread_over_the_interval,
    nothing_up_to_the_position_of_a_heartbeat_comes_after_it,
    a_peer_that_says_nothing_for_two_intervals_is_closed,
    whatever_a_peer_sends_keeps_it_alive,
);

async fn beating(broker: &TestBroker, millis: u64) -> Node {
    broker.node_with(|config| config.websocket.heartbeat = Duration::from_millis(millis)).await
}

async fn a_ping_and_a_heartbeat_frame_come_again_and_again(broker: TestBroker) {
    let node = beating(&broker, 250).await;
    let mut subscriber = Subscriber::connect(&node).await;
    assert_eq!(subscriber.welcome["heartbeatMs"], 250);
    let (mut pings, mut heartbeats) = (0, 0);
    while pings < 4 || heartbeats < 4 {
        match subscriber.message().await.expect("the connection lives") {
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
    let node = beating(&broker, 250).await;
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

async fn the_head_counts_what_the_filter_kept_back(broker: TestBroker) {
    let node = beating(&broker, 250).await;
    let mut subscriber = Subscriber::connect(&node).await;
    subscriber.subscribe_where("s", "inventory-change", json!({"productId": "mine"})).await;
    let accepted = node.publish(&sale("other")).await.remove(0);
    within("the head moves on", async {
        while subscriber.heartbeat().await["positions"]["inventory-change"] != accepted.position.as_str() {}
    })
    .await;
}

async fn the_first_heartbeats_are_spread_over_the_interval(broker: TestBroker) {
    const INTERVAL: f64 = 1.0;
    let node = beating(&broker, 1000).await;
    let first_beat = async || {
        let mut subscriber = Subscriber::connect(&node).await;
        let begin = Instant::now();
        subscriber.heartbeat().await;
        begin.elapsed().as_secs_f64()
    };
    let waited = join_all((0..40).map(|_| first_beat())).await;
    let (least, most) = waited.iter().fold((f64::MAX, 0.0_f64), |(least, most), &one| (least.min(one), most.max(one)));
    // Forty numbers drawn evenly lie all in one half about once in 10^12 times.
    assert!(least < INTERVAL / 2.0 && most - least > INTERVAL / 4.0, "{waited:?}");
    assert!(most < INTERVAL + 2.0, "{waited:?}");
}

async fn nothing_up_to_the_position_of_a_heartbeat_comes_after_it(broker: TestBroker) {
    let node = beating(&broker, 250).await;
    let mut subscriber = Subscriber::connect(&node).await;
    subscriber.subscribe_where("s", "inventory-change", json!({"productId": "mine"})).await;
    let enough = AtomicBool::new(false);
    let publish = async {
        while !enough.load(Ordering::Relaxed) {
            node.publish(&json!([sale("mine"), sale("other"), sale("other")])).await;
        }
    };
    let read = async {
        let (mut promised, mut heartbeats, mut next) = (0, 0, 1);
        while heartbeats < 4 {
            let frame = subscriber.any_frame().await;
            if frame["type"] == "heartbeat" {
                heartbeats += 1;
                let head = offset(frame["positions"]["inventory-change"].as_str().unwrap());
                assert!(head >= promised, "a head never goes back");
                promised = head;
            } else {
                let at = offset(frame["position"].as_str().unwrap());
                assert!(at > promised, "{at} came after the heartbeat that promised {promised}");
                assert_eq!(at, next);
                next += 3;
            }
        }
        enough.store(true, Ordering::Relaxed);
    };
    futures_util::join!(publish, read);
}

async fn a_peer_that_says_nothing_for_two_intervals_is_closed(broker: TestBroker) {
    let node = beating(&broker, 300).await;
    let mut silent = Raw::upgraded(&node).await;
    let begin = Instant::now();
    assert_eq!(silent.closed_with().await, 4009);
    let waited = begin.elapsed();
    assert!(waited > Duration::from_millis(500), "not before two intervals: {waited:?}");
    assert!(waited < Duration::from_millis(600 + 300 + 2000), "not long after: {waited:?}");
    // It answers nothing, the close neither: the daemon does not wait for it for ever.
    silent.ends().await;
}

async fn whatever_a_peer_sends_keeps_it_alive(broker: TestBroker) {
    let node = beating(&broker, 500).await;
    let stays = async |what: &str, bytes: Vec<u8>| {
        let mut raw = Raw::upgraded(&node).await;
        let mut heartbeats = 0;
        while heartbeats < 4 {
            let received = raw.frame_or_end().await.unwrap_or_else(|| panic!("{what} did not keep it alive"));
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
        stays("a Pong that nobody asked for", frame(FIN | PONG, b"")),
        stays("a Ping", frame(FIN | PING, b"x")),
        stays("a frame", text(r#"{"type":"ping"}"#)),
        library,
    );
}
