//! Batches: many events in one request are accepted or refused together, and keep their order.

use serde_json::{Value, json};

use crate::support::each_broker::{TestBroker, over_each_broker_and_tls};
use crate::support::events::{offset, one_of_each, order, sale, with, without_data};
use crate::support::subscriber::Subscriber;

over_each_broker_and_tls!(
    a_batch_is_accepted_and_delivered_in_its_order,
    a_cloudevents_batch_is_accepted,
    one_invalid_event_refuses_the_whole_batch,
    up_to_100_mistakes_of_a_batch_are_reported,
    an_empty_batch_is_accepted_and_publishes_nothing,
    a_batch_has_at_most_1000_events,
    one_event_over_the_size_limit_refuses_the_batch,
    single_and_batch_content_types_are_not_interchangeable,
    an_array_element_that_is_not_an_event_is_reported_by_its_index,
);

const BATCH: &str = "application/cloudevents-batch+json";

async fn a_batch_is_accepted_and_delivered_in_its_order(broker: TestBroker) {
    let node = broker.node().await;
    let mut stock = Subscriber::to(&node, "inventory-change").await;
    let batch: Vec<Value> = (0..20)
        .map(|n| with(if n % 3 == 0 { order("o") } else { sale(&n.to_string()) }, "id", format!("id-{n}")))
        .collect();
    let accepted = node.publish(&json!(batch)).await;
    assert_eq!(accepted.len(), 20);
    for (n, entry) in accepted.iter().enumerate() {
        assert_eq!(entry.id, format!("id-{n}"));
        assert_eq!(entry.event_type, batch[n]["type"]);
    }
    let of_stock: Vec<_> = accepted.iter().filter(|entry| entry.event_type == "inventory-change").collect();
    for (entry, expected) in of_stock.iter().zip(1..) {
        assert_eq!(offset(&entry.position), expected);
        let delivered = stock.event().await;
        assert_eq!((&delivered.position, delivered.event["id"].as_str()), (&entry.position, Some(entry.id.as_str())));
    }
}

async fn a_cloudevents_batch_is_accepted(broker: TestBroker) {
    let node = broker.node().await;
    let batch = json!(one_of_each().map(|(event, _)| event));
    let accepted = node.post_as(BATCH, batch.to_string()).await.accepted();
    let types: Vec<&str> = accepted.iter().map(|entry| entry.event_type.as_str()).collect();
    assert_eq!(types, crate::support::events::TYPES);
}

async fn one_invalid_event_refuses_the_whole_batch(broker: TestBroker) {
    let node = broker.node().await;
    let mut subscriber = Subscriber::to(&node, "inventory-change").await;
    let batch = json!([sale("1"), without_data(sale("2"), "reason"), sale("3")]);
    assert_eq!(node.post(&batch).await.pointers("invalid-event"), ["/1/data/reason"]);
    let mixed = json!([sale("4"), {"type": "no-such-type", "data": {}}]);
    assert_eq!(node.post(&mixed).await.pointers("unknown-type"), ["/1/type"]);
    node.publish(&sale("after")).await;
    let delivered = subscriber.event().await;
    assert_eq!(delivered.event["subject"], "after");
    assert_eq!(offset(&delivered.position), 1);
}

async fn up_to_100_mistakes_of_a_batch_are_reported(broker: TestBroker) {
    let node = broker.node().await;
    let wrong = json!({"type": "inventory-change", "data": {"productId": 1, "oldQuantity": 1, "newQuantity": 1}});
    let pointers = node.post(&json!([wrong, sale("1"), wrong])).await.pointers("invalid-event");
    assert_eq!(pointers, ["/0/data/productId", "/0/data/reason", "/2/data/productId", "/2/data/reason"]);
    let many: Vec<&Value> = std::iter::repeat_n(&wrong, 150).collect();
    assert_eq!(node.post(&json!(many)).await.pointers("invalid-event").len(), 100);
}

async fn an_empty_batch_is_accepted_and_publishes_nothing(broker: TestBroker) {
    let node = broker.node().await;
    assert_eq!(node.publish(&json!([])).await, []);
    assert_eq!(node.post_as(BATCH, "[]").await.accepted(), []);
}

async fn a_batch_has_at_most_1000_events(broker: TestBroker) {
    let node = broker.node().await;
    let events = |count: usize| json!((0..count).map(|n| sale(&n.to_string())).collect::<Vec<_>>());
    node.post(&events(1001)).await.problem(413, "payload-too-large");
    node.post_as(BATCH, events(1001).to_string()).await.problem(413, "payload-too-large");
    let accepted = node.publish(&events(1000)).await;
    assert_eq!(accepted.len(), 1000);
    assert_eq!(offset(&accepted[999].position), 1000, "no event of a refused batch is in the log");
}

async fn one_event_over_the_size_limit_refuses_the_batch(broker: TestBroker) {
    let node = broker.node_with(|config| config.limits.max_event_bytes = 2048).await;
    let large = with(sale("1"), "comment", "x".repeat(3000));
    node.post(&large).await.problem(413, "payload-too-large");
    node.post(&json!([sale("2"), large])).await.problem(413, "payload-too-large");
    let fits = with(sale("3"), "comment", "x".repeat(1000));
    assert_eq!(
        offset(&node.publish(&json!([fits, fits, fits])).await[0].position),
        1,
        "the limit applies to each event by itself"
    );
}

async fn single_and_batch_content_types_are_not_interchangeable(broker: TestBroker) {
    let node = broker.node().await;
    node.post_as(BATCH, sale("1").to_string()).await.problem(422, "invalid-event");
    let batch = json!([sale("1")]).to_string();
    node.post_as("application/cloudevents+json", batch).await.problem(422, "invalid-event");
}

async fn an_array_element_that_is_not_an_event_is_reported_by_its_index(broker: TestBroker) {
    let node = broker.node().await;
    for not_an_event in [json!(7), json!("x"), json!(null), json!([]), json!([sale("1")])] {
        let pointers = node.post(&json!([sale("1"), not_an_event])).await.pointers("invalid-event");
        assert!(
            pointers.iter().all(|pointer| pointer == "/1" || pointer.starts_with("/1/")),
            "{not_an_event}: {pointers:?}"
        );
    }
    for not_an_event in [json!(7), json!("x"), json!(null), json!({})] {
        node.post(&not_an_event).await.problem(422, "invalid-event");
    }
}
