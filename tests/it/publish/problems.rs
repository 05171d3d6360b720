//! Refusals of the HTTP request itself (path, method, content type, JSON), request ids, and the metrics of refusals.

use std::collections::HashSet;

use reqwest::Method;
use serde_json::json;

use crate::support::each_broker::{TestBroker, over_each_broker};
use crate::support::events::{sale, without_data};
use crate::support::http::Response;

over_each_broker!(
    an_unknown_path_is_not_found,
    a_wrong_method_is_refused_and_allow_lists_the_right_ones,
    a_content_type_that_is_not_json_is_unsupported,
    a_body_that_is_not_json_is_malformed,
    every_response_has_its_own_request_id,
    refusals_are_counted_by_code_and_clients_cannot_add_metric_series,
);

async fn an_unknown_path_is_not_found(broker: TestBroker) {
    let node = broker.node().await;
    for path in
        ["/nope", "/v1", "/v1/nope", "/v1/schemas/nope", "/v2/events", "/v1/events/x", "/v1/schemas/%2e%2e%2fevent"]
    {
        node.get(path).await.problem(404, "not-found");
    }
}

async fn a_wrong_method_is_refused_and_allow_lists_the_right_ones(broker: TestBroker) {
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
        let response = Response::to(node.request(method.clone(), path)).await;
        response.problem(405, "method-not-allowed");
        let named = response.header("allow").unwrap_or_else(|| panic!("{method} {path}: no Allow"));
        assert!(named.split(',').any(|name| name.trim() == allowed), "{method} {path}: {named}");
    }
}

async fn a_content_type_that_is_not_json_is_unsupported(broker: TestBroker) {
    let node = broker.node().await;
    for content_type in
        ["text/plain", "application/xml", "application/x-www-form-urlencoded", "application/jsonx", "json"]
    {
        node.post_as(content_type, sale("1").to_string()).await.problem(415, "unsupported-media-type");
    }
    let bare = node.request(Method::POST, "/v1/events").body(sale("1").to_string());
    Response::to(bare).await.problem(415, "unsupported-media-type");
}

async fn a_body_that_is_not_json_is_malformed(broker: TestBroker) {
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
        // Nested deeper than a parser should recurse.
        vec![b'['; 60_000],
        b"{\"a\":".repeat(10_000),
    ];
    for body in bodies {
        for content_type in ["application/json", "application/cloudevents+json", "application/cloudevents-batch+json"] {
            node.post_as(content_type, body.clone()).await.problem(400, "malformed-json");
        }
    }
}

async fn every_response_has_its_own_request_id(broker: TestBroker) {
    let node = broker.node().await;
    let answers = [
        node.post(&sale("1")).await,
        node.post(&without_data(sale("1"), "reason")).await,
        node.post_as("application/json", "{").await,
        node.get("/nope").await,
        Response::to(node.request(Method::DELETE, "/v1/events")).await,
        node.get("/v1/channels").await,
        node.get("/healthz").await,
        node.get("/metrics").await,
    ];
    let ids: HashSet<&str> = answers.iter().map(|response| response.header("x-request-id").unwrap()).collect();
    assert_eq!(ids.len(), answers.len());
}

async fn refusals_are_counted_by_code_and_clients_cannot_add_metric_series(broker: TestBroker) {
    let node = broker.node().await;
    let provoke = async |n: u32| {
        node.post(&json!({"type": format!("made-up-{n}"), "data": {}})).await.problem(422, "unknown-type");
        node.get(&format!("/made/up/{n}")).await.problem(404, "not-found");
        node.get(&format!("/v1/schemas/made-up-{n}")).await.problem(404, "not-found");
        let method = Method::from_bytes(format!("MADEUP{n}").as_bytes()).unwrap();
        Response::to(node.request(method, "/v1/events")).await.problem(405, "method-not-allowed");
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
