//! The OpenAPI document beside the daemon that serves it. `make test-openapi` fuzzes the daemon with it.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use tidings::config::BrokerUrl;
use tidings::event::Catalog;

use crate::access::world::World;
use crate::support::http::Response;
use crate::support::node::{Node, config};
use crate::support::within;

const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE"];
/// Headers of HTTP itself, which hyper sets, and those that OpenAPI has elsewhere.
const OF_HTTP: [&str; 5] = ["connection", "content-length", "content-type", "date", "transfer-encoding"];

#[tokio::test]
async fn the_document_has_the_methods_and_statuses_of_the_daemon() {
    let node = Node::start(config(BrokerUrl::Memory)).await;
    let document = node.get("/openapi.json").await.json();
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    for (path, item) in paths {
        let described: Vec<_> = item.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect();
        for method in METHODS {
            if (method, path.as_str()) == ("GET", "/v1/stream") {
                // It answers without end.
                continue;
            }
            let url = path.replace("{type}", "order-status");
            let response = Response::to(node.request(Method::from_bytes(method.as_bytes()).unwrap(), &url)).await;
            let operation = &item[method.to_lowercase()];
            match response.status {
                405 => {
                    assert!(operation.is_null(), "{method} {path} is described, and not there");
                    assert_eq!(response.header("allow"), Some(described.join(", ").as_str()), "{path}");
                }
                status => {
                    let known = operation["responses"].get(status.to_string());
                    assert!(known.is_some(), "{method} {path}: {status} is not described");
                }
            }
        }
    }
}

/// Of answers, refusals and preflights, with and without a page that asks.
#[tokio::test]
async fn the_document_has_every_header_of_the_daemon() {
    let world = World::new();
    let [mut open, mut closed] = [config(BrokerUrl::Memory), world.over(config(BrokerUrl::Memory))];
    for config in [&mut open, &mut closed] {
        config.edge.allowed_origins = tidings::config::origins("https://shop.example").unwrap();
    }
    let mut seen = BTreeSet::new();
    for node in [Node::start(open).await, Node::start(closed).await] {
        let document = node.get("/openapi.json").await.json();
        let resolved = |value: &Value| match value["$ref"].as_str() {
            Some(reference) => document.pointer(reference.strip_prefix('#').unwrap()).unwrap().clone(),
            None => value.clone(),
        };
        let paths = document["paths"].as_object().unwrap();
        for (path, method) in paths.keys().flat_map(|path| METHODS.map(|method| (path, method))) {
            for (origin, accept) in [
                (None, "*/*"),
                (Some("https://shop.example"), "text/html"),
                (Some("https://evil.example"), "application/json"),
            ] {
                let url = path.replace("{type}", "order-status").replace("{file}", "licenses.txt");
                let mut request = node.request(Method::from_bytes(method.as_bytes()).unwrap(), &url);
                request = request.header("accept", accept).header("access-control-request-method", "GET");
                if let Some(origin) = origin {
                    request = request.header("origin", origin);
                }
                // Without the body, which a stream sends without end.
                let response = within("an answer", request.send()).await.unwrap();
                let status = response.status().as_u16();
                let operation = &paths[path][method.to_lowercase()];
                let described = match status {
                    405 => document["components"]["responses"]["MethodNotAllowed"].clone(),
                    // The page is refused before the method is looked at.
                    403 if operation.is_null() => continue,
                    status => resolved(&operation["responses"][status.to_string()]),
                };
                let described = described["headers"].as_object().cloned().unwrap_or_default();
                let is_described = |name: &str| described.keys().any(|known| known.eq_ignore_ascii_case(name));
                for name in response.headers().keys().map(reqwest::header::HeaderName::as_str) {
                    assert!(
                        OF_HTTP.contains(&name) || is_described(name),
                        "{method} {path} {status} {origin:?}: {name}"
                    );
                    seen.insert(name.to_owned());
                }
                for (name, header) in &described {
                    let is_there = response.headers().contains_key(name);
                    assert!(is_there || resolved(header)["required"] != true, "{method} {path} {status}: no {name}");
                }
            }
        }
    }
    for name in
        ["access-control-max-age", "www-authenticate", "content-security-policy", "etag", "sec-websocket-version"]
    {
        assert!(seen.contains(name), "{name} of {seen:?}");
    }
}

#[tokio::test]
async fn everybody_may_read_the_document_and_it_says_who_needs_a_credential() {
    let mut catalog = Catalog::builtin();
    catalog.add("secret-merger", r#"{"title":"Secret merger","type":"object"}"#).unwrap();
    let world = World::new();
    let closed = Node::start_with(world.over(config(BrokerUrl::Memory)), catalog).await;
    let response = closed.get("/openapi.json").await;
    assert_eq!(response.status, 200, "{response:?}");
    assert!(!response.text.to_lowercase().contains("merger"), "{}", response.text);
    assert_eq!(response.json()["security"], json!([{"bearer": []}]));
    // A credential changes nothing, not even a wrong one.
    assert_eq!(closed.get_as("wrong", "/openapi.json").await.text, response.text);

    let world = World::with("", "[anonymous]\nsubscribe = [\"order-status\"]");
    for config in [world.over(config(BrokerUrl::Memory)), config(BrokerUrl::Memory)] {
        let open = Node::start(config).await;
        assert_eq!(open.get("/openapi.json").await.json()["security"], json!([{"bearer": []}, {}]));
    }
}
