//! CloudEvents attributes: which names and values the daemon accepts, and how it reports the others.

use serde_json::{Value, json};

use crate::support::each_broker::{TestBroker, over_each_broker};
use crate::support::events::{sale, with};
use crate::support::subscriber::Subscriber;

over_each_broker!(
    valid_attributes_are_accepted,
    invalid_attributes_are_refused_with_a_pointer_to_them,
    null_counts_as_absent,
    an_event_without_its_type_or_data_is_refused,
    an_unknown_type_is_refused_with_its_code_and_pointer,
    all_mistakes_of_an_event_are_reported_at_once,
);

async fn valid_attributes_are_accepted(broker: TestBroker) {
    let node = broker.node().await;
    for (name, value) in [
        ("specversion", json!("1.0")),
        ("id", json!("i".repeat(256))),
        ("id", json!("é".repeat(256))),
        ("id", json!("😀".repeat(256))),
        ("source", json!("urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66")),
        ("source", json!("shop")),
        ("source", json!("mailto:a@b.example")),
        ("source", json!("http://[::1]:7400/a%20b?c#d")),
        ("dataschema", json!("/schemas/sale.json")),
        ("time", json!("2016-12-31T23:59:60Z")),
        ("time", json!("2026-02-28t23:59:59.5z")),
        ("time", json!("2026-02-28T23:59:59Z")),
        ("time", json!("2024-02-29T00:00:00.5-12:00")),
        ("datacontenttype", json!("application/json; charset=utf-8")),
        ("datacontenttype", json!("application/vnd.shop.sale+json")),
        ("subject", json!("anything at all, ä😀")),
        ("dataschema", json!("urn:x:y")),
        ("a", json!("")),
        ("0", json!(false)),
        ("verylongextensionattributename0123456789", json!(0)),
        ("tracestate", json!("a=1,b=2")),
    ] {
        let response = node.post(&with(sale("1"), name, value.clone())).await;
        assert_eq!(response.status, 202, "{name}={value}: {response:?}");
    }
}

async fn invalid_attributes_are_refused_with_a_pointer_to_them(broker: TestBroker) {
    let node = broker.node().await;
    for (name, value) in [
        ("specversion", json!("0.3")),
        ("specversion", json!("1")),
        ("specversion", json!(1.0)),
        ("id", json!("")),
        ("id", json!(7)),
        ("id", json!("i".repeat(257))),
        ("id", json!("a\u{0}b")),
        ("id", json!("a\nb")),
        ("id", json!("a\u{7f}b")),
        ("id", json!("a\u{85}b")),
        ("source", json!("")),
        ("source", json!("two words")),
        ("source", json!("%zz")),
        ("source", json!("<a>")),
        ("source", json!("http://[::1")),
        ("source", json!("a\\b")),
        ("source", json!("/\u{e4}")),
        ("dataschema", json!("")),
        ("dataschema", json!("http://[::1")),
        ("dataschema", json!("two words")),
        ("time", json!("2026-02-28T12:00:60Z")),
        ("source", json!(7)),
        ("time", json!("yesterday")),
        ("time", json!("2026-02-30T00:00:00Z")),
        ("time", json!("2025-02-29T00:00:00Z")),
        ("time", json!("2026-02-28T24:00:00Z")),
        ("time", json!("2026-02-28 00:00:00Z")),
        ("time", json!("2026-02-28T00:00:00")),
        ("time", json!("2026-02-28")),
        ("time", json!(1_770_000_000)),
        ("subject", json!(7)),
        ("subject", json!("a\tb")),
        ("datacontenttype", json!("text/plain")),
        ("datacontenttype", json!("application/xml")),
        ("datacontenttype", json!(true)),
        ("data_base64", json!("e30=")),
        ("Upper", json!("x")),
        ("with-dash", json!("x")),
        ("with_underscore", json!("x")),
        ("é", json!("x")),
        ("dot.ted", json!("x")),
        ("ext", json!(1.5)),
        ("ext", json!([])),
        ("ext", json!({})),
        ("ext", json!("bell\u{7}")),
        ("ext", json!("two\r\nlines")),
        ("causationid", json!({})),
        ("traceparent", json!(["x"])),
    ] {
        let pointers = node.post(&with(sale("1"), name, value.clone())).await.pointers("invalid-event");
        assert_eq!(pointers, [format!("/{name}")], "{value}");
    }
    for (name, pointer) in [("a/b", "/a~1b"), ("a~b", "/a~0b"), ("", "/")] {
        assert_eq!(node.post(&with(sale("1"), name, "x")).await.pointers("invalid-event"), [pointer], "{name:?}");
    }
    assert_eq!(node.channel("inventory-change").await["retained"], 0, "no refused event is in the log");
}

async fn null_counts_as_absent(broker: TestBroker) {
    let node = broker.node().await;
    let mut subscriber = Subscriber::to(&node, "inventory-change").await;
    let names = ["specversion", "id", "source", "time", "subject", "dataschema", "causationid", "traceparent", "own"];
    node.publish(&names.into_iter().fold(sale("1"), |event, name| with(event, name, Value::Null))).await;
    let event = subscriber.event().await.event;
    assert!(event.as_object().unwrap().values().all(|value| !value.is_null()), "{event}");
    assert_eq!((&event["specversion"], &event["subject"]), (&json!("1.0"), &json!("1")));
    assert_eq!(event.get("own"), None);
}

async fn an_event_without_its_type_or_data_is_refused(broker: TestBroker) {
    let node = broker.node().await;
    let pointers = async |document: Value| node.post(&document).await.pointers("invalid-event");
    assert_eq!(pointers(json!({"data": {}})).await, ["/type"]);
    assert_eq!(pointers(with(sale("1"), "type", Value::Null)).await, ["/type"]);
    assert_eq!(pointers(with(sale("1"), "type", 7)).await, ["/type"]);
    assert_eq!(pointers(json!({"type": "inventory-change"})).await, ["/data"]);
    assert_eq!(pointers(with(sale("1"), "data", Value::Null)).await, ["/data"]);
    assert_eq!(pointers(json!({})).await, ["/data", "/type"]);
}

async fn an_unknown_type_is_refused_with_its_code_and_pointer(broker: TestBroker) {
    let node = broker.node().await;
    // None of these is a type, though `event` is the name of a schema and `__proto__` has a meaning in JavaScript.
    for name in ["inventory-chnage", "Inventory-Change", "event", "__proto__", "inventory-change "] {
        assert_eq!(node.post(&with(sale("1"), "type", name)).await.pointers("unknown-type"), ["/type"], "{name}");
    }
}

async fn all_mistakes_of_an_event_are_reported_at_once(broker: TestBroker) {
    let node = broker.node().await;
    let wrong = json!({"type": "inventory-change", "Time": "x", "time": "yesterday",
        "data": {"productID": "1", "oldQuantity": "7", "newQuantity": 1.5, "reason": null}});
    let expected = [
        "/Time",
        "/data/newQuantity",
        "/data/oldQuantity",
        "/data/productID",
        "/data/productId",
        "/data/reason",
        "/time",
    ];
    assert_eq!(node.post(&wrong).await.pointers("invalid-event"), expected);
}
