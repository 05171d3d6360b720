//! The notice before the drain (`drain_notice`): the node is not ready and is listed as draining, so that balancers send new
//! clients elsewhere, and meanwhile it serves everybody.

use std::time::Duration;

use serde_json::Value;

use crate::support::daemon::Daemon;
use crate::support::each_broker::{TestBroker, over_each_broker_and_tls};
use crate::support::events::sale;
use crate::support::node::Node;
use crate::support::subscriber::Subscriber;
use crate::support::until;

/// Longer than any test: only a second signal ends the notice.
const LONG: Duration = Duration::from_secs(3600);

over_each_broker_and_tls!(during_the_notice_a_node_serves_and_is_not_ready, the_notice_ends_by_itself);

/// The state of a node in the list of nodes.
async fn state(node: &Node) -> Value {
    node.get("/v1/nodes").await.json()["nodes"][0]["state"].clone()
}

async fn during_the_notice_a_node_serves_and_is_not_ready(broker: TestBroker) {
    let mut node = broker.node_with(|config| config.server.drain_notice = LONG).await;
    let mut before = Subscriber::to(&node, "inventory-change").await;
    node.begin_stop();
    until("the node is not ready", async || (node.get("/readyz").await.status == 503).then_some(())).await;
    node.get("/readyz").await.problem(503, "draining");
    until("the node is listed as draining", async || (state(&node).await == "draining").then_some(())).await;
    assert_eq!(node.get("/healthz").await.status, 200);
    let mut during = Subscriber::to(&node, "inventory-change").await;
    node.publish(&sale("1")).await;
    for subscriber in [&mut before, &mut during] {
        assert_eq!(subscriber.event().await.event["subject"], "1");
    }
    assert_eq!(node.get("/v1/events?channel=inventory-change&since=start&wait=1").await.status, 200);
    node.drain_now();
    for subscriber in [&mut before, &mut during] {
        subscriber.frame_of("draining").await;
        assert_eq!(subscriber.close_code().await, 1012);
    }
    drop((before, during));
    node.stopped().await.expect("the node stops without an error");
}

async fn the_notice_ends_by_itself(broker: TestBroker) {
    let mut node = broker.node_with(|config| config.server.drain_notice = Duration::from_millis(300)).await;
    let mut subscriber = Subscriber::to(&node, "inventory-change").await;
    node.begin_stop();
    subscriber.frame_of("draining").await;
    assert_eq!(subscriber.close_code().await, 1012);
    drop(subscriber);
    node.stopped().await.expect("the node stops without an error");
}

/// The first signal begins the notice, the second one the drain, the third one ends the process.
#[test]
fn each_signal_goes_one_step_further() {
    let flags = ["--listen", "127.0.0.1:0", "--drain-notice", "1h", "--drain", "1h"];
    let daemon = Daemon::with(&flags, tempfile::tempdir().unwrap());
    daemon.process.signal("TERM");
    daemon.process.said("not ready from now on");
    let published = daemon.run(&["publish", "order-status", "orderId=1", "newStatus=shipped"]);
    assert_eq!(published.code, Some(0), "{published:?}");
    daemon.process.signal("INT");
    daemon.process.said("draining");
    assert_eq!(daemon.process.ended().code, Some(0));

    let daemon = Daemon::with(&flags, tempfile::tempdir().unwrap());
    // A request that never ends holds up the drain.
    let mut unfinished = std::net::TcpStream::connect(daemon.url.trim_start_matches("http://")).unwrap();
    let head =
        "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n";
    std::io::Write::write_all(&mut unfinished, head.as_bytes()).unwrap();
    daemon.run(&["channels"]);
    for (signal, said) in
        [("INT", "not ready from now on"), ("TERM", "draining"), ("TERM", "before the drain was complete")]
    {
        daemon.process.signal(signal);
        daemon.process.said(said);
    }
    assert_eq!(daemon.process.ended().code, Some(1));
}
