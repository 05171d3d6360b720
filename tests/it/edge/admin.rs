//! `admin_listen`: the operator's routes have an address of their own, and are nowhere else.

use serde_json::Value;

use super::{READERS, handshaken_on, node_with};
use crate::support::http::Response;
use crate::support::node::Node;
use crate::support::raw::{RawConnection, Reader, Target};

const ADMIN: [&str; 4] = ["/metrics", "/v1/nodes", "/v1/connections", "/v1/incidents"];
const PUBLIC: [&str; 7] = ["/", "/v1/events", "/v1/channels", "/v1/schemas", "/healthz", "/readyz", "/favicon.ico"];

async fn apart() -> Node {
    node_with(|config| config.edge.admin_listen = Some(([127, 0, 0, 1], 0).into())).await
}

/// A GET at the operator's address.
async fn get(node: &Node, path: &str, origin: Option<&str>) -> Response {
    let url = format!("http://{}{path}", node.admin.unwrap());
    let request = reqwest::Client::new().get(url);
    Response::to(origin.into_iter().fold(request, |request, origin| request.header("origin", origin))).await
}

#[tokio::test]
async fn the_operators_routes_are_at_their_address_only() {
    let node = apart().await;
    for path in ADMIN {
        assert_eq!(get(&node, path, None).await.status, 200, "{path}");
        let gone = node.get(path).await.problem(404, "not-found");
        assert!(!ADMIN.iter().any(|path| gone["detail"].as_str().unwrap().contains(&format!("`{path}`"))), "{gone}");
        let options = node.request(reqwest::Method::OPTIONS, path);
        Response::to(options).await.problem(404, "not-found");
    }
    // The answers of a path that is elsewhere and of one that nobody knows differ in the path alone.
    let [elsewhere, unknown] = ["/v1/revocations", "/v1/qqqqqqqqqqq"];
    let texts = [elsewhere, unknown].map(async |path| node.get(path).await.text.replace(path, "PATH"));
    let [one, other] = texts;
    let (one, other) = (one.await, other.await);
    assert_eq!(one, other);
    assert!(one.contains("the operator's routes are at the address of the setting admin_listen"), "{one}");
    for path in PUBLIC {
        assert!(node.get(path).await.status < 300, "{path}");
        get(&node, path, None).await.problem(404, "not-found");
    }
    // The operator's address has no document of its routes: the answer names them.
    let problem = get(&node, "/metric", None).await.problem(404, "not-found");
    assert_eq!(
        problem["detail"],
        "there is nothing at /metric; did you mean `/metrics`? (routes: /v1/nodes, /v1/connections, /v1/incidents, /v1/revocations, /v1/webhooks, /metrics)"
    );
    let page = node.get("/").await.text;
    assert!(page.contains("/v1/channels") && !ADMIN.iter().any(|path| page.contains(path)), "{page}");
}

#[tokio::test]
async fn the_operators_address_has_no_websocket_and_the_same_edge() {
    let node = apart().await;
    let address = node.admin.unwrap();
    for reader in READERS {
        // Its probes are at the other address.
        let mut raw = RawConnection::connect(Target { address, reader: Reader::Direct }).await;
        if reader == Reader::Hyper {
            raw.send(b"GET /v1/nodes HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
            let head = raw.head().await;
            assert_eq!(head.status, 200);
            let body: Value = serde_json::from_slice(&raw.body(&head).await).unwrap();
            assert!(body["nodes"].is_array(), "{body}");
        }
        assert_eq!(handshaken_on(&mut raw, &[]).await.status, 404, "{reader:?}");
    }
    get(&node, "/metrics", Some("https://evil.example")).await.problem(403, "forbidden-origin");
    let mut raw = RawConnection::connect(address).await;
    raw.send(b"GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n").await;
    assert_eq!(raw.head().await.status, 421);
}

#[tokio::test]
async fn a_full_node_still_answers_its_operator() {
    let node = node_with(|config| {
        config.edge.admin_listen = Some(([127, 0, 0, 1], 0).into());
        config.edge.max_connections = Some(1);
    })
    .await;
    // The test's own client has the only one.
    let mut raw = RawConnection::connect(node.address).await;
    assert_eq!(handshaken_on(&mut raw, &[]).await.status, 503);
    assert_eq!(get(&node, "/metrics", None).await.status, 200);
}
