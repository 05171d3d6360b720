//! Deduplication: an event with the same type and id is appended once within the window. A retry gets the first position.

use std::time::Duration;

use serde_json::json;

use crate::support::each_broker::{TestBroker, over_each_broker};
use crate::support::events::{offset, order, sale, with};
use crate::support::subscriber::Subscriber;
use crate::support::until;

over_each_broker!(
    a_repeated_id_gets_its_first_position_and_is_not_delivered_again,
    a_repeated_id_keeps_the_first_content,
    an_id_repeated_within_a_batch_is_appended_once,
    the_same_id_in_two_types_is_no_duplicate,
    a_retried_batch_appends_only_the_missing_events,
    of_concurrent_publishers_of_one_id_exactly_one_is_first,
    after_the_window_an_id_is_appended_again,
);

async fn a_repeated_id_gets_its_first_position_and_is_not_delivered_again(broker: TestBroker) {
    let node = broker.node().await;
    let mut subscriber = Subscriber::to(&node, "inventory-change").await;
    let event = with(sale("1"), "id", "same");
    let first = node.publish(&event).await.remove(0);
    node.publish(&sale("between")).await;
    let again = node.publish(&event).await.remove(0);
    assert!(again.duplicate && !first.duplicate);
    assert_eq!((again.position, again.id), (first.position.clone(), first.id));
    node.publish(&sale("after")).await;
    let seen = subscriber.events(3).await;
    let subjects: Vec<_> = seen.iter().map(|delivered| delivered.event["subject"].as_str().unwrap()).collect();
    assert_eq!(subjects, ["1", "between", "after"]);
    assert_eq!(offset(&seen[2].position), offset(&first.position) + 2, "a duplicate takes no position");
}

async fn a_repeated_id_keeps_the_first_content(broker: TestBroker) {
    let node = broker.node().await;
    let mut subscriber = Subscriber::to(&node, "inventory-change").await;
    node.publish(&with(sale("first"), "id", "same")).await;
    assert!(node.publish(&with(sale("second"), "id", "same")).await[0].duplicate);
    node.publish(&sale("after")).await;
    let subjects: Vec<_> =
        subscriber.events(2).await.into_iter().map(|delivered| delivered.event["subject"].clone()).collect();
    assert_eq!(subjects, ["first", "after"]);
}

async fn an_id_repeated_within_a_batch_is_appended_once(broker: TestBroker) {
    let node = broker.node().await;
    let mut subscriber = Subscriber::to(&node, "inventory-change").await;
    let accepted = node
        .publish(&json!([
            with(sale("a"), "id", "x"),
            with(sale("b"), "id", "y"),
            with(sale("c"), "id", "x"),
            sale("d")
        ]))
        .await;
    assert_eq!(accepted.iter().map(|entry| entry.duplicate).collect::<Vec<_>>(), [false, false, true, false]);
    assert_eq!(accepted[2].position, accepted[0].position);
    let subjects: Vec<_> =
        subscriber.events(3).await.into_iter().map(|delivered| delivered.event["subject"].clone()).collect();
    assert_eq!(subjects, ["a", "b", "d"]);
}

async fn the_same_id_in_two_types_is_no_duplicate(broker: TestBroker) {
    let node = broker.node().await;
    let accepted = node.publish(&json!([with(sale("1"), "id", "x"), with(order("1"), "id", "x")])).await;
    assert!(accepted.iter().all(|entry| !entry.duplicate), "{accepted:?}");
}

async fn a_retried_batch_appends_only_the_missing_events(broker: TestBroker) {
    let node = broker.node().await;
    let event = |id: &str| with(sale(id), "id", id);
    let first = node.publish(&json!([event("a"), event("b")])).await;
    let again = node.publish(&json!([event("a"), event("b"), event("c")])).await;
    assert_eq!(again.iter().map(|entry| entry.duplicate).collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(again[1].position, first[1].position);
    assert_eq!(offset(&again[2].position), offset(&first[1].position) + 1);
}

async fn of_concurrent_publishers_of_one_id_exactly_one_is_first(broker: TestBroker) {
    let node = broker.node().await;
    let event = with(sale("1"), "id", "same");
    let posts = (0..16).map(|_| node.publish(&event));
    let accepted: Vec<_> = futures_util::future::join_all(posts).await.into_iter().flatten().collect();
    assert_eq!(accepted.len(), 16);
    assert_eq!(accepted.iter().filter(|entry| !entry.duplicate).count(), 1);
    assert!(accepted.iter().all(|entry| entry.position == accepted[0].position));
}

async fn after_the_window_an_id_is_appended_again(broker: TestBroker) {
    let node = broker.node_with(|config| config.broker.dedup_window = Duration::from_millis(300)).await;
    let event = with(sale("1"), "id", "same");
    let first = node.publish(&event).await.remove(0);
    let appended_again = until("the deduplication window ends", async || {
        let entry = node.publish(&event).await.remove(0);
        (!entry.duplicate).then_some(entry)
    })
    .await;
    assert_eq!(offset(&appended_again.position), offset(&first.position) + 1);
}
