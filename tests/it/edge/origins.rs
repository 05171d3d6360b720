//! Origins: pages that may use the daemon, those that may not, CORS headers and preflights.

use reqwest::Method;
use reqwest::header::HeaderValue;
use serde_json::json;
use tidings::config::origins;

use super::{READERS, handshaken, node_with};
use crate::support::events::sale;
use crate::support::http::Response;
use crate::support::node::Node;

const SHOP: &str = "https://shop.example";
const ROUTES: [&str; 9] = [
    "/",
    "/v1/events",
    "/v1/channels",
    "/v1/nodes",
    "/v1/schemas",
    "/v1/schemas/order-status",
    "/metrics",
    "/favicon.ico",
    "/nope",
];

/// A node that a shop's pages may use.
async fn node_for(allowed: &str) -> Node {
    node_with(|config| config.edge.allowed_origins = origins(allowed).unwrap()).await
}

async fn get(node: &Node, path: &str, origin: &str) -> Response {
    Response::to(node.request(Method::GET, path).header("origin", origin)).await
}

#[tokio::test]
async fn foreign_pages_open_no_websocket() {
    let node = node_for("https://shop.example,https://*.a.com").await;
    let same = format!("Origin: http://{}", node.address);
    let host = format!("Host: {}", node.address);
    for reader in READERS {
        for lines in [
            &[][..],
            &["Origin: http://localhost:3000"],
            &["Origin: http://127.0.0.1"],
            &["Origin: https://[::1]:1"],
            &["Origin: https://shop.example"],
            &["Origin: https://shop.example:443"],
            &["Origin: https://x.a.com"],
            &[same.as_str(), host.as_str()],
        ] {
            assert_eq!(handshaken(&node, reader, lines).await.status, 101, "{reader:?} {lines:?}");
        }
        for lines in [
            &["Origin: https://evil.example"][..],
            &["Origin: null"],
            &["Origin:"],
            &["Origin: file://"],
            &["Origin: http://shop.example"],
            &["Origin: https://shop.example:8443"],
            &["Origin: https://shop.example.evil.io"],
            &["Origin: https://evilshop.example"],
            &["Origin: https://bada.com"],
            &["Origin: https://a.com"],
            &["Origin: https://x.a.com.evil.io"],
            &["Origin: https://localhost.evil.io"],
            &["Origin: http://localhost@evil.io"],
            &["Origin: http://localhost:3000/"],
            &["Origin: http://localhost:3000", "Origin: http://localhost:3000"],
            &["Origin: https://shop.example", "origin: https://evil.example"],
            &["Origin: https://shop.example, https://evil.example"],
            &["Origin: https://shop.example\u{e9}"],
        ] {
            let head = handshaken(&node, reader, lines).await;
            assert_eq!(head.status, 403, "{reader:?} {lines:?}");
            assert_eq!(head.all("content-type"), ["application/problem+json"], "{reader:?} {lines:?}");
            assert!(head.all("access-control-allow-origin").is_empty());
        }
    }
    assert_eq!(node.metric(r#"tidings_refusals_total{code="forbidden-origin"}"#).await, 36.0);
}

#[tokio::test]
async fn every_route_but_the_probes_refuses_foreign_pages() {
    let node = node_with(|_| {}).await;
    for path in ROUTES.into_iter().chain(["/v1/stream", "/v1/ws"]) {
        let problem = get(&node, path, "https://evil.example").await.problem(403, "forbidden-origin");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("\"https://evil.example\"") && detail.contains("allowed_origins"), "{detail}");
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(get(&node, path, "https://evil.example").await.status, 200, "{path}");
    }
    let post = node.request(Method::POST, "/v1/events").header("origin", "null").json(&sale("1"));
    let problem = Response::to(post).await.problem(403, "forbidden-origin");
    assert!(problem["detail"].as_str().unwrap().contains("never be listed"), "{problem}");
    assert_eq!(node.get("/v1/events").await.json()["events"], json!([]), "nothing was published");
}

#[tokio::test]
async fn pages_that_may_can_read_every_answer() {
    let node = node_for(SHOP).await;
    node.publish(&sale("1")).await;
    let shown = |response: &Response| {
        assert_eq!(response.header("access-control-allow-origin"), Some(SHOP), "{response:?}");
        assert!(response.header("access-control-allow-credentials").is_none(), "{response:?}");
        let vary: Vec<&str> =
            response.headers.get_all("vary").iter().map(|value: &HeaderValue| value.to_str().unwrap()).collect();
        assert!(vary.join(", ").contains("authorization, origin"), "{response:?}");
    };
    for path in ROUTES.into_iter().chain(["/v1/events?limit=x", "/v1/ws"]) {
        shown(&get(&node, path, SHOP).await);
    }
    let request = node.request(Method::POST, "/v1/events").header("origin", SHOP);
    let posted = Response::to(request.json(&json!({"type": "nope"}))).await;
    posted.problem(422, "unknown-type");
    shown(&posted);
    let stream = node.request(Method::GET, "/v1/stream?channel=order-status").header("origin", SHOP);
    let stream = stream.send().await.unwrap();
    assert_eq!(stream.headers()["access-control-allow-origin"], SHOP);
    assert_eq!(
        (&stream.headers()["cache-control"], &stream.headers()["vary"]),
        (&"no-store, no-transform".parse().unwrap(), &"authorization, origin".parse().unwrap())
    );
    // Others, and clients that are no pages, are told nothing.
    for origin in ["https://evil.example", "null"] {
        assert!(get(&node, "/v1/channels", origin).await.header("access-control-allow-origin").is_none());
    }
    assert!(node.get("/v1/channels").await.header("access-control-allow-origin").is_none());
}

#[tokio::test]
async fn caches_keep_nothing_but_the_icon() {
    let node = node_with(|_| {}).await;
    for path in ROUTES {
        let expected = match path {
            "/favicon.ico" => "public, max-age=86400",
            "/v1/events" => "no-store, no-transform",
            _ => "no-store",
        };
        let response = node.get(path).await;
        assert_eq!(response.header("cache-control"), Some(expected), "{path}");
        assert_eq!(response.headers.get_all("cache-control").iter().count(), 1, "{path}");
    }
}

#[tokio::test]
async fn a_preflight_says_what_a_page_may_send() {
    let node = node_for(SHOP).await;
    let preflight = |path: &str, origin: &str| {
        let request = node.request(Method::OPTIONS, path).header("origin", origin);
        let asked = "authorization,content-type,last-event-id,traceparent,ce-id,x-other";
        request.header("access-control-request-method", "POST").header("access-control-request-headers", asked)
    };
    for (path, methods) in [
        ("/v1/events", "GET, HEAD, POST, OPTIONS"),
        ("/v1/stream", "GET, OPTIONS"),
        ("/v1/schemas/order-status", "GET, HEAD, OPTIONS"),
    ] {
        let response = Response::to(preflight(path, SHOP)).await;
        assert_eq!((response.status, response.text.as_str()), (204, ""));
        assert_eq!(response.header("access-control-allow-origin"), Some(SHOP));
        assert_eq!(response.header("access-control-allow-methods"), Some(methods));
        let fields: Vec<&str> = response.header("access-control-allow-headers").unwrap().split(", ").collect();
        for field in ["authorization", "content-type", "last-event-id", "traceparent", "ce-id"] {
            assert!(fields.contains(&field), "{fields:?}");
        }
        assert!(!fields.contains(&"x-other") && !fields.contains(&"*"), "{fields:?}");
        assert!(response.header("access-control-max-age").is_some());
        Response::to(preflight(path, "https://evil.example")).await.problem(403, "forbidden-origin");
    }
    Response::to(preflight("/nope", SHOP)).await.problem(404, "not-found");
    // What is no preflight gets the methods alone.
    let plain = Response::to(node.request(Method::OPTIONS, "/v1/events")).await;
    assert_eq!((plain.status, plain.header("allow")), (204, Some("GET, HEAD, POST, OPTIONS")));
    assert!(plain.header("access-control-allow-methods").is_none());
}
