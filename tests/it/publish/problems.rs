//! Refusals that are about the request rather than the event, and what every answer bears.

use std::collections::HashSet;

use reqwest::Method;
use serde_json::json;

use crate::support::each_broker::{TestBroker, over_each_broker};
use crate::support::events::{sale, without_data};
use crate::support::http::Answer;

over_each_broker!(
    an_unknown_path_is_not_found,
    a_method_that_a_route_lacks_is_not_allowed_and_the_right_ones_are_named,
    a_content_type_that_is_no_json_is_unsupported,
    a_body_that_is_no_json_is_malformed,
    every_answer_bears_a_request_id_of_its_own,
    refusals_are_counted_by_their_code_and_clients_cannot_grow_the_metrics,
);

async fn an_unknown_path_is_not_found(broker: TestBroker) {
    let node = broker.node().await;
    for path in
        ["/nope", "/v1", "/v1/nope", "/v1/schemas/nope", "/v2/events", "/v1/events/x", "/v1/schemas/%2e%2e%2fevent"]
    {
        node.get(path).await.problem(404, "not-found");
    }
}

async fn a_method_that_a_route_lacks_is_not_allowed_and_the_right_ones_are_named(broker: TestBroker) {
    let node = broker.node().await;
    for (method, path, allowed) in [
        (Method::DELETE, "/v1/events", "POST"),
        (Method::PUT, "/v1/events", "POST"),
        (Method::POST, "/v1/channels", "GET"),
        (Method::POST, "/v1/schemas", "GET"),
        (Method::DELETE, "/v1/schemas/order-status", "GET"),
        (Method::POST, "/v1/ws", "GET"),
        (Method::POST, "/healthz", "GET"),
        (Method::POST, "/readyz", "GET"),
        (Method::POST, "/metrics", "GET"),
    ] {
        let answer = Answer::of(node.request(method.clone(), path)).await;
        answer.problem(405, "method-not-allowed");
        let named = answer.header("allow").unwrap_or_else(|| panic!("{method} {path}: no Allow"));
        assert!(named.split(',').any(|name| name.trim() == allowed), "{method} {path}: {named}");
    }
}

async fn a_content_type_that_is_no_json_is_unsupported(broker: TestBroker) {
    let node = broker.node().await;
    for content_type in
        ["text/plain", "application/xml", "application/x-www-form-urlencoded", "application/jsonx", "json"]
    {
        node.post_as(content_type, sale("1").to_string()).await.problem(415, "unsupported-media-type");
    }
    let bare = node.request(Method::POST, "/v1/events").body(sale("1").to_string());
    Answer::of(bare).await.problem(415, "unsupported-media-type");
}

async fn a_body_that_is_no_json_is_malformed(broker: TestBroker) {
    let node = broker.node().await;
    let whole = sale("1").to_string();
    let bodies: Vec<Vec<u8>> = vec![
        b"".into(),
        b" ".into(),
        b"{".into(),
        whole.as_bytes()[..whole.len() - 1].into(),
        format!("{whole}{whole}").into(),
        format!("{whole},").into(),
        b"{\"type\":NaN}".into(),
        b"{'type':'x'}".into(),
        b"{\"type\":\"\xff\"}".into(),
        b"{\"type\":\"a\x00b\"}".into(),
        b"[{\"type\":\"x\",}]".into(),
        // Nested deeper than a parser should follow.
        vec![b'['; 60_000],
        b"{\"a\":".repeat(10_000),
    ];
    for body in bodies {
        for content_type in ["application/json", "application/cloudevents+json", "application/cloudevents-batch+json"] {
            node.post_as(content_type, body.clone()).await.problem(400, "malformed-json");
        }
    }
}

async fn every_answer_bears_a_request_id_of_its_own(broker: TestBroker) {
    let node = broker.node().await;
    let answers = [
        node.post(&sale("1")).await,
        node.post(&without_data(sale("1"), "reason")).await,
        node.post_as("application/json", "{").await,
        node.get("/nope").await,
        Answer::of(node.request(Method::DELETE, "/v1/events")).await,
        node.get("/v1/channels").await,
        node.get("/healthz").await,
        node.get("/metrics").await,
    ];
    let ids: HashSet<&str> = answers.iter().map(|answer| answer.header("x-request-id").unwrap()).collect();
    assert_eq!(ids.len(), answers.len());
}

async fn refusals_are_counted_by_their_code_and_clients_cannot_grow_the_metrics(broker: TestBroker) {
    let node = broker.node().await;
    let provoke = async |n: u32| {
        node.post(&json!({"type": format!("made-up-{n}"), "data": {}})).await.problem(422, "unknown-type");
        node.get(&format!("/made/up/{n}")).await.problem(404, "not-found");
        node.get(&format!("/v1/schemas/made-up-{n}")).await.problem(404, "not-found");
        let method = Method::from_bytes(format!("MADEUP{n}").as_bytes()).unwrap();
        Answer::of(node.request(method, "/v1/events")).await.problem(405, "method-not-allowed");
    };
    let lines = async || node.get("/metrics").await.text.lines().count();
    provoke(0).await;
    let before = lines().await;
    for n in 1..20 {
        provoke(n).await;
    }
    assert_eq!(lines().await, before);
    let metrics = node.get("/metrics").await;
    let counted = metrics.text.lines().find(|line| line.contains("\"unknown-type\""));
    assert!(counted.is_some_and(|line| line.ends_with(" 20")), "{counted:?}");
    assert!(!metrics.text.contains("made-up"), "{}", metrics.text);
}
