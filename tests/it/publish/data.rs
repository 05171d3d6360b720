//! The `data` of the built-in types: which fields and values each type accepts, and how the others are reported.

use serde_json::{Value, json};
use tidings::event::Catalog;

use crate::support::each_broker::{TestBroker, over_each_broker};
use crate::support::events::{TYPES, one_of_each, with_data, without_data};
use crate::support::node::Node;
use crate::support::subscriber::Subscriber;

over_each_broker!(
    every_type_accepts_all_fields_of_the_contract,
    a_missing_field_is_reported_where_it_should_be,
    a_field_with_an_invalid_value_is_reported_with_its_pointer,
    every_type_refuses_unknown_fields,
    a_cache_invalidation_needs_at_least_one_target,
    data_that_is_not_an_object_is_refused,
    five_point_zero_is_an_integer,
    a_fraction_is_no_integer_however_small_it_is,
);

/// A valid event of this built-in type.
fn event(name: &str) -> Value {
    one_of_each().into_iter().map(|(event, _)| event).find(|event| event["type"] == name).expect("a built-in type")
}

async fn every_type_accepts_all_fields_of_the_contract(broker: TestBroker) {
    let node = broker.node().await;
    let (id, long_string) = ("é".repeat(256), "é".repeat(1024));
    let mut valid = vec![
        ("cache-invalidate", json!({"tags": ["a", id], "keys": ["k"], "prefixes": ["p:"], "reason": long_string})),
        ("cache-invalidate", json!({"tags": [], "keys": ["k"]})),
        ("cache-invalidate", json!({"prefixes": ["p"]})),
        ("cache-invalidate", json!({"tags": ["a"], "staleForMs": 0, "holdMs": 0})),
        ("cache-invalidate", json!({"tags": ["a"], "staleForMs": 9_007_199_254_740_991_i64, "holdMs": 60_000})),
        ("data-update", json!({"resource": id, "id": "1", "action": "create", "version": 0})),
        ("data-update", json!({"resource": "r", "id": id, "action": "delete", "version": -3})),
        (
            "inventory-change",
            json!({"productId": id, "variantId": id, "oldQuantity": -5, "newQuantity": 0, "reason": long_string}),
        ),
        ("order-status", json!({"orderId": id, "newStatus": "pending", "customerId": id})),
    ];
    for status in
        ["pending", "confirmed", "processing", "shipped", "delivered", "completed", "cancelled", "returned", "refunded"]
    {
        valid.push(("order-status", json!({"orderId": "1", "oldStatus": status, "newStatus": status})));
    }
    for (entity, currency) in
        [("payment", "USD"), ("refund", "JPY"), ("invoice", "CHF"), ("payout", "KWD"), ("adjustment", "XXX")]
    {
        let data = json!({"entity": entity, "id": id, "amountMinor": 9_007_199_254_740_991_i64, "currency": currency,
            "status": long_string});
        valid.push(("finance-change", data));
    }
    let mut subscriber = Subscriber::connect(&node).await;
    for name in TYPES {
        subscriber.subscribe(name, name).await;
    }
    for (name, data) in valid {
        let response = node.post(&json!({"type": name, "data": data})).await;
        assert_eq!(response.status, 202, "{data}: {response:?}");
        assert_eq!(subscriber.event().await.event["data"], data);
    }
}

async fn a_missing_field_is_reported_where_it_should_be(broker: TestBroker) {
    let node = broker.node().await;
    for (name, fields) in [
        ("data-update", &["resource", "id", "action"][..]),
        ("inventory-change", &["productId", "oldQuantity", "newQuantity", "reason"]),
        ("order-status", &["orderId", "newStatus"]),
        ("finance-change", &["entity", "id", "amountMinor", "currency"]),
    ] {
        for field in fields {
            let pointers = node.post(&without_data(event(name), field)).await.pointers("invalid-event");
            assert_eq!(pointers, [format!("/data/{field}")], "{name}");
        }
    }
}

