//! Hosts: without authentication, only names of this machine and listed ones are answered, so that DNS rebinding leads
//! nowhere.

use tidings::config::hosts;

use super::{READERS, handshaken, node_with};
use crate::support::raw::{RawConnection, Target};

const OURS: [&str; 7] = [
    "localhost",
    "localhost:7400",
    "LOCALHOST.",
    "shop.localhost:1",
    "127.0.0.1:7400",
    "[::1]:7400",
    "[::ffff:127.0.0.1]",
];
const FOREIGN: [&str; 12] = [
    "evil.example",
    "localhost.evil.example",
    "localhost.evil.example:7400",
    "127.0.0.1.evil.example",
    "evil.example:127.0.0.1",
    "10.0.0.1",
    "0.0.0.0:7400",
    "[::]:7400",
    "[::1",
    "127.1",
    "localhost, evil.example",
    "user@localhost",
];

#[tokio::test]
async fn a_websocket_needs_a_host_of_this_machine() {
    let node = node_with(|_| {}).await;
    for reader in READERS {
        for host in OURS {
            assert_eq!(handshaken(&node, reader, &[&format!("Host: {host}")]).await.status, 101, "{reader:?} {host}");
        }
        for host in FOREIGN {
            let head = handshaken(&node, reader, &[&format!("Host: {host}")]).await;
            assert_eq!(head.status, 421, "{reader:?} {host}");
        }
        let twice = handshaken(&node, reader, &["Host: localhost", "Host: localhost"]).await;
        assert_eq!(twice.status, 400);
    }
}

#[tokio::test]
async fn every_route_but_the_probes_needs_a_host_of_this_machine() {
    let node = node_with(|_| {}).await;
    let mut raw = RawConnection::connect(&node).await;
    let mut status = async |request: String| {
        raw.send(request.as_bytes()).await;
        let head = raw.head().await;
        // The connection goes on.
        raw.body(&head).await;
        head.status
    };
    for path in ["/", "/v1/events", "/v1/channels", "/v1/nodes", "/metrics", "/nope"] {
        assert_eq!(status(format!("GET {path} HTTP/1.1\r\nHost: evil.example\r\n\r\n")).await, 421, "{path}");
        // The target in absolute form counts, and the field beside it too.
        for (target, host) in [("evil.example", "localhost"), ("localhost", "evil.example")] {
            assert_eq!(status(format!("GET http://{target}{path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await, 421);
        }
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(status(format!("GET {path} HTTP/1.1\r\nHost: 10.0.0.1:7400\r\n\r\n")).await, 200, "{path}");
    }
    assert_eq!(status("GET http://localhost/v1/channels HTTP/1.1\r\nHost: localhost\r\n\r\n".into()).await, 200);
}

#[tokio::test]
async fn listed_hosts_are_answered() {
    let node =
        node_with(|config| config.edge.allowed_hosts = hosts("bus.example,*.pods.example,10.0.0.7:7400").unwrap())
            .await;
    for reader in READERS {
        for (host, status) in [
            ("bus.example", 101),
            ("bus.example.:81", 101),
            ("a.pods.example", 101),
            ("10.0.0.7:7400", 101),
            ("localhost", 101),
            ("10.0.0.7", 421),
            ("pods.example", 421),
            ("badpods.example", 421),
            ("bus.example.evil.io", 421),
        ] {
            assert_eq!(
                handshaken(&node, reader, &[&format!("Host: {host}")]).await.status,
                status,
                "{reader:?} {host}"
            );
        }
    }
    let request = node.request(reqwest::Method::GET, "/v1/channels").header("host", "evil\u{e9}.example");
    let problem = crate::support::http::Response::to(request).await.problem(421, "misdirected-request");
    assert!(problem["detail"].as_str().unwrap().contains("allowed_hosts"), "{problem}");
    // A page of a listed host is of the same origin.
    let page = ["Host: bus.example:8080", "Origin: https://bus.example:8080"];
    assert_eq!(handshaken(&node, Target::from(&node).reader, &page).await.status, 101);
}
