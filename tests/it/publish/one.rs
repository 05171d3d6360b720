//! Publishing one event: the response, the attributes that the daemon adds, and what subscribers receive.

use serde_json::{Value, json};

use crate::support::each_broker::{TestBroker, over_each_broker};
use crate::support::events::{epoch_and_offset, one_of_each, order, sale, with};
use crate::support::http::members;
use crate::support::subscriber::Subscriber;

over_each_broker!(
    the_response_has_the_id_type_and_position_of_the_event,
    offsets_rise_by_one_within_each_channel,
    missing_attributes_are_added_before_delivery,
    given_attributes_are_delivered_unchanged,
    the_subject_is_derived_from_the_key_of_the_type,
    a_given_subject_takes_precedence_over_the_key,
    structured_cloudevents_json_is_accepted,
    media_types_are_case_insensitive_and_may_have_parameters,
    text_in_any_script_is_delivered_unchanged,
);

async fn the_response_has_the_id_type_and_position_of_the_event(broker: TestBroker) {
    let node = broker.node().await;
    let accepted = node.publish(&with(sale("1"), "id", "my-id")).await;
    assert_eq!(accepted.len(), 1);
    assert_eq!((accepted[0].id.as_str(), accepted[0].event_type.as_str()), ("my-id", "inventory-change"));
    assert!(!accepted[0].duplicate);
    assert_eq!(epoch_and_offset(&accepted[0].position).1, 1, "the first event of a channel has offset 1");
}

async fn offsets_rise_by_one_within_each_channel(broker: TestBroker) {
    let node = broker.node().await;
    let mut positions = Vec::new();
    for product in ["a", "b", "c"] {
        positions.push(node.publish(&sale(product)).await.remove(0).position);
        node.publish(&order(product)).await;
    }
    let (epoch, first) = epoch_and_offset(&positions[0]);
    for (position, expected) in positions.iter().zip(first..) {
        assert_eq!(epoch_and_offset(position), (epoch, expected));
    }
}

async fn missing_attributes_are_added_before_delivery(broker: TestBroker) {
    let node = broker.node().await;
    let mut subscriber = Subscriber::to(&node, "inventory-change").await;
    let accepted = node.publish(&sale("123")).await.remove(0);
    let delivered = subscriber.event().await;
    assert_eq!(delivered.position, accepted.position);
    let event = delivered.event;
    assert_eq!(
        members(&event),
        ["data", "dataschema", "id", "source", "specversion", "subject", "time", "type"],
        "and nothing else: {event}"
    );
    assert_eq!(event["specversion"], "1.0");
    assert_eq!(event["type"], "inventory-change");
    assert_eq!(event["id"], accepted.id.as_str());
    assert_eq!(event["subject"], "123");
    assert_eq!(event["data"], sale("123")["data"]);
    assert_eq!(event["dataschema"], node.channel("inventory-change").await["schema"]);
    let id = uuid::Uuid::parse_str(&accepted.id).expect("an id made by the daemon is a UUID");
    assert_eq!(id.get_version_num(), 7);
    let time: jiff::Timestamp = event["time"].as_str().unwrap().parse().expect("a time is RFC 3339");
    assert!(time.duration_until(jiff::Timestamp::now()).as_secs().abs() < 60, "{time}");
    assert!(event["source"].as_str().is_some_and(|source| !source.is_empty()), "{event}");
}

async fn given_attributes_are_delivered_unchanged(broker: TestBroker) {
    let node = broker.node().await;
    let mut subscriber = Subscriber::to(&node, "inventory-change").await;
    let mut published = sale("123");
    for (name, value) in [
        ("specversion", json!("1.0")),
        ("id", json!("order 7/ä")),
        ("source", json!("//shop.example/checkout?x=%20#f")),
        ("time", json!("2026-02-28T23:59:59.123456789+01:00")),
        ("subject", json!("another subject")),
        ("dataschema", json!("https://shop.example/schemas/sale.json")),
        ("datacontenttype", json!("application/json")),
        ("causationid", json!("cause-1")),
        ("traceparent", json!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")),
        ("flag", json!(true)),
        ("count", json!(-7)),
        ("empty", json!("")),
    ] {
        published[name] = value;
    }
    node.publish(&published).await;
    assert_eq!(subscriber.event().await.event, published);
}

async fn the_subject_is_derived_from_the_key_of_the_type(broker: TestBroker) {
    let node = broker.node().await;
    for (event, subject) in one_of_each() {
        let mut subscriber = Subscriber::to(&node, event["type"].as_str().unwrap()).await;
        node.publish(&event).await;
        let delivered = subscriber.event().await.event;
        assert_eq!(delivered.get("subject").and_then(Value::as_str), subject, "{delivered}");
    }
}

async fn a_given_subject_takes_precedence_over_the_key(broker: TestBroker) {
    let node = broker.node().await;
    let mut subscriber = Subscriber::to(&node, "order-status").await;
    node.publish(&with(order("o-1"), "subject", "mine")).await;
    node.publish(&with(order("o-2"), "subject", Value::Null)).await;
    assert_eq!(subscriber.event().await.event["subject"], "mine");
    assert_eq!(subscriber.event().await.event["subject"], "o-2", "null counts as absent");
}

async fn structured_cloudevents_json_is_accepted(broker: TestBroker) {
    let node = broker.node().await;
    let mut subscriber = Subscriber::to(&node, "order-status").await;
    let full = json!({"specversion": "1.0", "type": "order-status", "id": "1", "source": "/shop",
        "data": order("o")["data"]});
    let accepted = node.post_as("application/cloudevents+json", full.to_string()).await.accepted();
    assert_eq!(accepted[0].id, "1");
    assert_eq!(subscriber.event().await.event["source"], "/shop");
    let bare = node.post_as("application/cloudevents+json", order("o").to_string()).await.accepted();
    assert_eq!(bare.len(), 1, "optional attributes are optional here too");
}

async fn media_types_are_case_insensitive_and_may_have_parameters(broker: TestBroker) {
    let node = broker.node().await;
    for content_type in [
        "application/json; charset=utf-8",
        "Application/JSON",
        "application/json;charset=\"UTF-8\"",
        "application/cloudevents+json; charset=utf-8",
        "APPLICATION/CLOUDEVENTS+JSON",
    ] {
        let response = node.post_as(content_type, sale("1").to_string()).await;
        assert_eq!(response.accepted().len(), 1, "{content_type}");
    }
}

async fn text_in_any_script_is_delivered_unchanged(broker: TestBroker) {
    let node = broker.node().await;
    let mut subscriber = Subscriber::to(&node, "inventory-change").await;
    for text in [
        "Größe 😀 \u{1F468}\u{200D}\u{1F469}",
        "\" \\ / \u{8}\u{c}\n\r\t",
        "\u{0}\u{7f}",
        "</script>",
        "\u{2028}\u{FEFF}\u{FFFD}",
    ] {
        let mut event = sale("1");
        event["data"]["reason"] = text.into();
        node.publish(&event).await;
        assert_eq!(subscriber.event().await.event["data"]["reason"], text);
    }
}
