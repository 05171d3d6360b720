//! Subscribing and unsubscribing: where a subscription begins, which events it delivers, and when it ends.

use std::collections::HashSet;

use serde_json::json;

use crate::support::each_broker::{TestBroker, over_each_broker_and_tls};
use crate::support::events::{epoch_and_offset, offset, order, sale};
use crate::support::http::members;
use crate::support::raw::{RawConnection, text};
use crate::support::subscriber::Subscriber;

over_each_broker_and_tls!(
    a_subscription_is_live_from_the_position_in_subscribed,
    the_position_of_an_empty_channel_has_offset_zero,
    an_event_is_sent_once_per_connection_however_many_subscriptions_match,
    an_overlapping_subscription_continues_when_the_other_ends,
    after_unsubscribed_no_event_comes_and_the_name_is_free,
    resubscribing_without_since_begins_at_the_current_position,
    subscription_names_are_local_to_a_connection,
    a_ping_is_answered_with_a_pong,
    frames_sent_in_one_write_are_answered_in_order,
    an_event_of_another_channel_sends_nothing,
    subscribers_joining_and_leaving_under_load_do_not_affect_others,
);

async fn a_subscription_is_live_from_the_position_in_subscribed(broker: TestBroker) {
    let node = broker.node().await;
    let mut subscriber = Subscriber::to(&node, "inventory-change").await;
    let before = node.publish(&json!([sale("1"), sale("2")])).await.remove(1);
    subscriber.events(2).await;
    let subscribed = subscriber.subscribe("s1", "inventory-change").await;
    assert_eq!(members(&subscribed), ["channel", "position", "sub", "type"], "`recovered` is absent");
    assert_eq!((&subscribed["sub"], &subscribed["channel"]), (&json!("s1"), &json!("inventory-change")));
    let (epoch, begin) = epoch_and_offset(subscribed["position"].as_str().unwrap());
    assert_eq!(
        (epoch, begin),
        epoch_and_offset(&before.position),
        "events already delivered on this connection are not delivered again"
    );
    let accepted = node.publish(&sale("3")).await.remove(0);
    let delivered = subscriber.event().await;
    assert_eq!(
        (delivered.position.as_str(), epoch_and_offset(&delivered.position)),
        (accepted.position.as_str(), (epoch, begin + 1))
    );
}

async fn the_position_of_an_empty_channel_has_offset_zero(broker: TestBroker) {
    let node = broker.node().await;
    let mut subscriber = Subscriber::connect(&node).await;
    let subscribed = subscriber.subscribe("s", "finance-change").await;
    assert_eq!(offset(subscribed["position"].as_str().unwrap()), 0);
}

async fn an_event_is_sent_once_per_connection_however_many_subscriptions_match(broker: TestBroker) {
    let node = broker.node().await;
    let mut subscriber = Subscriber::connect(&node).await;
    subscriber.subscribe("all", "inventory-change").await;
    subscriber.subscribe("all-again", "inventory-change").await;
    subscriber.subscribe_where("one", "inventory-change", json!({"productId": "1"})).await;
    subscriber.subscribe_where("same", "inventory-change", json!({"productId": ["1"]})).await;
    subscriber.subscribe_where("prefix", "inventory-change", json!({"productId": {"prefix": ""}})).await;
    subscriber.subscribe("orders", "order-status").await;
    node.publish(&json!([sale("1"), sale("2"), sale("1")])).await;
    let offsets: Vec<_> = subscriber.events(3).await.iter().map(|delivered| offset(&delivered.position)).collect();
    assert_eq!(offsets, [1, 2, 3]);
}

async fn an_overlapping_subscription_continues_when_the_other_ends(broker: TestBroker) {
    let node = broker.node().await;
    let mut subscriber = Subscriber::connect(&node).await;
    subscriber.subscribe_where("a", "inventory-change", json!({"productId": "1"})).await;
    subscriber.subscribe_where("b", "inventory-change", json!({"productId": "1"})).await;
    subscriber.subscribe_where("c", "inventory-change", json!({"productId": ["1", "2"]})).await;
    for ended in ["a", "c"] {
        subscriber.say(json!({"type": "unsubscribe", "sub": ended})).await;
        assert_eq!(subscriber.frame().await, json!({"type": "unsubscribed", "sub": ended}));
        node.publish(&json!([sale("1")])).await;
        assert_eq!(subscriber.event().await.event["subject"], "1");
    }
    node.publish(&json!([sale("2"), sale("1")])).await;
    assert_eq!(subscriber.event().await.event["subject"], "1", "no subscription to product 2 is left");
}

async fn after_unsubscribed_no_event_comes_and_the_name_is_free(broker: TestBroker) {
    let node = broker.node().await;
    let mut subscriber = Subscriber::to(&node, "inventory-change").await;
    subscriber.say(json!({"type": "unsubscribe", "sub": "s"})).await;
    subscriber.frame_of("unsubscribed").await;
    node.publish(&sale("1")).await;
    subscriber.subscribe("s", "order-status").await;
    node.publish(&json!([sale("2"), order("1")])).await;
    assert_eq!(subscriber.event().await.event["type"], "order-status");
}

