//! The OpenAPI document beside the daemon that serves it. `make test-openapi` fuzzes the daemon with it.

use reqwest::Method;
use serde_json::json;
use tidings::config::BrokerUrl;
use tidings::event::Catalog;

use crate::access::world::World;
use crate::support::http::Response;
use crate::support::node::{Node, config};

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE"];

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
                    assert_eq!(response.header("allow"), Some((described.join(", ") + ", OPTIONS").as_str()), "{path}");
                }
                status => {
                    let known = operation["responses"].get(status.to_string());
                    assert!(known.is_some(), "{method} {path}: {status} is not described");
                }
            }
        }
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
