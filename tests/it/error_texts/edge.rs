//! What the edge refuses.

use reqwest::Method;
use serde_json::json;
use tidings::config::{BrokerUrl, networks};

use super::table::Table;
use crate::support::events::sale;
use crate::support::http::Response;
use crate::support::node::{self, Node};
use crate::support::raw::RawConnection;

pub async fn provoke(table: &mut Table) {
    table.section("HTTP: pages, hosts, limits");
    let mut config = node::config(BrokerUrl::Memory);
    config.edge.trusted_proxies = networks("127.0.0.1").unwrap();
    config.edge.max_connections_per_address = Some(1);
    config.edge.publish_rate = Some(1);
    config.edge.publish_burst = Some(2);
    let node = Node::start(config).await;
    let get = |path: &str, name: &'static str, value: &str| node.request(Method::GET, path).header(name, value);
    for (name, value) in [("origin", "https://evil.example"), ("origin", "null"), ("host", "evil.example")] {
        table.problem(
            &format!("GET /v1/channels, {name}: {value}"),
            &Response::to(get("/v1/channels", name, value)).await,
        );
    }
    let twice = get("/v1/channels", "origin", "http://localhost").header("origin", "http://localhost");
    table.problem("GET /v1/channels, two headers Origin", &Response::to(twice).await);
    let fields = (0..70).fold(node.request(Method::GET, "/v1/channels"), |request, _| request.header("x-field", "y"));
    table.problem("GET /v1/channels, 70 headers", &Response::to(fields).await);
    let stream = get("/v1/stream?channel=order-status", "x-forwarded-for", "192.0.2.1").send().await.unwrap();
    table.problem(
        "GET /v1/channels, with max_connections_per_address = 1 and an open stream",
        &Response::to(get("/v1/channels", "x-forwarded-for", "192.0.2.1")).await,
    );
    drop(stream);
    let three = json!([sale("1"), sale("2"), sale("3")]);
    table.problem("POST /v1/events, 3 events, with publish_burst = 2", &node.post(&three).await);
    node.post(&json!([sale("1"), sale("2")])).await;
    table.problem("POST /v1/events, a third event, with publish_rate = 1", &node.post(&sale("3")).await);
    let mut config = node::config(BrokerUrl::Memory);
    config.edge.max_connections = Some(1);
    // The only connection is that of the test's client, which asks whether the node is ready.
    let node = Node::start(config).await;
    let _silent = RawConnection::connect(node.address).await;
    let other = reqwest::Client::new().get(node.url("/v1/channels"));
    table.problem("GET /v1/channels, with max_connections = 1", &Response::to(other).await);
}
