//! Heads of requests: at most 64 fields and 32 KiB. What is larger costs neither memory nor time.

use std::net::SocketAddr;

use super::{READERS, node_with};
use crate::support::daemon::Daemon;
use crate::support::node::Node;
use crate::support::raw::{RawConnection, Reader, Target, handshake_headers};

/// The status of a request with these fields, and the problem's code if it is one.
async fn answer(node: &Node, reader: Reader, line: &str, fields: &[String]) -> (u16, String) {
    let mut raw = RawConnection::connect(Target { address: node.address, reader }).await;
    let head = format!("{line}\r\n{}\r\n\r\n", fields.join("\r\n"));
    raw.send(head.as_bytes()).await;
    let head = raw.head().await;
    assert_eq!(head.all("x-request-id").len(), 1, "{head:?}");
    if head.status != 431 {
        return (head.status, String::new());
    }
    assert_eq!(head.all("content-type"), ["application/problem+json"], "{head:?}");
    let body: serde_json::Value = serde_json::from_slice(&raw.body(&head).await).unwrap();
    (head.status, body["code"].as_str().unwrap().to_owned())
}

fn usual() -> Vec<String> {
    handshake_headers().into_iter().map(str::to_owned).collect()
}

fn too_large() -> (u16, String) {
    (431, "headers-too-large".into())
}

#[tokio::test]
async fn a_head_has_at_most_64_fields() {
    let node = node_with(|_| {}).await;
    for reader in READERS {
        for (line, status) in [("GET /v1/ws HTTP/1.1", 101), ("GET /v1/channels HTTP/1.1", 200)] {
            let with = |count: usize| [usual(), vec!["X-Field: y".to_owned(); count - usual().len()]].concat();
            assert_eq!(answer(&node, reader, line, &with(64)).await, (status, String::new()), "{reader:?}");
            for count in [65, 100, 101, 1_000, 10_000] {
                assert_eq!(answer(&node, reader, line, &with(count)).await, too_large(), "{reader:?} {line} {count}");
            }
        }
    }
    assert_eq!(node.metric(r#"tidings_refusals_total{code="headers-too-large"}"#).await, 20.0);
}

#[tokio::test]
async fn a_head_has_at_most_32_kib() {
    let node = node_with(|_| {}).await;
    for reader in READERS {
        for (line, status) in [("GET /v1/ws HTTP/1.1", 101), ("GET /v1/channels HTTP/1.1", 200)] {
            let with = |bytes: usize| {
                let before = line.len() + 2 + usual().iter().map(|field| field.len() + 2).sum::<usize>() + 2;
                let name = "Sec-WebSocket-Protocol: ";
                [usual(), vec![format!("{name}{}", "x".repeat(bytes - before - name.len() - 2))]].concat()
            };
            for bytes in [8_191, 8_192, 8_193, 32_000] {
                assert_eq!(
                    answer(&node, reader, line, &with(bytes)).await,
                    (status, String::new()),
                    "{reader:?} {bytes}"
                );
            }
            for bytes in [33_000, 65_000, 1 << 20] {
                assert_eq!(answer(&node, reader, line, &with(bytes)).await, too_large(), "{reader:?} {line} {bytes}");
            }
        }
        let long = format!("GET /v1/ws?channel={} HTTP/1.1", "x".repeat(40_000));
        assert_eq!(answer(&node, reader, &long, &usual()).await, too_large());
    }
}

#[tokio::test]
async fn a_large_head_that_comes_byte_by_byte_is_read() {
    let node = node_with(|config| config.limits.handshake_timeout = crate::support::PATIENCE).await;
    let mut raw = RawConnection::connect(node.address).await;
    let fields = [usual(), vec![format!("Cookie: {}", "x".repeat(16_000))]].concat();
    for byte in format!("GET /v1/ws HTTP/1.1\r\n{}\r\n\r\n", fields.join("\r\n")).bytes() {
        raw.send(&[byte]).await;
    }
    raw.read_welcome().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_without_end_cost_no_memory() {
    const CLIENTS: usize = 100;
    let daemon = Daemon::with(&["--listen", "127.0.0.1:0", "--handshake-timeout", "1m"], tempfile::tempdir().unwrap());
    let address: SocketAddr = daemon.url.strip_prefix("http://").unwrap().parse().unwrap();
    let before = daemon.process.resident();
    let mut open = Vec::new();
    for _ in 0..CLIENTS {
        let mut raw = RawConnection::connect(address).await;
        raw.send(b"GET /v1/ws HTTP/1.1\r\n").await;
        // Just below the limit, and not complete.
        for _ in 0..60 {
            raw.send(format!("X: {}\r\n", "y".repeat(500)).as_bytes()).await;
        }
        open.push(raw);
    }
    let grown = daemon.process.resident().saturating_sub(before);
    assert!(grown < CLIENTS * (100 << 10) + (8 << 20), "the daemon grew by {grown} bytes");
    for raw in &mut open {
        raw.send(format!("X: {}", "y".repeat(10_000)).as_bytes()).await;
        assert_eq!(raw.head().await.status, 431);
    }
}
