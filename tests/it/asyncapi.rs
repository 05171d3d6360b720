//! The AsyncAPI document: who may read it, what it names, its committed copy, and its tag. `documented_examples.rs` judges its
//! examples, and `make test-generators` gives it to the reference parser.

use std::path::Path;

use serde_json::{Value, json};
use tidings::config::BrokerUrl;
use tidings::event::Catalog;

use crate::access::world::World;
use crate::support::http::Response;
use crate::support::node::{Node, config};

const OWN: &str = "secret-merger";

/// The built-in types and one of the user's own.
fn catalog() -> Catalog {
    let mut catalog = Catalog::builtin();
    catalog
        .add(
            OWN,
            r#"{"title":"Secret merger","type":"object","required":["with"],"properties":{"with":{"type":"string"}}}"#,
        )
        .unwrap();
    catalog
}

/// The names of the channels that are no routes.
fn types(document: &Value) -> Vec<&str> {
    document["channels"].as_object().unwrap().keys().map(String::as_str).filter(|key| !key.starts_with('/')).collect()
}

#[tokio::test]
async fn the_document_names_the_types_that_its_reader_may_see() {
    let world = World::new();
    let node = Node::start_with(world.over(config(BrokerUrl::Memory)), catalog()).await;
    for (grants, seen) in [
        (json!({}), &[][..]),
        (json!({"publish": [OWN]}), &[OWN]),
        (json!({"subscribe": ["order-status"]}), &["order-status"]),
        (json!({"subscribe": [{"channel": "order-status", "where": {"customerId": "u1"}}]}), &["order-status"]),
        (
            json!({"subscribe": ["*"]}),
            &["cache-invalidate", "data-update", "inventory-change", "order-status", "finance-change", OWN],
        ),
        (
            json!({"admin": ["nodes"]}),
            &["cache-invalidate", "data-update", "inventory-change", "order-status", "finance-change", OWN],
        ),
    ] {
        let response = node.get_as(&world.granting(grants.clone()), "/asyncapi.json").await;
        assert_eq!(response.status, 200, "{response:?}");
        assert_eq!(response.header("cache-control"), Some("no-store"));
        let document = response.json();
        assert_eq!(types(&document), seen, "{grants}");
        // No other place names a type that may not be seen. Frames are shown with `order-status`.
        assert_eq!(response.text.to_lowercase().contains("merger"), seen.contains(&OWN), "{grants}");
        assert_eq!(response.text.contains("finance"), seen.contains(&"finance-change"), "{grants}");
        assert_eq!(
            document["servers"]["websocket"]["security"],
            json!([{"$ref": "#/components/securitySchemes/bearer"}])
        );
        assert!(document["components"]["messages"].get("frame.subscribe").is_some());
    }
    node.get("/asyncapi.json").await.problem(401, "unauthenticated");
    node.get_as("wrong", "/asyncapi.json").await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn the_servers_are_those_at_which_the_daemon_was_asked() {
    let open = Node::start(config(BrokerUrl::Memory)).await;
    let servers = |response: Response| response.json()["servers"].take();
    let plain = servers(open.get("/asyncapi.json").await);
    assert_eq!((&plain["websocket"]["protocol"], &plain["http"]["protocol"]), (&json!("ws"), &json!("http")));
    assert_eq!(plain["websocket"]["host"], open.address.to_string());
    assert!(plain["websocket"].get("security").is_none(), "{plain}");
    let behind_proxy = open.request(reqwest::Method::GET, "/asyncapi.json").header("x-forwarded-proto", "https");
    assert_eq!(servers(Response::to(behind_proxy).await)["websocket"]["protocol"], "wss");
    let with_tls = Node::start_with_tls(config(BrokerUrl::Memory)).await;
    let secure = servers(with_tls.get("/asyncapi.json").await);
    assert_eq!((&secure["websocket"]["protocol"], &secure["http"]["protocol"]), (&json!("wss"), &json!("https")));
}

#[tokio::test]
async fn the_committed_documents_are_those_of_a_daemon() {
    let node = Node::start(config(BrokerUrl::Memory)).await;
    for name in ["openapi.json", "asyncapi.json"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas").join(name);
        let committed: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let mut served = node.get(&format!("/{name}")).await.json();
        for server in served["servers"].as_object_mut().into_iter().flat_map(serde_json::Map::values_mut) {
            server["host"] = "127.0.0.1:7400".into();
        }
        assert!(committed == served, "schemas/{name} is out of date: run `make generate`");
    }
}

#[tokio::test]
async fn a_client_that_has_a_document_is_told_so() {
    let world = World::new();
    let closed = Node::start(world.over(config(BrokerUrl::Memory))).await;
    let open = Node::start(config(BrokerUrl::Memory)).await;
    let (all, one) =
        (world.granting(json!({"subscribe": ["*"]})), world.granting(json!({"subscribe": ["order-status"]})));
    let ask = async |node: &Node, path: &str, token: Option<&str>, tag: Option<&str>| {
        let mut request = node.request(reqwest::Method::GET, path);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(tag) = tag {
            request = request.header("if-none-match", tag);
        }
        Response::to(request).await
    };
    for (node, path, token) in [
        (&open, "/openapi.json", None),
        (&open, "/asyncapi.json", None),
        (&closed, "/openapi.json", None),
        (&closed, "/asyncapi.json", Some(&*all)),
    ] {
        let first = ask(node, path, token, None).await;
        let tag = first.header("etag").unwrap();
        assert!(tag.starts_with('"') && tag.len() == 34, "{tag}");
        for known in [tag, &format!("\"x\", W/{tag}"), "*"] {
            let again = ask(node, path, token, Some(known)).await;
            assert_eq!(
                (again.status, again.text.as_str(), again.header("etag")),
                (304, "", Some(tag)),
                "{path} {known}"
            );
            assert_eq!(again.header("cache-control"), first.header("cache-control"), "{path}");
        }
        let other = ask(node, path, token, Some("\"x\"")).await;
        assert_eq!((other.status, &other.text), (200, &first.text), "{path}");
    }
    // Other grants, another document.
    let tag = ask(&closed, "/asyncapi.json", Some(&all), None).await;
    assert_eq!(ask(&closed, "/asyncapi.json", Some(&one), tag.header("etag")).await.status, 200);
    assert_eq!(open.get("/asyncapi.json").await.header("cache-control"), Some("no-cache"));
}
