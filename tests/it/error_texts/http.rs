//! Problem documents.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::Method;
use serde_json::{Value, json};
use tidings::config::BrokerUrl;

use super::failing::{self, Failure, Kind};
use super::table::Table;
use crate::support::events::sale;
use crate::support::http::Response;
use crate::support::node::{self, Node};
use crate::support::until;

pub async fn provoke(table: &mut Table) {
    let node = Node::start(node::config(BrokerUrl::Memory)).await;
    table.section("HTTP: requests");
    requests(table, &node).await;
    table.section("HTTP: events");
    events(table, &node).await;
    table.section("HTTP: the broker and the node");
    broker(table).await;
}

async fn requests(table: &mut Table, node: &Node) {
    for path in [
        "/nope",
        "/v1/schemas/order-statu",
        "/v1/bridges/none/dead",
        "/v1/sinks/none/dead",
        "/v1/webhooks/none/dead",
        "/v1/latest/order-status/none",
        "/v1/latest/order-status?cursor=nonsense",
        "/console/none.js",
        "/v1/stream?channel=order-statu",
        "/v1/events?channel=nonsense",
        "/v1/events?chanel=order-status",
        "/v1/events?where={}&where={}",
        "/v1/events?channel=order-status&limit=many",
        "/v1/events?channel=order-status&wait=31",
        "/v1/schemas?example=true",
        "/v1/schemas?examples=yes",
        "/v1/connections?sort=size",
        "/v1/incidents?since=yesterday",
        "/v1/events?since=yesterday",
        "/v1/events?since=k3:41",
        "/v1/events?channel=order-status&since=data-update=k3:41",
        "/v1/ws",
    ] {
        table.problem(&format!("GET {path}"), &node.get(path).await);
    }
    for (method, path) in [(Method::DELETE, "/v1/events"), (Method::HEAD, "/v1/stream")] {
        let response = Response::to(node.request(method.clone(), path)).await;
        if method != Method::HEAD {
            table.problem(&format!("{method} {path}"), &response);
        }
    }
    let upgrade = ["connection: upgrade", "upgrade: websocket", "sec-websocket-version: 13"];
    let key = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";
    for headers in [
        vec!["last-event-id: \u{e9}"],
        vec!["sec-websocket-key: short"],
        vec![],
        vec![key, "sec-websocket-extensions: ;"],
    ] {
        let stream = headers.first().is_some_and(|header| header.starts_with("last"));
        let path = if stream { "/v1/stream" } else { "/v1/ws" };
        let all = headers.iter().chain(upgrade.iter().filter(|_| !stream));
        let mut request = node.request(Method::GET, path);
        for (name, value) in all.map(|header| header.split_once(": ").unwrap()) {
            request = request.header(name, reqwest::header::HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let what = if stream { headers.join(", ") } else { format!("a WebSocket handshake with {headers:?}") };
        table.problem(&format!("GET {path}, {what}"), &Response::to(request).await);
    }
    for (what, head) in [
        ("GET /v1/ws, HTTP/1.0", format!("GET /v1/ws HTTP/1.0\r\n{}\r\n{key}\r\n\r\n", upgrade.join("\r\n"))),
        (
            "GET /v1/stream, two different headers Last-Event-ID",
            "GET /v1/stream HTTP/1.1\r\nhost: localhost\r\nlast-event-id: a=k:1\r\nlast-event-id: a=k:2\r\n\r\n"
                .to_owned(),
        ),
        (
            "GET /v1/ws, two headers Host",
            format!("GET /v1/ws HTTP/1.1\r\nhost: a\r\nhost: b\r\n{}\r\n{key}\r\n\r\n", upgrade.join("\r\n")),
        ),
        ("GET /v1/ws, no header Host", format!("GET /v1/ws HTTP/1.1\r\n{}\r\n{key}\r\n\r\n", upgrade.join("\r\n"))),
    ] {
        table.problem(what, &raw(node, &head).await);
    }
}

/// Sends a request as it is written, and reads the response with its `Content-Length`.
async fn raw(node: &Node, head: &str) -> Response {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(node.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut read = Vec::new();
    let text = until("the response is complete", async || {
        stream.read_buf(&mut read).await.unwrap();
        let text = String::from_utf8_lossy(&read).into_owned();
        let (head, body) = text.split_once("\r\n\r\n")?;
        let length: usize = head.to_ascii_lowercase().split("content-length: ").nth(1)?.lines().next()?.parse().ok()?;
        (body.len() == length).then_some(text)
    })
    .await;
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Response { status, headers: reqwest::header::HeaderMap::new(), text: body.to_owned() }
}

/// A valid event with one attribute or field changed: `data.x` names a field.
fn changed(name: &str, value: Value) -> Value {
    let mut event = sale("1");
    match name.strip_prefix("data.") {
        Some(field) => event["data"][field] = value,
        None => event[name] = value,
    }
    event
}

async fn events(table: &mut Table, node: &Node) {
    for (name, value) in [
        ("type", json!("inventory-chnage")),
        ("type", json!("no-such-type")),
        ("id", json!("")),
        ("id", json!("tab\there")),
        ("source", json!("two words")),
        ("time", json!("yesterday")),
        ("time", json!("2026-02-30T00:00:00Z")),
        ("dataschema", json!("two words")),
        ("dataschema", json!("")),
        ("datacontenttype", json!("text/plain")),
        ("data_base64", json!("AAAA")),
        ("specversion", json!("0.3")),
        ("Time", json!("x")),
        ("extension", json!(1.5)),
        ("extension", json!({})),
        ("extension", json!(4_000_000_000_u32)),
        ("data", json!("text")),
        ("data.reason", json!(7)),
        ("data.productid", json!("1")),
        ("data.colour", json!("red")),
        ("data.productId", json!("")),
        ("data.productId", json!("x".repeat(300))),
        ("data.oldQuantity", json!("many")),
        ("data.oldQuantity", json!(1.5)),
        ("data.oldQuantity", json!(9_007_199_254_740_992_u64)),
    ] {
        let event = changed(name, value.clone());
        let value: String = value.to_string().chars().take(40).collect();
        table.problem(&format!("POST an inventory-change, {name} = {value}"), &node.post(&event).await);
    }
    for event in [
        json!({"type": "order-status", "data": {"orderId": "1", "newStatus": "shippd"}}),
        json!({"type": "order-status", "data": {"orderId": "1", "newStatus": 7}}),
        json!({"type": "order-status", "data": {}}),
        json!({"type": "finance-change", "data": {"entity": "loan", "id": "1", "amountMinor": 1, "currency": "EURO"}}),
        json!({"type": "cache-invalidate", "data": {"tags": [], "reason": "x"}}),
        json!({"type": "cache-invalidate", "data": {"tags": ["a", 7]}}),
        json!([{"type": "order-status", "data": {"orderId": "1"}}, {"type": "nope", "data": {}}]),
        json!({"data": {}}),
        json!(7),
    ] {
        table.problem(&format!("POST {event}"), &node.post(&event).await);
    }
    for (media_type, body) in [
        ("application/json", "{\"type\":"),
        ("application/json", ""),
        ("application/json", "\u{feff}{}"),
        ("application/json", "{\"type\":\"order-status\",\"type\":\"order-status\"}"),
        ("application/json", "[{\"type\":\"order-status\",\"data\":{\"orderId\":\"\\ud800\"}}]"),
        ("application/json", "{'type':'order-status'}"),
        ("application/json", "{\"type\":\"order-status\",}"),
        ("application/json", "{\"data\":NaN}"),
        ("application/json; charset=utf-16", "{}"),
        ("text/plain", "{}"),
        ("application/cloudevents+json", "[]"),
        ("application/cloudevents-batch+json", "{}"),
    ] {
        table.problem(&format!("POST {body:?} as {media_type}"), &node.post_as(media_type, body).await);
    }
    let mut spaces = GzEncoder::new(Vec::new(), Compression::fast());
    spaces.write_all(&vec![b' '; 9 << 20]).unwrap();
    let empty = GzEncoder::new(Vec::new(), Compression::fast()).finish().unwrap();
    for (what, coding, body) in [
        ("{}", "br", b"{}".to_vec()),
        ("{}", "gzip, zstd", b"{}".to_vec()),
        ("{}", "gzip", b"{}".to_vec()),
        ("1001 empty members", "gzip", empty.repeat(1001)),
        ("9 MiB of spaces", "gzip", spaces.finish().unwrap()),
    ] {
        let request = node.request(Method::POST, "/v1/events").header("content-type", "application/json");
        let request = request.header("content-encoding", coding).body(body);
        table.problem(&format!("POST {what} with Content-Encoding: {coding}"), &Response::to(request).await);
    }
    let binary = node.request(Method::POST, "/v1/events").header("ce-type", "order-status").header("ce-time", "now");
    table.problem("POST {} with ce-type: order-status, ce-time: now", &Response::to(binary.body("{}")).await);
    let binary = node.request(Method::POST, "/v1/events").header("ce-type", "%ff");
    table.problem("POST {} with ce-type: %ff", &Response::to(binary.body("{}")).await);
    let binary = node.request(Method::POST, "/v1/events").header("ce-type", "a").header("ce-data", "1");
    table.problem("POST {} with ce-data: 1", &Response::to(binary.body("{}")).await);
    let binary = node.request(Method::POST, "/v1/events").header("ce-type", "a").header("ce-type", "b");
    table.problem("POST {} with two headers ce-type", &Response::to(binary.body("{}")).await);
    let large = changed("data.reason", json!("x".repeat(70_000)));
    table.problem("POST an event of 70 KB", &node.post(&large).await);
    table.problem("POST 1001 events", &node.post(&json!(vec![sale("1"); 1001])).await);
    table.problem("POST 9 MiB", &node.post_as("application/json", vec![b' '; 9 << 20]).await);
}

async fn broker(table: &mut Table) {
    let failure = Failure::default();
    let open = |config: &_, catalog: &_| failing::open(config, catalog, &failure);
    let node = Node::start_over(node::config(BrokerUrl::Memory), &open).await;
    node.publish(&sale("1")).await;
    for (what, kind) in [
        ("does not answer", Kind::Unavailable),
        ("has a rate limit", Kind::RateLimited),
        ("refuses", Kind::Rejected),
        ("returns an event that is not JSON", Kind::Garbled),
    ] {
        failure.set(Some(kind));
        if !matches!(kind, Kind::Garbled) {
            table.problem(&format!("POST an event while the broker {what}"), &node.post(&sale("1")).await);
        }
        let filtered = "/v1/events?channel=inventory-change&where=%7B%22productId%22%3A%221%22%7D";
        table.problem(&format!("GET /v1/events while the broker {what}"), &node.get(filtered).await);
    }
    failure.set(None);
    let full = {
        let mut config = node::config(BrokerUrl::Memory);
        config.limits.max_pending_connections = 0;
        Node::start(config).await
    };
    table.problem("GET /v1/stream while too many clients connect", &full.get("/v1/stream").await);
}
