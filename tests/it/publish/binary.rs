//! CloudEvents binary mode: the attributes are in `ce-*` headers, and the body is `data`.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::each_broker::{TestBroker, over_each_broker};
use crate::support::events::{order, sale, sale_data};
use crate::support::http::Response;
use crate::support::node::Node;
use crate::support::subscriber::Subscriber;

over_each_broker!(
    headers_are_attributes_and_the_body_is_the_data,
    ce_type_is_the_only_required_header,
    header_values_are_percent_decoded,
    a_header_value_that_is_not_utf8_is_refused,
    headers_may_be_raw_utf8_or_quoted,
    a_charset_other_than_utf8_is_refused,
    error_pointers_start_at_the_body,
    attributes_in_headers_follow_the_same_rules,
    an_unknown_type_is_refused_with_its_code,
    a_body_that_is_not_json_is_malformed,
    json_media_types_are_accepted_and_others_are_refused,
    a_structured_content_type_takes_precedence_over_ce_headers,
);

/// Posts a JSON body with these headers.
async fn post(node: &Node, headers: &[(&str, &str)], body: &Value) -> Response {
    post_text(node, headers, body.to_string()).await
}

/// Posts any body with these headers.
async fn post_text(node: &Node, headers: &[(&str, &str)], body: impl Into<reqwest::Body>) -> Response {
    let request = node.request(Method::POST, "/v1/events");
    Response::to(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).body(body)).await
}

