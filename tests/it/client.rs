//! The Rust client at a real node: several subscriptions to one channel, each from its own place.

use serde_json::{Value, json};
use tidings::client::{Client, Subscriber, Subscription, Update};

use crate::support::each_broker::{TestBroker, over_each_broker};
use crate::support::events::sale;
use crate::support::node::Node;
use crate::support::within;

over_each_broker!(
    one_that_begins_now_and_one_that_begins_in_the_past,
    more_than_can_be_asked_for_before_their_events_begin,
);

const CHANNEL: &str = "inventory-change";

/// Publishes sales of the products with these numbers.
async fn publish(node: &Node, products: std::ops::Range<usize>) {
    let events: Vec<Value> = products.map(|product| sale(&product.to_string())).collect();
    node.publish(&json!(events)).await;
}

/// The products of the next events; what else is told is passed over.
async fn products(subscriber: &mut Subscriber, count: usize) -> Vec<usize> {
    let mut products = Vec::new();
    while products.len() < count {
        if let Update::Event(delivery) = within("an update", subscriber.next()).await.unwrap() {
            let event: Value = serde_json::from_str(delivery.event.get()).unwrap();
            products.push(event["data"]["productId"].as_str().unwrap().parse().unwrap());
        }
    }
    products
}

async fn one_that_begins_now_and_one_that_begins_in_the_past(broker: TestBroker) {
    let node = broker.node().await;
    let wanted = json!({"productId": ["3", "50", "103"]});
    let client = Client::new(&node.url("")).unwrap();
    let past = Subscription::to(CHANNEL).since("start").only(wanted);
    publish(&node, 0..100).await;
    let mut subscriber = client.subscribe([Subscription::to(CHANNEL), past]);
    assert_eq!(products(&mut subscriber, 2).await, [3, 50]);
    publish(&node, 100..110).await;
    assert_eq!(products(&mut subscriber, 10).await, (100..110).collect::<Vec<_>>());
    subscriber.close().await;
}

async fn more_than_can_be_asked_for_before_their_events_begin(broker: TestBroker) {
    const MANY: usize = 100;
    let node = broker.node().await;
    let client = Client::new(&node.url("")).unwrap();
    publish(&node, 0..MANY).await;
    let each =
        |product: usize| Subscription::to(CHANNEL).since("start").only(json!({"productId": product.to_string()}));
    let mut subscriber = client.subscribe((0..MANY).map(each));
    let mut got = products(&mut subscriber, MANY).await;
    got.sort_unstable();
    assert_eq!(got, (0..MANY).collect::<Vec<_>>());
    publish(&node, 0..MANY).await;
    assert_eq!(products(&mut subscriber, MANY).await, (0..MANY).collect::<Vec<_>>());
    subscriber.close().await;
}
