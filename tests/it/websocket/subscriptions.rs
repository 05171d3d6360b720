//! Subscribing and unsubscribing, and what a subscription brings.

use std::collections::HashSet;

use serde_json::json;

use crate::support::each_broker::{TestBroker, over_each_broker};
use crate::support::events::{offset, order, place, sale};
use crate::support::http::members;
use crate::support::raw::{Raw, text};
use crate::support::subscriber::Subscriber;

over_each_broker!(
    a_subscription_is_live_from_the_position_that_it_names,
    the_position_of_an_empty_channel_has_offset_zero,
    an_event_reaches_a_connection_once_however_many_subscriptions_match,
    an_overlapping_subscription_goes_on_when_the_other_ends,
    after_unsubscribed_nothing_comes_and_the_name_is_free,
    a_channel_can_be_subscribed_again_later_and_begins_there,
    connections_do_not_share_the_names_of_subscriptions,
    a_ping_is_answered_with_a_pong,
    what_is_said_in_one_breath_is_answered_in_order,
    an_event_of_another_channel_leaves_no_trace,
    subscribers_come_and_go_while_events_flow_without_harm_to_others,
);

async fn a_subscription_is_live_from_the_position_that_it_names(broker: TestBroker) {
    let node = broker.node().await;
    let mut subscriber = Subscriber::to(&node, "inventory-change").await;
    let before = node.publish(&json!([sale("1"), sale("2")])).await.remove(1);
    subscriber.events(2).await;
    let subscribed = subscriber.subscribe("s1", "inventory-change").await;
    assert_eq!(members(&subscribed), ["channel", "position", "sub", "type"], "`recovered` is absent");
    assert_eq!((&subscribed["sub"], &subscribed["channel"]), (&json!("s1"), &json!("inventory-change")));
    let (epoch, begin) = place(subscribed["position"].as_str().unwrap());
    assert_eq!((epoch, begin), place(&before.position), "what came on this connection before is in the position");
    let accepted = node.publish(&sale("3")).await.remove(0);
    let delivered = subscriber.event().await;
    assert_eq!(
        (delivered.position.as_str(), place(&delivered.position)),
        (accepted.position.as_str(), (epoch, begin + 1))
    );
}

async fn the_position_of_an_empty_channel_has_offset_zero(broker: TestBroker) {
    let node = broker.node().await;
    let mut subscriber = Subscriber::connect(&node).await;
    let subscribed = subscriber.subscribe("s", "finance-change").await;
    assert_eq!(offset(subscribed["position"].as_str().unwrap()), 0);
}

async fn an_event_reaches_a_connection_once_however_many_subscriptions_match(broker: TestBroker) {
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

async fn an_overlapping_subscription_goes_on_when_the_other_ends(broker: TestBroker) {
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
    assert_eq!(subscriber.event().await.event["subject"], "1", "nothing wants product 2 any more");
}

async fn after_unsubscribed_nothing_comes_and_the_name_is_free(broker: TestBroker) {
    let node = broker.node().await;
    let mut subscriber = Subscriber::to(&node, "inventory-change").await;
    subscriber.say(json!({"type": "unsubscribe", "sub": "s"})).await;
    subscriber.frame_of("unsubscribed").await;
    node.publish(&sale("1")).await;
    subscriber.subscribe("s", "order-status").await;
    node.publish(&json!([sale("2"), order("1")])).await;
    assert_eq!(subscriber.event().await.event["type"], "order-status");
}

async fn a_channel_can_be_subscribed_again_later_and_begins_there(broker: TestBroker) {
    let node = broker.node().await;
    let mut subscriber = Subscriber::to(&node, "inventory-change").await;
    subscriber.say(json!({"type": "unsubscribe", "sub": "s"})).await;
    subscriber.frame_of("unsubscribed").await;
    node.publish(&sale("1")).await;
    let subscribed = subscriber.subscribe("t", "inventory-change").await;
    // On its way through the broker the first event may be before or behind the subscription.
    let at = offset(subscribed["position"].as_str().unwrap());
    node.publish(&sale("2")).await;
    assert_eq!(offset(&subscriber.event().await.position), at + 1, "from the named position, whatever it is");
}

async fn connections_do_not_share_the_names_of_subscriptions(broker: TestBroker) {
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

async fn what_is_said_in_one_breath_is_answered_in_order(broker: TestBroker) {
    let node = broker.node().await;
    let mut peer = Raw::upgraded(&node).await;
    let (mut said, mut expected) = (Vec::new(), Vec::new());
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
        for (frame, answer) in exchange {
            said.extend(text(&frame.to_string()));
            expected.push(json!([answer, frame.get("sub")]));
        }
    }
    peer.send(&said).await;
    for expected in expected {
        let answer = peer.json().await;
        let kind = answer.get("code").unwrap_or(&answer["type"]);
        assert_eq!(json!([kind, answer["sub"]]), expected, "{answer}");
    }
}

async fn an_event_of_another_channel_leaves_no_trace(broker: TestBroker) {
    let node = broker.node().await;
    let mut nothing = Subscriber::connect(&node).await;
    let mut orders = Subscriber::to(&node, "order-status").await;
    let mut witness = Subscriber::to(&node, "inventory-change").await;
    node.publish(&sale("1")).await;
    witness.event().await;
    nothing.pong_is_next().await;
    orders.pong_is_next().await;
}

async fn subscribers_come_and_go_while_events_flow_without_harm_to_others(broker: TestBroker) {
    const EVENTS: usize = 600;
    let node = broker.node().await;
    let mut steady = Subscriber::to(&node, "inventory-change").await;
    let publish = async {
        for n in 0..EVENTS / 20 {
            let batch: Vec<_> = (0..20).map(|m| sale(&(n * 20 + m).to_string())).collect();
            node.publish(&json!(batch)).await;
        }
    };
    let come_and_go = async {
        for n in 0..40 {
            let mut passing = Subscriber::connect(&node).await;
            let subscribed = passing.subscribe("s", "inventory-change").await;
            let begin = offset(subscribed["position"].as_str().unwrap());
            if begin + 3 <= EVENTS as u64 && n % 2 == 0 {
                let seen: Vec<_> = passing.events(3).await.iter().map(|event| offset(&event.position)).collect();
                assert_eq!(seen, [begin + 1, begin + 2, begin + 3], "from the named position, without a hole");
            }
        }
    };
    let (events, (), ()) = futures_util::future::join3(steady.events(EVENTS), publish, come_and_go).await;
    let offsets: Vec<_> = events.iter().map(|delivered| offset(&delivered.position)).collect();
    assert_eq!(offsets, (1..=EVENTS as u64).collect::<Vec<_>>());
    let subjects: HashSet<_> = events.iter().map(|delivered| delivered.event["subject"].as_str().unwrap()).collect();
    assert_eq!(subjects.len(), EVENTS);
}
