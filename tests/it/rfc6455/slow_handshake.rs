//! Peers that do not get to the point: dropped within `handshake_timeout`, and in nobody's way.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::io::AsyncWriteExt;

use crate::support::each_broker::{TestBroker, over_each_broker};
use crate::support::node::Node;
use crate::support::raw::{Raw, upgrade, usual};
use crate::support::subscriber::Subscriber;
use crate::support::within;

over_each_broker!(
    a_peer_that_says_nothing_is_dropped,
    a_peer_that_stops_within_the_head_is_dropped,
    a_peer_that_sends_its_head_drop_by_drop_is_dropped,
    silent_peers_hold_up_nobody,
    a_connection_that_made_a_request_is_kept_for_the_next_one,
);

const TIMEOUT: Duration = Duration::from_millis(400);

async fn impatient(broker: &TestBroker) -> Node {
    broker.node_with(|config| config.limits.handshake_timeout = TIMEOUT).await
}

/// The end must come in time, give or take what a busy machine takes.
fn in_time(begin: Instant) {
    assert!(begin.elapsed() < TIMEOUT + Duration::from_secs(3), "{:?}", begin.elapsed());
}

async fn a_peer_that_says_nothing_is_dropped(broker: TestBroker) {
    let node = impatient(&broker).await;
    let begin = Instant::now();
    Raw::connect(node.address).await.rest().await;
    in_time(begin);
}

async fn a_peer_that_stops_within_the_head_is_dropped(broker: TestBroker) {
    let node = impatient(&broker).await;
    let whole = upgrade(&usual());
    for length in [1, 20, whole.len() - 1] {
        let begin = Instant::now();
        let mut raw = Raw::connect(node.address).await;
        raw.send(&whole[..length]).await;
        raw.rest().await;
        in_time(begin);
    }
}

async fn a_peer_that_sends_its_head_drop_by_drop_is_dropped(broker: TestBroker) {
    let node = impatient(&broker).await;
    let begin = Instant::now();
    let mut raw = Raw::connect(node.address).await;
    raw.send(b"GET /v1/ws HTTP/1.1\r\nX: ").await;
    within("the daemon cuts it off", async {
        while raw.stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    in_time(begin);
}

async fn silent_peers_hold_up_nobody(broker: TestBroker) {
    let node = broker.node().await;
    let _silent = join_all((0..200).map(|_| Raw::connect(node.address))).await;
    Subscriber::connect(&node).await.pong_is_next().await;
}

async fn a_connection_that_made_a_request_is_kept_for_the_next_one(broker: TestBroker) {
    let node = broker.node_with(|config| config.limits.handshake_timeout = Duration::from_millis(200)).await;
    let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut kept = Raw::connect(node.address).await;
    kept.send(request).await;
    assert_eq!(kept.head().await.status, 200);
    // One that came later and says nothing is dropped: the time has passed for both.
    Raw::connect(node.address).await.ends().await;
    kept.send(request).await;
    assert_eq!(kept.head().await.status, 200);
}
