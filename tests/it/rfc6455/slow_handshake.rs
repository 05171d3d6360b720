//! Clients that connect and never finish their request: the daemon drops them after `handshake_timeout`, and other clients are
//! not delayed.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::io::AsyncWriteExt;

use crate::support::each_broker::{TestBroker, over_each_broker_and_tls};
use crate::support::node::Node;
use crate::support::raw::{RawConnection, handshake, handshake_headers};
use crate::support::subscriber::Subscriber;
use crate::support::within;

over_each_broker_and_tls!(
    a_client_that_sends_nothing_is_dropped,
    a_client_that_stops_within_its_headers_is_dropped,
    a_client_that_trickles_its_headers_is_dropped,
    silent_connections_do_not_delay_others,
    a_keep_alive_connection_outlives_the_handshake_timeout,
);

const TIMEOUT: Duration = Duration::from_millis(400);

/// A node with the short handshake timeout.
async fn node_with_short_timeout(broker: &TestBroker) -> Node {
    broker.node_with(|config| config.limits.handshake_timeout = TIMEOUT).await
}

/// Asserts that the timeout has been kept, with a margin for a busy machine.
fn assert_in_time(begin: Instant) {
    assert!(begin.elapsed() < TIMEOUT + Duration::from_secs(3), "{:?}", begin.elapsed());
}

async fn a_client_that_sends_nothing_is_dropped(broker: TestBroker) {
    let node = node_with_short_timeout(&broker).await;
    let begin = Instant::now();
    RawConnection::connect(node.address).await.read_to_end().await;
    assert_in_time(begin);
}

async fn a_client_that_stops_within_its_headers_is_dropped(broker: TestBroker) {
    let node = node_with_short_timeout(&broker).await;
    let whole = handshake(&handshake_headers());
    for length in [1, 20, whole.len() - 1] {
        let begin = Instant::now();
        let mut raw = RawConnection::connect(node.address).await;
        raw.send(&whole[..length]).await;
        raw.read_to_end().await;
        assert_in_time(begin);
    }
}

async fn a_client_that_trickles_its_headers_is_dropped(broker: TestBroker) {
    let node = node_with_short_timeout(&broker).await;
    let begin = Instant::now();
    let mut raw = RawConnection::connect(node.address).await;
    raw.send(b"GET /v1/ws HTTP/1.1\r\nX: ").await;
    within("the daemon drops the connection", async {
        while raw.stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_in_time(begin);
}

async fn silent_connections_do_not_delay_others(broker: TestBroker) {
    let node = broker.node().await;
    let _silent = join_all((0..200).map(|_| RawConnection::connect(node.address))).await;
    Subscriber::connect(&node).await.pong_is_next().await;
}

async fn a_keep_alive_connection_outlives_the_handshake_timeout(broker: TestBroker) {
    let node = broker.node_with(|config| config.limits.handshake_timeout = Duration::from_millis(200)).await;
    let request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut kept = RawConnection::connect(node.address).await;
    kept.send(request).await;
    assert_eq!(kept.head().await.status, 200);
    // A newer connection that sends nothing is dropped, so the timeout has passed for both.
    RawConnection::connect(node.address).await.expect_end().await;
    kept.send(request).await;
    assert_eq!(kept.head().await.status, 200);
}
