//! What subscribers get compressed: the same events, compressed once, and only where it pays.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tidings::event::Catalog;

use super::{OFFER, compressing, offering, subscribed};
use crate::support::each_broker::{TestBroker, over_each_broker};
use crate::support::events::{offset, sale, with, with_data};
use crate::support::node::Node;
use crate::support::raw::{Raw, TEXT, text};
use crate::support::subscriber::Subscriber;
use crate::support::within;

over_each_broker!(
    an_event_is_compressed_once_for_all_who_take_it_so,
    an_event_that_nobody_takes_compressed_is_not_compressed,
    frames_that_are_no_events_are_not_compressed,
    a_small_event_is_not_compressed,
    without_the_setting_or_the_offer_nothing_is_compressed,
    a_stuck_peer_is_charged_for_what_would_be_sent_to_it,
);

/// An event of about a kilobyte.
fn kilobyte(product: &str) -> Value {
    with(sale(product), "note", format!("{product} ").repeat(700 / (product.len() + 1)))
}

async fn compressed(node: &Node) -> f64 {
    node.metric("tidings_events_compressed_total").await
}

async fn an_event_is_compressed_once_for_all_who_take_it_so(broker: TestBroker) {
    let node = compressing(&broker).await;
    let mut plain = Subscriber::to(&node, "inventory-change").await;
    // On every shard some.
    let mut others = join_all((0..16).map(|_| subscribed(&node, "inventory-change"))).await;
    for n in 1..=5 {
        node.publish(&kilobyte(&format!("p-{n}"))).await;
    }
    let events = plain.events(5).await;
    for raw in &mut others {
        for delivered in &events {
            let frame = raw.json().await;
            assert_eq!(frame, json!({"type": "event", "position": delivered.position, "event": delivered.event}));
        }
        assert_eq!(raw.inflated, 5);
    }
    assert_eq!(compressed(&node).await, 5.0);
}

async fn an_event_that_nobody_takes_compressed_is_not_compressed(broker: TestBroker) {
    let node = compressing(&broker).await;
    let mut plain = Subscriber::to(&node, "inventory-change").await;
    let _other_channel = subscribed(&node, "order-status").await;
    let mut filtered = offering(&node).await;
    let filter = r#"{"type":"subscribe","sub":"s","channel":"inventory-change","where":{"productId":"p-2"}}"#;
    filtered.send(&text(filter)).await;
    assert_eq!(filtered.json().await["type"], "subscribed");
    node.publish(&kilobyte("p-1")).await;
    plain.event().await;
    assert_eq!(compressed(&node).await, 0.0);
    node.publish(&kilobyte("p-2")).await;
    assert_eq!(filtered.json().await["event"]["subject"], "p-2");
    assert_eq!((filtered.inflated, compressed(&node).await), (1, 1.0));
}

async fn frames_that_are_no_events_are_not_compressed(broker: TestBroker) {
    let mut catalog = Catalog::builtin();
    let names: Vec<String> = (0..5).map(|n| format!("{n:0>60}")).collect();
    for name in &names {
        catalog.add(name, r#"{"type":"object"}"#).expect("a type of our own");
    }
    let mut config = broker.config();
    config.websocket.compression = true;
    config.websocket.heartbeat = Duration::from_millis(50);
    let node = Node::start_with(config, catalog).await;
    let mut raw = offering(&node).await;
    for name in &names {
        raw.send(&text(&json!({"type": "subscribe", "sub": name, "channel": name}).to_string())).await;
        assert_eq!(raw.json().await["type"], "subscribed");
    }
    loop {
        let frame = raw.frame_or_end().await.expect("the connection lives");
        if frame.opcode == TEXT && frame.json()["positions"].as_object().is_some_and(|all| all.len() == names.len()) {
            assert!(frame.payload.len() > 300, "an event of that length would be compressed");
            break;
        }
    }
    assert_eq!(raw.inflated, 0);
}

async fn a_small_event_is_not_compressed(broker: TestBroker) {
    let node = compressing(&broker).await;
    let mut raw = subscribed(&node, "cache-invalidate").await;
    let event = json!({"type": "cache-invalidate", "id": "1", "source": "s", "data": {"tags": ["x"]}});
    node.publish(&event).await;
    assert_eq!(raw.json().await["event"]["id"], "1");
    assert_eq!((raw.inflated, compressed(&node).await), (0, 0.0));
}

async fn without_the_setting_or_the_offer_nothing_is_compressed(broker: TestBroker) {
    for (compression, offer) in [(true, &[][..]), (false, &[OFFER][..])] {
        let node = broker.node_with(|config| config.websocket.compression = compression).await;
        let mut raw = Raw::upgraded_with(node.address, offer).await;
        raw.send(&text(r#"{"type":"subscribe","sub":"s","channel":"inventory-change"}"#)).await;
        assert_eq!(raw.json().await["type"], "subscribed");
        node.publish(&kilobyte("p")).await;
        // A frame with the bit set would fail the test.
        assert_eq!(raw.json().await["event"]["subject"], "p");
        assert_eq!(compressed(&node).await, 0.0);
    }
}

async fn a_stuck_peer_is_charged_for_what_would_be_sent_to_it(broker: TestBroker) {
    let node = broker
        .node_with(|config| {
            config.websocket.compression = true;
            config.websocket.outbox_bytes = 128 << 10;
        })
        .await;
    // Among so many a stuck one is waited for by nobody.
    let _idle = join_all((0..30).map(|_| Subscriber::connect(&node))).await;
    let mut raw = subscribed(&node, "inventory-change").await;
    let _stuck = Subscriber::to(&node, "inventory-change").await;
    let mut published = 0;
    within("the one that takes no compressed events is closed", async {
        while node.metric("tidings_slow_consumers_total").await < 1.0 {
            let event = with_data(sale("p"), "reason", "sale");
            let large = with(event, "padding", "x".repeat(60_000));
            published += node.publish(&json!(vec![large; 20])).await.len() as u64;
        }
    })
    .await;
    for expected in 1..=published {
        let frame = raw.json().await;
        assert_eq!(offset(frame["position"].as_str().expect("an event")), expected);
        assert_eq!(frame["event"]["padding"].as_str().map(str::len), Some(60_000));
    }
    assert_eq!(raw.inflated as u64, published);
    assert_eq!(node.metric("tidings_slow_consumers_total").await, 1.0);
}