async fn headers_are_attributes_and_the_body_is_the_data(broker: TestBroker) {
    let node = broker.node().await;
    let mut subscriber = Subscriber::to(&node, "inventory-change").await;
    let headers = [
        ("content-type", "application/json"),
        ("ce-specversion", "1.0"),
        ("ce-type", "inventory-change"),
        ("ce-id", "b-1"),
        ("ce-source", "/shop"),
        ("ce-time", "2026-02-28T23:59:59Z"),
        ("ce-subject", "mine"),
        ("ce-traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ];
    let accepted = post(&node, &headers, &sale_data("1")).await.accepted();
    assert_eq!(accepted[0].id, "b-1");
    let event = subscriber.event().await.event;
    for (name, value) in &headers[1..] {
        assert_eq!(event[&name[3..]], *value, "{name}");
    }
    assert_eq!(event["data"], sale_data("1"));
}

async fn ce_type_is_the_only_required_header(broker: TestBroker) {
    let node = broker.node().await;
    let mut subscriber = Subscriber::to(&node, "inventory-change").await;
    let accepted = post(&node, &[("ce-type", "inventory-change")], &sale_data("7")).await.accepted();
    let event = subscriber.event().await.event;
    assert_eq!((&event["specversion"], &event["subject"]), (&json!("1.0"), &json!("7")));
    assert_eq!(event["id"], accepted[0].id.as_str());
}

async fn header_values_are_percent_decoded(broker: TestBroker) {
    let node = broker.node().await;
    let mut subscriber = Subscriber::to(&node, "inventory-change").await;
    let headers =
        [("ce-type", "inventory-change"), ("ce-subject", "Euro %E2%82%AC %F0%9F%98%80 100%25"), ("ce-id", "a%20b")];
    assert_eq!(post(&node, &headers, &sale_data("1")).await.accepted()[0].id, "a b");
    assert_eq!(subscriber.event().await.event["subject"], "Euro € 😀 100%");
}

async fn a_header_value_that_is_not_utf8_is_refused(broker: TestBroker) {
    let node = broker.node().await;
    let headers = [("ce-type", "inventory-change"), ("ce-subject", "%FF%FE")];
    post(&node, &headers, &sale_data("1")).await.problem(422, "invalid-event");
}

async fn headers_may_be_raw_utf8_or_quoted(broker: TestBroker) {
    let node = broker.node().await;
    let mut subscriber = Subscriber::to(&node, "inventory-change").await;
    for (value, text) in [
        ("Gr\u{f6}\u{df}e \u{20ac} \u{1f600}".as_bytes(), "Gr\u{f6}\u{df}e \u{20ac} \u{1f600}"),
        ("\u{f6}%20%C3%B6".as_bytes(), "\u{f6} \u{f6}"),
        (br#""Euro \"and\" \\ %E2%82%AC""#, "Euro \"and\" \\ \u{20ac}"),
        (br#"say "hi""#, r#"say "hi""#),
    ] {
        let request = node.request(Method::POST, "/v1/events").header("ce-type", "inventory-change");
        let request = request.header("ce-subject", value).header("ce-myextension", value);
        Response::to(request.body(sale_data("1").to_string())).await.accepted();
        let event = subscriber.event().await.event;
        assert_eq!((&event["subject"], &event["myextension"]), (&json!(text), &json!(text)));
    }
    let latin1 = node.request(Method::POST, "/v1/events").header("ce-type", "inventory-change");
    let refused = Response::to(latin1.header("ce-subject", &b"caf\xe9"[..]).body(sale_data("1").to_string())).await;
    let problem = refused.problem(422, "invalid-event");
    assert!(problem["detail"].as_str().unwrap().contains("ce-subject is not UTF-8"), "{problem}");
}

async fn a_charset_other_than_utf8_is_refused(broker: TestBroker) {
    let node = broker.node().await;
    for (charset, status) in
        [("utf-8", 202), ("\"UTF-8\"", 202), ("us-ascii", 202), ("utf-16", 415), ("ISO-8859-1", 415)]
    {
        let content_type = format!("application/json; charset={charset}");
        let headers = [("ce-type", "inventory-change"), ("content-type", &content_type)];
        let binary = post(&node, &headers, &sale_data("1")).await;
        let structured = node.post_as(&content_type, sale("1").to_string()).await;
        for response in [binary, structured] {
            assert_eq!(response.status, status, "{charset}: {response:?}");
            if status == 415 {
                let problem = response.problem(415, "unsupported-media-type");
                assert!(problem["detail"].as_str().unwrap().contains("UTF-8"), "{problem}");
            }
        }
    }
}

async fn error_pointers_start_at_the_body(broker: TestBroker) {
    let node = broker.node().await;
    let headers = [("ce-type", "inventory-change"), ("content-type", "application/json")];
    let wrong = json!({"productID": "1", "oldQuantity": "7", "newQuantity": 1, "reason": "x"});
    let pointers = post(&node, &headers, &wrong).await.pointers("invalid-event");
    assert_eq!(pointers, ["/oldQuantity", "/productID", "/productId"]);
}

async fn attributes_in_headers_follow_the_same_rules(broker: TestBroker) {
    let node = broker.node().await;
    for (name, value) in [
        ("ce-time", "yesterday"),
        ("ce-specversion", "0.3"),
        ("ce-source", "two words"),
        ("ce-id", "tab%09here"),
        ("ce-with-dash", "x"),
    ] {
        let headers = [("ce-type", "inventory-change"), (name, value)];
        post(&node, &headers, &sale_data("1")).await.problem(422, "invalid-event");
    }
    assert_eq!(node.channel("inventory-change").await["retained"], 0);
}

async fn an_unknown_type_is_refused_with_its_code(broker: TestBroker) {
    let node = broker.node().await;
    post(&node, &[("ce-type", "no-such-type")], &json!({})).await.problem(422, "unknown-type");
}

async fn a_body_that_is_not_json_is_malformed(broker: TestBroker) {
    let node = broker.node().await;
    post_text(&node, &[("ce-type", "inventory-change")], "{\"productId\":").await.problem(400, "malformed-json");
}

async fn json_media_types_are_accepted_and_others_are_refused(broker: TestBroker) {
    let node = broker.node().await;
    let vendor = [("ce-type", "inventory-change"), ("content-type", "application/vnd.shop.sale+json")];
    post(&node, &vendor, &sale_data("1")).await.accepted();
    for other in ["text/plain", "application/xml", "application/octet-stream"] {
        let headers = [("ce-type", "inventory-change"), ("content-type", other)];
        let response = post(&node, &headers, &sale_data("1")).await;
        // Content-Type is both the media type of the request (415) and the event's `datacontenttype` (422); both are refusals.
        assert!([415, 422].contains(&response.status), "{other}: {response:?}");
    }
}

async fn a_structured_content_type_takes_precedence_over_ce_headers(broker: TestBroker) {
    let node = broker.node().await;
    let headers = [("ce-type", "inventory-change"), ("content-type", "application/cloudevents+json")];
    assert_eq!(post(&node, &headers, &order("1")).await.accepted()[0].event_type, "order-status");
}