async fn resubscribing_without_since_begins_at_the_current_position(broker: TestBroker) {
    let node = broker.node().await;
    let mut subscriber = Subscriber::to(&node, "inventory-change").await;
    subscriber.say(json!({"type": "unsubscribe", "sub": "s"})).await;
    subscriber.frame_of("unsubscribed").await;
    node.publish(&sale("1")).await;
    let subscribed = subscriber.subscribe("t", "inventory-change").await;
    // The first event may pass the broker before or after the subscription begins.
    let at = offset(subscribed["position"].as_str().unwrap());
    node.publish(&sale("2")).await;
    assert_eq!(
        offset(&subscriber.event().await.position),
        at + 1,
        "the stream begins right after the position in `subscribed`"
    );
}

async fn subscription_names_are_local_to_a_connection(broker: TestBroker) {
    let node = broker.node().await;
    let mut first = Subscriber::to(&node, "inventory-change").await;
    let mut second = Subscriber::to(&node, "order-status").await;
    first.say(json!({"type": "unsubscribe", "sub": "s"})).await;
    first.frame_of("unsubscribed").await;
    node.publish(&order("1")).await;
    assert_eq!(second.event().await.event["subject"], "1");
}

async fn a_ping_is_answered_with_a_pong(broker: TestBroker) {
    let node = broker.node().await;
    let mut subscriber = Subscriber::connect(&node).await;
    for _ in 0..3 {
        subscriber.pong_is_next().await;
    }
}

async fn frames_sent_in_one_write_are_answered_in_order(broker: TestBroker) {
    // More frames than the default lets a client send at once.
    let node = broker.node_with(|config| config.edge.frame_rate = 1_000).await;
    let mut peer = RawConnection::open(&node).await;
    let (mut requests, mut expected) = (Vec::new(), Vec::new());
    for n in 0..100 {
        let sub = n.to_string();
        let subscribe = |channel: &str| json!({"type": "subscribe", "sub": sub, "channel": channel});
        let exchange = [
            (subscribe("inventory-change"), "subscribed"),
            (subscribe("inventory-change"), "duplicate-subscription"),
            (json!({"type": "ping"}), "pong"),
            (subscribe("nowhere"), "unknown-channel"),
            (json!({"type": "unsubscribe", "sub": sub}), "unsubscribed"),
            (json!({"type": "unsubscribe", "sub": sub}), "unknown-subscription"),
            (subscribe("order-status"), "subscribed"),
        ];
        for (frame, expected_type) in exchange {
            requests.extend(text(&frame.to_string()));
            expected.push(json!([expected_type, frame.get("sub")]));
        }
    }
    peer.send(&requests).await;
    for expected in expected {
        let response = peer.json().await;
        let kind = response.get("code").unwrap_or(&response["type"]);
        assert_eq!(json!([kind, response["sub"]]), expected, "{response}");
    }
}

async fn an_event_of_another_channel_sends_nothing(broker: TestBroker) {
    let node = broker.node().await;
    let mut nothing = Subscriber::connect(&node).await;
    let mut orders = Subscriber::to(&node, "order-status").await;
    let mut witness = Subscriber::to(&node, "inventory-change").await;
    node.publish(&sale("1")).await;
    witness.event().await;
    nothing.pong_is_next().await;
    orders.pong_is_next().await;
}

async fn subscribers_joining_and_leaving_under_load_do_not_affect_others(broker: TestBroker) {
    const EVENTS: usize = 600;
    let node = broker.node().await;
    let mut steady = Subscriber::to(&node, "inventory-change").await;
    let publish = async {
        for n in 0..EVENTS / 20 {
            let batch: Vec<_> = (0..20).map(|m| sale(&(n * 20 + m).to_string())).collect();
            node.publish(&json!(batch)).await;
        }
    };
    let join_and_leave = async {
        for n in 0..40 {
            let mut visitor = Subscriber::connect(&node).await;
            let subscribed = visitor.subscribe("s", "inventory-change").await;
            let begin = offset(subscribed["position"].as_str().unwrap());
            if begin + 3 <= EVENTS as u64 && n % 2 == 0 {
                let seen: Vec<_> = visitor.events(3).await.iter().map(|event| offset(&event.position)).collect();
                assert_eq!(
                    seen,
                    [begin + 1, begin + 2, begin + 3],
                    "offsets rise by one from the position in `subscribed`"
                );
            }
        }
    };
    let (events, (), ()) = futures_util::future::join3(steady.events(EVENTS), publish, join_and_leave).await;
    let offsets: Vec<_> = events.iter().map(|delivered| offset(&delivered.position)).collect();
    assert_eq!(offsets, (1..=EVENTS as u64).collect::<Vec<_>>());
    let subjects: HashSet<_> = events.iter().map(|delivered| delivered.event["subject"].as_str().unwrap()).collect();
    assert_eq!(subjects.len(), EVENTS);
}
