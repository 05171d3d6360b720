//! A log that is lost loses its newest events, and says so by a gap. A broker that is gone proves nothing.

use reqwest::Method;
use serde_json::json;

use super::{ORDERS, ask, keeping, orders, path};
use crate::support::each_broker::TestBroker;
use crate::support::events::{epoch_and_offset, order};
use crate::support::http::Response;
use crate::support::subscriber::Subscriber;
use crate::support::{until, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_log_has_no_newest_events_of_the_log_before() {
    let broker = TestBroker::redis();
    let node = broker.node_with(keeping).await;
    let first = node.publish(&order("o1")).await.remove(0).position;
    let mut client = Subscriber::connect_to(&node, &format!("/v1/ws?channel={ORDERS}&since=latest")).await;
    client.frame_of("subscribed").await;
    assert_eq!(client.event().await.position, first);
    assert_eq!(ask(&node, &path("o1"), None).await.status, 200);
    let request = node.request(Method::GET, &format!("{}?wait=30", path("o2")));
    let waiting = tokio::spawn(Response::to(request));
    until("it waits", async || (node.metric("tidings_long_polls").await >= 1.0).then_some(())).await;
    let TestBroker::Redis(redis) = &broker else { unreachable!() };
    redis.cli(&["flushall"]);
    let second = node.publish(&order("o2")).await.remove(0).position;
    assert_ne!(epoch_and_offset(&first).0, epoch_and_offset(&second).0);
    client.frame_of("gap").await;
    assert_eq!(client.event().await.position, second);
    let found = within("an answer", waiting).await.unwrap();
    assert_eq!(found.json()["position"], json!(second));
    // The subscriber was told of the gap, so that this node knows of the loss.
    ask(&node, &path("o1"), None).await.problem(404, "not-found");
    let list = ask(&node, &format!("/v1/latest/{ORDERS}?cursor={first}"), None).await.json();
    assert_eq!(orders(&list), [("o2".to_owned(), "pending".to_owned())]);
    assert_eq!(list["gap"][0]["from"], json!(first));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_does_not_end_with_what_nobody_has_proved() {
    let mut broker = TestBroker::redis();
    let node = broker.node_with(keeping).await;
    let newest = node.publish(&order("o1")).await.remove(0).position;
    until("it is there", async || (ask(&node, &path("o1"), None).await.status == 200).then_some(())).await;
    let request = node.request(Method::GET, &format!("{}?wait=4", path("o1")));
    let waiting = tokio::spawn(Response::to(request.header("if-none-match", format!("\"{newest}\""))));
    until("it waits", async || (node.metric("tidings_long_polls").await >= 1.0).then_some(())).await;
    let TestBroker::Redis(redis) = &mut broker else { unreachable!() };
    redis.kill();
    within("an answer", waiting).await.unwrap().problem(503, "broker-unavailable");
}