async fn a_field_with_an_invalid_value_is_reported_with_its_pointer(broker: TestBroker) {
    let node = broker.node().await;
    let (long_id, long_text) = (json!("x".repeat(257)), json!("x".repeat(1025)));
    for (name, field, values) in [
        ("cache-invalidate", "tags", vec![json!("a"), json!({}), json!(null)]),
        ("cache-invalidate", "reason", vec![json!(1), long_text.clone()]),
        ("cache-invalidate", "staleForMs", vec![json!(-1), json!(0.5), json!(9_007_199_254_740_992_i64), json!("1s")]),
        ("cache-invalidate", "holdMs", vec![json!(-1), json!(60_001), json!(null)]),
        ("data-update", "resource", vec![json!(""), json!(1), json!(null), long_id.clone()]),
        ("data-update", "id", vec![json!(""), json!(1), long_id.clone()]),
        ("data-update", "action", vec![json!("upsert"), json!("Create"), json!(""), json!(0)]),
        ("data-update", "version", vec![json!("1"), json!(1.5), json!(true), json!([1])]),
        ("inventory-change", "productId", vec![json!(""), json!(123), json!(null), long_id.clone()]),
        ("inventory-change", "variantId", vec![json!(""), json!(1), long_id.clone()]),
        ("inventory-change", "oldQuantity", vec![json!("100"), json!(0.1), json!(null)]),
        ("inventory-change", "newQuantity", vec![json!("95"), json!(94.999), json!(1e300)]),
        ("inventory-change", "reason", vec![json!(7), json!(null), long_text.clone()]),
        ("order-status", "orderId", vec![json!(""), json!(7), long_id.clone()]),
        ("order-status", "newStatus", vec![json!("lost"), json!("Pending"), json!(null), json!(["pending"])]),
        ("order-status", "oldStatus", vec![json!("new"), json!(0)]),
        ("order-status", "customerId", vec![json!(""), json!({}), long_id.clone()]),
        ("finance-change", "entity", vec![json!("loan"), json!(1)]),
        ("finance-change", "id", vec![json!(""), json!(1), long_id]),
        ("finance-change", "amountMinor", vec![json!("1250"), json!(12.5), json!(null)]),
        ("finance-change", "currency", vec![json!("eur"), json!("EURO"), json!("ZZZ"), json!(""), json!(978)]),
        ("finance-change", "status", vec![json!(1), long_text]),
    ] {
        for value in values {
            let mut pointers = node.post(&with_data(event(name), field, value.clone())).await.pointers("invalid-event");
            // A number in an enum of strings is two mistakes with one pointer: the wrong type, and none of the values.
            pointers.dedup();
            assert_eq!(pointers, [format!("/data/{field}")], "{name}: {value}");
        }
    }
    for (field, value) in [("tags", json!([""])), ("keys", json!(["a", 1])), ("prefixes", json!(["x".repeat(257)]))] {
        let pointer = format!("/data/{field}/{}", value.as_array().unwrap().len() - 1);
        let response = node.post(&with_data(event("cache-invalidate"), field, value)).await;
        assert_eq!(response.pointers("invalid-event"), [pointer]);
    }
}

async fn every_type_refuses_unknown_fields(broker: TestBroker) {
    let node = broker.node().await;
    for name in TYPES {
        let response = node.post(&with_data(event(name), "extra", 1)).await;
        assert_eq!(response.pointers("invalid-event"), ["/data/extra"], "{name}");
    }
}

async fn a_cache_invalidation_needs_at_least_one_target(broker: TestBroker) {
    let node = broker.node().await;
    for data in
        [json!({}), json!({"reason": "x"}), json!({"tags": []}), json!({"tags": [], "keys": [], "prefixes": []})]
    {
        let pointers = node.post(&json!({"type": "cache-invalidate", "data": data})).await.pointers("invalid-event");
        assert!(
            !pointers.is_empty() && pointers.iter().all(|pointer| pointer.starts_with("/data")),
            "{data}: {pointers:?}"
        );
    }
}

async fn data_that_is_not_an_object_is_refused(broker: TestBroker) {
    let node = broker.node().await;
    for data in [json!([]), json!("x"), json!(7), json!(false), json!([{"productId": "1"}])] {
        for name in TYPES {
            let pointers = node.post(&json!({"type": name, "data": data})).await.pointers("invalid-event");
            assert_eq!(pointers, ["/data"], "{name}: {data}");
        }
    }
}

async fn five_point_zero_is_an_integer(broker: TestBroker) {
    let node = broker.node().await;
    let mut subscriber = Subscriber::connect(&node).await;
    subscriber.subscribe_where("s", "inventory-change", json!({"newQuantity": 5})).await;
    for (id, five) in [("a", "5.0"), ("b", "5"), ("c", "0.5e1"), ("d", "50e-1")] {
        let body = format!(
            r#"{{"type":"inventory-change","id":"{id}","data":{{"productId":"1","oldQuantity":{five},"newQuantity":{five},"reason":""}}}}"#
        );
        node.post_as("application/json", body).await.accepted();
        let delivered = subscriber.event().await.event;
        assert_eq!(delivered["id"], id);
        assert_eq!(delivered["data"]["newQuantity"].as_f64(), Some(5.0));
    }
}

/// A JavaScript client reads each of these as an integer, and the daemon's filters do not.
async fn a_fraction_is_no_integer_however_small_it_is(broker: TestBroker) {
    let mut catalog = Catalog::builtin();
    catalog.add("own", r#"{"type":"object","properties":{"n":{"type":"integer"}}}"#).unwrap();
    let node = Node::start_with(broker.config(), catalog).await;
    for fraction in
        ["4.9999999999999999999999", "5.0000000000000000000001", "9007199254740991.4", "1e-9999999999999999"]
    {
        let built_in = format!(
            r#"{{"type":"inventory-change","data":{{"productId":"1","oldQuantity":{fraction},"newQuantity":5,"reason":""}}}}"#
        );
        let pointers = node.post_as("application/json", built_in).await.pointers("invalid-event");
        assert_eq!(pointers, ["/data/oldQuantity"], "{fraction}");
        let own = format!(r#"{{"type":"own","data":{{"n":{fraction}}}}}"#);
        assert_eq!(node.post_as("application/json", own).await.pointers("invalid-event"), ["/data/n"], "{fraction}");
    }
}
