//! Limits on connections: of the node, and of one address, with and without proxies.

use std::net::IpAddr;

use tidings::config::networks;

use super::{READERS, connect_from, handshaken, handshaken_on, node_with};
use crate::support::events::sale;
use crate::support::http::Response;
use crate::support::node::Node;
use crate::support::raw::{RawConnection, Reader, Target, text};
use crate::support::{until, within};

const SUBSCRIBE: &str = r#"{"type":"subscribe","sub":"s","channel":"inventory-change"}"#;

/// Opens a WebSocket that is subscribed.
async fn subscriber(node: &Node, reader: Reader) -> RawConnection {
    let mut raw = RawConnection::open_at(Target { address: node.address, reader }).await;
    raw.send(&text(SUBSCRIBE)).await;
    assert_eq!(raw.json().await["type"], "subscribed");
    raw
}

/// The status of a GET on a connection of its own.
async fn get(node: &Node, path: &str) -> (u16, Option<String>) {
    let mut raw = RawConnection::connect(node.address).await;
    raw.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await;
    let head = raw.head().await;
    let retry_after = head.all("retry-after").first().map(|&text| text.to_owned());
    (head.status, retry_after)
}

#[tokio::test]
async fn connections_over_the_limit_are_refused_and_the_others_served() {
    for reader in READERS {
        let node = node_with(|config| config.edge.max_connections = Some(4)).await;
        let mut open = Vec::new();
        // One of the four may be the node's own client of HTTP.
        for _ in 0..3 {
            open.push(subscriber(&node, reader).await);
        }
        // Connections that say nothing count too.
        let mut silent = vec![RawConnection::connect(node.address).await];
        until("the node is full", async || {
            silent.push(RawConnection::connect(node.address).await);
            (get(&node, "/v1/channels").await.0 == 503).then_some(())
        })
        .await;
        let head = handshaken(&node, Reader::Direct, &[]).await;
        assert_eq!((head.status, head.all("content-type")), (503, vec!["application/problem+json"]), "{head:?}");
        let (status, retry_after) = get(&node, "/v1/stream?channel=order-status").await;
        assert_eq!(status, 503);
        assert!((1..=5).contains(&retry_after.unwrap().parse().unwrap()));
        for path in ["/healthz", "/readyz"] {
            assert_eq!(get(&node, path).await.0, 200, "an orchestrator must not kill a full node: {path}");
        }
        // The old ones are served.
        node.publish(&sale("1")).await;
        for raw in &mut open {
            assert_eq!(raw.json().await["type"], "event");
        }
        // There is room again when connections end.
        drop((open.pop(), silent));
        until("there is room", async || (handshaken(&node, Reader::Direct, &[]).await.status == 101).then_some(()))
            .await;
    }
}

#[tokio::test]
async fn an_address_has_a_limit_of_its_own() {
    let node = node_with(|config| config.edge.max_connections_per_address = Some(2)).await;
    let mut open = Vec::new();
    for reader in READERS {
        let mut raw = connect_from("127.0.0.2", node.address).await;
        if reader == Reader::Hyper {
            raw.send(b"HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
            assert_eq!(raw.head().await.status, 200);
        }
        assert_eq!(handshaken_on(&mut raw, &[]).await.status, 101, "{reader:?}");
        open.push(raw);
    }
    let mut third = connect_from("127.0.0.2", node.address).await;
    let head = handshaken_on(&mut third, &[]).await;
    assert_eq!((head.status, head.all("retry-after")), (429, vec!["5"]), "{head:?}");
    assert_eq!(handshaken_on(&mut connect_from("127.0.0.3", node.address).await, &[]).await.status, 101);
    // Without trusted proxies, the header is the client's invention.
    let mut third = connect_from("127.0.0.2", node.address).await;
    assert_eq!(handshaken_on(&mut third, &["X-Forwarded-For: 192.0.2.1"]).await.status, 429);
    open.pop();
    until("there is room", async || {
        let mut raw = connect_from("127.0.0.2", node.address).await;
        (handshaken_on(&mut raw, &[]).await.status == 101).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_clients_of_a_proxy_are_counted_one_by_one() {
    let node = node_with(|config| {
        config.edge.max_connections_per_address = Some(1);
        config.edge.trusted_proxies = networks("127.0.0.1,10.0.0.0/8").unwrap();
    })
    .await;
    for reader in READERS {
        let open = async |lines: &[&str]| {
            let mut raw = RawConnection::connect(Target { address: node.address, reader }).await;
            (handshaken_on(&mut raw, lines).await.status, raw)
        };
        // The connections of the other reader may still be about to end.
        let first = until("there is room", async || {
            let (status, raw) = open(&["X-Forwarded-For: 198.51.100.9, 192.0.2.1"]).await;
            (status == 101).then_some(raw)
        });
        let first = first.await;
        for forwarded in ["192.0.2.1", "1.1.1.1, 192.0.2.1, 10.0.0.1", "::ffff:192.0.2.1", "192.0.2.1:4711"] {
            assert_eq!(open(&[&format!("X-Forwarded-For: {forwarded}")]).await.0, 429, "{reader:?} {forwarded}");
        }
        assert_eq!(open(&["X-Forwarded-For: 1.1.1.1", "X-Forwarded-For: 192.0.2.1"]).await.0, 429);
        let _other = until("only the last entry is the proxy's", async || {
            let (status, raw) = open(&["X-Forwarded-For: 192.0.2.1, 192.0.2.2"]).await;
            (status == 101).then_some(raw)
        })
        .await;
        // An event stream and a request count as well, and a request only as long as it is served.
        let get = |path: &str, client: IpAddr| {
            node.request(reqwest::Method::GET, path).header("x-forwarded-for", client.to_string())
        };
        for _ in 0..3 {
            assert_eq!(Response::to(get("/v1/channels", "2001:db8::1".parse().unwrap())).await.status, 200);
        }
        let stream = get("/v1/stream?channel=order-status", "2001:db8::1".parse().unwrap()).send().await.unwrap();
        assert_eq!(stream.status(), 200);
        let refused = Response::to(get("/v1/channels", "2001:db8::2".parse().unwrap())).await;
        refused.problem(429, "rate-limited");
        assert_eq!(Response::to(get("/v1/channels", "2001:db8:0:1::1".parse().unwrap())).await.status, 200);
        drop((first, stream));
        until("there is room", async || (open(&["X-Forwarded-For: 192.0.2.1"]).await.0 == 101).then_some(())).await;
        within("the stream has ended", async {
            while Response::to(get("/v1/channels", "2001:db8::2".parse().unwrap())).await.status != 200 {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        })
        .await;
    }
}
