//! The Rust client with a real node: several subscriptions to one channel, each from its own position.

use serde_json::{Value, json};
use tidings::client::{Client, HistoryQuery, Subscriber, Subscription, Update};
use tokio_stream::StreamExt;

use crate::support::each_broker::{TestBroker, over_each_broker};
use crate::support::events::sale;
use crate::support::node::Node;
use crate::support::within;

over_each_broker!(
    a_live_and_a_replaying_subscription_share_a_channel,
    a_hundred_replaying_subscriptions_share_a_channel,
    updates_are_a_stream,
    a_subscription_is_added_before_and_after_the_connection,
    an_age_that_the_log_no_longer_reaches_is_a_gap,
);

const CHANNEL: &str = "inventory-change";

/// Publishes one sale for each of these product numbers.
async fn publish(node: &Node, products: std::ops::Range<usize>) {
    let events: Vec<Value> = products.map(|product| sale(&product.to_string())).collect();
    node.publish(&json!(events)).await;
}

/// The products of the next `count` events. Skips other updates.
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

async fn a_live_and_a_replaying_subscription_share_a_channel(broker: TestBroker) {
    let node = broker.node().await;
    let filter = json!({"productId": ["3", "50", "103"]});
    let client = Client::new(&node.url("")).unwrap();
    let past = Subscription::to(CHANNEL).since("start").filter(filter);
    publish(&node, 0..100).await;
    let mut subscriber = client.subscribe([Subscription::to(CHANNEL), past]);
    assert_eq!(products(&mut subscriber, 2).await, [3, 50]);
    publish(&node, 100..110).await;
    assert_eq!(products(&mut subscriber, 10).await, (100..110).collect::<Vec<_>>());
    subscriber.close().await;
}

async fn a_hundred_replaying_subscriptions_share_a_channel(broker: TestBroker) {
    const SUBSCRIPTIONS: usize = 100;
    let node = broker.node().await;
    let client = Client::new(&node.url("")).unwrap();
    publish(&node, 0..SUBSCRIPTIONS).await;
    let subscription =
        |product: usize| Subscription::to(CHANNEL).since("start").filter(json!({"productId": product.to_string()}));
    let mut subscriber = client.subscribe((0..SUBSCRIPTIONS).map(subscription));
    let mut received = products(&mut subscriber, SUBSCRIPTIONS).await;
    received.sort_unstable();
    assert_eq!(received, (0..SUBSCRIPTIONS).collect::<Vec<_>>());
    publish(&node, 0..SUBSCRIPTIONS).await;
    assert_eq!(products(&mut subscriber, SUBSCRIPTIONS).await, (0..SUBSCRIPTIONS).collect::<Vec<_>>());
    subscriber.close().await;
}

async fn updates_are_a_stream(broker: TestBroker) {
    let node = broker.node().await;
    publish(&node, 0..5).await;
    let subscriber = Client::new(&node.url("")).unwrap().subscribe([Subscription::to(CHANNEL).since("start")]);
    let events = subscriber.into_stream().filter_map(|update| match update.unwrap() {
        Update::Event(delivery) => Some(delivery.position.offset),
        _ => None,
    });
    let offsets: Vec<u64> = within("five events", events.take(5).collect()).await;
    assert_eq!(offsets, [1, 2, 3, 4, 5]);
}

async fn a_subscription_is_added_before_and_after_the_connection(broker: TestBroker) {
    let node = broker.node().await;
    publish(&node, 0..3).await;
    let mut subscriber = Client::new(&node.url("")).unwrap().subscribe([Subscription::to("order-status")]);
    subscriber.add(Subscription::to(CHANNEL).since("start").filter(json!({"productId": ["1", "4"]})));
    assert_eq!(products(&mut subscriber, 1).await, [1]);
    // Begins before what the stream of the channel has reached.
    subscriber.add(Subscription::to(CHANNEL).since("start").filter(json!({"productId": ["0", "5"]})));
    assert_eq!(products(&mut subscriber, 1).await, [0]);
    publish(&node, 3..6).await;
    assert_eq!(products(&mut subscriber, 2).await, [4, 5]);
    subscriber.close().await;
}

async fn an_age_that_the_log_no_longer_reaches_is_a_gap(broker: TestBroker) {
    let node = broker.node_with(|config| config.broker.log_max_events = 5).await;
    publish(&node, 0..10).await;
    let client = Client::new(&node.url("")).unwrap();
    let mut subscriber = client.subscribe([Subscription::to(CHANNEL).since("10m")]);
    let gap = loop {
        match within("a gap", subscriber.next()).await.unwrap() {
            Update::Gap { from, position, .. } => break (from.offset, position.offset),
            Update::Event(delivery) => panic!("{} comes before the gap", delivery.position),
            _ => {}
        }
    };
    assert_eq!(gap, (0, 5));
    assert_eq!(products(&mut subscriber, 5).await, [5, 6, 7, 8, 9]);
    let page = client.history(&HistoryQuery::default().channel(CHANNEL).since("10m")).await.unwrap();
    let gaps: Vec<_> = page.gaps.iter().map(|gap| (gap.from.offset, gap.position.offset)).collect();
    assert_eq!((gaps, page.events.len()), (vec![(0, 5)], 5));
}
