//! Frames that the daemon refuses: each gets an `error` frame with the right code, and the connection stays open.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::each_broker::{TestBroker, over_each_broker};
use crate::support::events::sale;
use crate::support::http::members;
use crate::support::subscriber::Subscriber;

over_each_broker!(
    each_invalid_frame_gets_its_error_code,
    an_error_about_a_subscription_names_it,
    a_misspelt_where_is_refused_rather_than_ignored,
    a_subscription_name_has_at_most_64_characters,
    a_duplicate_subscription_name_is_refused_and_the_first_one_stays,
    unsubscribing_an_unknown_name_is_an_error,
    the_subscription_limit_holds_and_unsubscribing_frees_a_slot,
);

/// Sends `text`, and returns the `error` frame that it gets. Checks the frame's shape, and that the connection stays open.
async fn error_for(subscriber: &mut Subscriber, text: &str) -> Value {
    subscriber.send(Message::text(text)).await;
    let error = subscriber.frame_of("error").await;
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{error}");
    let known = ["code", "id", "message", "sub", "type"];
    assert!(members(&error).iter().all(|name| known.contains(name)), "{error}");
    subscriber.pong_is_next().await;
    error
}

async fn each_invalid_frame_gets_its_error_code(broker: TestBroker) {
    let node = broker.node().await;
    let mut subscriber = Subscriber::connect(&node).await;
    let subscribe = |rest: &str| format!(r#"{{"type":"subscribe","sub":"s"{rest}}}"#);
    let filtered = |filter: &str| subscribe(&format!(r#","channel":"inventory-change","where":{filter}"#));
    for (text, code) in [
        ("", "malformed-json"),
        ("hello", "malformed-json"),
        ("{\"type\":\"ping\"", "malformed-json"),
        ("{\"type\":\"ping\"}{\"type\":\"ping\"}", "malformed-json"),
        ("[]", "invalid-frame"),
        ("7", "invalid-frame"),
        ("null", "invalid-frame"),
        ("\"ping\"", "invalid-frame"),
        ("{}", "invalid-frame"),
        (r#"{"type":7}"#, "invalid-frame"),
        (r#"{"type":null}"#, "invalid-frame"),
        (r#"{"type":"subcribe","sub":"s","channel":"order-status"}"#, "unknown-frame"),
        (r#"{"type":"event"}"#, "unknown-frame"),
        (r#"{"type":"Ping"}"#, "unknown-frame"),
        (r#"{"type":""}"#, "unknown-frame"),
        (r#"{"type":"ping","extra":1}"#, "invalid-frame"),
        (r#"{"type":"subscribe"}"#, "invalid-frame"),
        (r#"{"type":"subscribe","channel":"order-status"}"#, "invalid-frame"),
        (r#"{"type":"subscribe","sub":7,"channel":"order-status"}"#, "invalid-frame"),
        (r#"{"type":"unsubscribe"}"#, "invalid-frame"),
        (r#"{"type":"sync"}"#, "invalid-frame"),
        (r#"{"type":"sync","id":7}"#, "invalid-frame"),
        (r#"{"type":"sync","id":""}"#, "invalid-frame"),
        (r#"{"type":"sync","id":"7","channel":"order-status"}"#, "invalid-frame"),
        (r#"{"type":"synced","id":"7"}"#, "unknown-frame"),
        (r#"{"type":"unsubscribe","sub":"s","channel":"order-status"}"#, "invalid-frame"),
        (&subscribe(""), "invalid-frame"),
        (&subscribe(r#","channel":null"#), "invalid-frame"),
        (&subscribe(r#","channel":["order-status"]"#), "invalid-frame"),
        (&subscribe(r#","channel":"order-status","filter":{}"#), "invalid-frame"),
        (&subscribe(r#","channel":"no-such-channel""#), "unknown-channel"),
        (&subscribe(r#","channel":"""#), "unknown-channel"),
        (&subscribe(r#","channel":"event""#), "unknown-channel"),
        (&filtered(r#"{"productid":"1"}"#), "unknown-field"),
        (&filtered(r#"{"productId.x":"1"}"#), "unknown-field"),
        (&filtered(r#"{"":"1"}"#), "unknown-field"),
        (&filtered(r#"{"id":"1"}"#), "unknown-field"),
        (&filtered("[]"), "invalid-filter"),
        (&filtered("\"productId\""), "invalid-filter"),
        (&filtered(r#"{"productId":{"suffix":"1"}}"#), "invalid-filter"),
        (&filtered(r#"{"productId":{"prefix":1}}"#), "invalid-filter"),
        (&filtered(r#"{"productId":{"prefix":"1","x":1}}"#), "invalid-filter"),
        (&filtered(r#"{"productId":{}}"#), "invalid-filter"),
        (&filtered(r#"{"productId":[["1"]]}"#), "invalid-filter"),
        (&filtered(r#"{"productId":[{"prefix":"1"}]}"#), "invalid-filter"),
    ] {
        assert_eq!(error_for(&mut subscriber, text).await["code"], code, "{text}");
    }
    subscriber.subscribe("s", "inventory-change").await;
}

async fn an_error_about_a_subscription_names_it(broker: TestBroker) {
    let node = broker.node().await;
    let mut subscriber = Subscriber::connect(&node).await;
    for text in [
        r#"{"type":"subscribe","sub":"mine","channel":"no-such-channel"}"#,
        r#"{"type":"subscribe","sub":"mine","channel":"order-status","where":{"x":1}}"#,
        r#"{"type":"subscribe","sub":"mine","channel":"order-status","were":{}}"#,
        r#"{"type":"unsubscribe","sub":"mine"}"#,
    ] {
        assert_eq!(error_for(&mut subscriber, text).await["sub"], "mine", "{text}");
    }
    assert_eq!(error_for(&mut subscriber, "{").await.get("sub"), None);
}

async fn a_misspelt_where_is_refused_rather_than_ignored(broker: TestBroker) {
    let node = broker.node().await;
    let mut subscriber = Subscriber::connect(&node).await;
    let text = r#"{"type":"subscribe","sub":"s","channel":"inventory-change","Where":{"productId":"1"}}"#;
    assert_eq!(error_for(&mut subscriber, text).await["code"], "invalid-frame");
    let mut witness = Subscriber::to(&node, "inventory-change").await;
    node.publish(&sale("2")).await;
    witness.event().await;
    subscriber.pong_is_next().await;
}

async fn a_subscription_name_has_at_most_64_characters(broker: TestBroker) {
    let node = broker.node().await;
    let mut subscriber = Subscriber::connect(&node).await;
    for name in ["x".repeat(64), "é".repeat(64), "😀".repeat(64)] {
        assert_eq!(subscriber.subscribe(&name, "order-status").await["sub"], name);
    }
    for name in ["x".repeat(65), "é".repeat(65)] {
        let text = json!({"type": "subscribe", "sub": name, "channel": "order-status"}).to_string();
        assert_eq!(error_for(&mut subscriber, &text).await["code"], "invalid-frame");
    }
}

async fn a_duplicate_subscription_name_is_refused_and_the_first_one_stays(broker: TestBroker) {
    let node = broker.node().await;
    let mut subscriber = Subscriber::to(&node, "inventory-change").await;
    let text = r#"{"type":"subscribe","sub":"s","channel":"order-status"}"#;
    let error = error_for(&mut subscriber, text).await;
    assert_eq!((&error["code"], &error["sub"]), (&json!("duplicate-subscription"), &json!("s")));
    node.publish(&sale("1")).await;
    assert_eq!(subscriber.event().await.event["subject"], "1");
}

async fn unsubscribing_an_unknown_name_is_an_error(broker: TestBroker) {
    let node = broker.node().await;
    let mut subscriber = Subscriber::to(&node, "inventory-change").await;
    let error = error_for(&mut subscriber, r#"{"type":"unsubscribe","sub":"other"}"#).await;
    assert_eq!((&error["code"], &error["sub"]), (&json!("unknown-subscription"), &json!("other")));
    subscriber.say(json!({"type": "unsubscribe", "sub": "s"})).await;
    subscriber.frame_of("unsubscribed").await;
    let again = error_for(&mut subscriber, r#"{"type":"unsubscribe","sub":"s"}"#).await;
    assert_eq!(again["code"], "unknown-subscription");
}

async fn the_subscription_limit_holds_and_unsubscribing_frees_a_slot(broker: TestBroker) {
    let node = broker.node_with(|config| config.websocket.max_subscriptions = 3).await;
    let mut subscriber = Subscriber::connect(&node).await;
    for name in ["a", "b", "c"] {
        subscriber.subscribe(name, "order-status").await;
    }
    let one_more = r#"{"type":"subscribe","sub":"d","channel":"order-status"}"#;
    let error = error_for(&mut subscriber, one_more).await;
    assert_eq!((&error["code"], &error["sub"]), (&json!("too-many-subscriptions"), &json!("d")));
    subscriber.say(json!({"type": "unsubscribe", "sub": "b"})).await;
    subscriber.frame_of("unsubscribed").await;
    subscriber.subscribe("d", "order-status").await;
    let mut other = Subscriber::connect(&node).await;
    other.subscribe("a", "order-status").await;
}
