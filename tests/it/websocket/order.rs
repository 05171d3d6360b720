//! Order: all subscribers see a channel's events in the same order, and each publisher's events in the order it sent them.

use std::collections::HashMap;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::each_broker::{TestBroker, over_each_broker_and_tls};
use crate::support::events::{epoch_and_offset, order, sale, with};
use crate::support::subscriber::Subscriber;

over_each_broker_and_tls!(
    every_subscriber_sees_all_events_once_in_the_same_order,
    a_publisher_that_awaits_each_response_gets_rising_positions,
    thousands_of_events_arrive_completely_and_in_order,
);

async fn every_subscriber_sees_all_events_once_in_the_same_order(broker: TestBroker) {
    const PUBLISHERS: usize = 8;
    const EACH: usize = 60;
    const TOTAL: usize = PUBLISHERS * EACH;
    let node = broker.node().await;
    let mut subscribers = Vec::new();
    for _ in 0..6 {
        let mut subscriber = Subscriber::to(&node, "inventory-change").await;
        subscriber.subscribe("orders", "order-status").await;
        subscribers.push(subscriber);
    }
    let publish = async |publisher: usize| {
        for n in (0..EACH).step_by(3) {
            let event = |m: usize| with(sale(&publisher.to_string()), "number", (n + m) as u32);
            node.publish(&event(0)).await;
            node.publish(&json!([event(1), order("o"), event(2)])).await;
        }
    };
    let publishers = join_all((0..PUBLISHERS).map(publish));
    let read = join_all(subscribers.iter_mut().map(|subscriber| subscriber.events(TOTAL + TOTAL / 3)));
    let (_, seen) = futures_util::future::join(publishers, read).await;
    let of = |events: &[crate::support::subscriber::Delivered], channel: &str| -> Vec<(String, Value)> {
        let here = events.iter().filter(|delivered| delivered.event["type"] == channel);
        here.map(|delivered| (delivered.position.clone(), delivered.event.clone())).collect()
    };
    for channel in ["inventory-change", "order-status"] {
        let first = of(&seen[0], channel);
        for ((position, _), expected) in first.iter().zip(1..) {
            assert_eq!(epoch_and_offset(position), (epoch_and_offset(&first[0].0).0, expected), "offsets rise by one");
        }
        for other in &seen[1..] {
            assert!(of(other, channel) == first, "all subscribers see the same events at the same positions");
        }
    }
    let mut next: HashMap<String, u64> = HashMap::new();
    for (_, event) in of(&seen[0], "inventory-change") {
        let next = next.entry(event["subject"].as_str().unwrap().to_owned()).or_default();
        assert_eq!(event["number"], *next, "a publisher's events stay in its order");
        *next += 1;
    }
    assert!(next.len() == PUBLISHERS && next.values().all(|count| *count == EACH as u64), "{next:?}");
}

async fn a_publisher_that_awaits_each_response_gets_rising_positions(broker: TestBroker) {
    let node = broker.node().await;
    let noise = async {
        for _ in 0..100 {
            node.publish(&sale("noise")).await;
        }
    };
    let mine = async {
        let mut last = 0;
        for _ in 0..100 {
            let accepted = node.publish(&sale("mine")).await.remove(0);
            let at = epoch_and_offset(&accepted.position).1;
            assert!(at > last, "{at} after {last}");
            last = at;
        }
    };
    futures_util::future::join(noise, mine).await;
}

async fn thousands_of_events_arrive_completely_and_in_order(broker: TestBroker) {
    let node = broker.node().await;
    let mut subscriber = Subscriber::to(&node, "inventory-change").await;
    let publish = async {
        for start in (0..6000).step_by(250) {
            let batch: Vec<Value> = (start..start + 250).map(|n| sale(&n.to_string())).collect();
            node.publish(&json!(batch)).await;
        }
    };
    let (events, ()) = futures_util::future::join(subscriber.events(6000), publish).await;
    for (n, delivered) in events.iter().enumerate() {
        assert_eq!(
            (epoch_and_offset(&delivered.position).1, delivered.event["subject"].as_str()),
            (n as u64 + 1, Some(&*n.to_string()))
        );
    }
}
