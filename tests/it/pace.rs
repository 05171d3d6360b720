//! The pace of publishers: answers wait until the subscribers have read.

use std::time::Duration;

use serde_json::{Value, json};
use tidings::config::BrokerUrl;
use tokio::time::{Instant, timeout_at};

use crate::support::each_broker::TestBroker;
use crate::support::events::order;
use crate::support::node::{Node, config};
use crate::support::raw::{self, FIN, Frame, PING, PONG, RawConnection, TEXT};
use crate::support::until;

/// More events than the first window has.
const MANY: usize = 100;

fn orders(count: usize) -> Value {
    (0..count).map(|number| order(&format!("o-{number}"))).collect()
}

/// A connection that is subscribed to `order-status`.
async fn subscriber(node: &Node) -> RawConnection {
    let mut raw = RawConnection::open(node).await;
    raw.send(&raw::text(&json!({ "type": "subscribe", "sub": "s", "channel": "order-status" }).to_string())).await;
    assert_eq!(raw.json().await["type"], "subscribed");
    raw
}

/// Reads until `events` events and a Ping behind some of them have come. Returns all such Pings.
async fn read(raw: &mut RawConnection, events: usize) -> Vec<Frame> {
    let (mut read, mut pings) = (0, Vec::new());
    while read < events || pings.is_empty() {
        let frame = raw.frame_or_end().await.expect("the connection is open");
        read += usize::from(frame.opcode == TEXT && frame.json()["type"] == "event");
        // A heartbeat's Ping is empty.
        pings.extend(Some(frame).filter(|frame| frame.opcode == PING && !frame.payload.is_empty()));
    }
    pings
}

/// Reads so many events, and what comes within 300 ms behind them: a publisher whose answer does not wait has it by then. Returns the
/// Pings behind events.
async fn read_and_wait(raw: &mut RawConnection, mut events: usize) -> Vec<Frame> {
    let mut pings = Vec::new();
    let mut take = |frame: Option<Frame>| {
        let frame = frame.expect("the connection is open");
        let is_event = frame.opcode == TEXT && frame.json()["type"] == "event";
        // A heartbeat's Ping is empty.
        pings.extend(Some(frame).filter(|frame| frame.opcode == PING && !frame.payload.is_empty()));
        is_event
    };
    while events > 0 {
        events -= usize::from(take(raw.frame_or_end().await));
    }
    let end = Instant::now() + Duration::from_millis(300);
    while let Ok(frame) = timeout_at(end, raw.frame_or_end()).await {
        take(frame);
    }
    pings
}

/// Publishes until a Ping comes behind events. The shard takes a sample of several events that it writes at once, and may write
/// single ones.
async fn first_sample(node: &Node, raw: &mut RawConnection) -> Vec<Frame> {
    until("a sample", async || {
        node.publish(&orders(20)).await;
        Some(read_and_wait(raw, 20).await).filter(|pings| !pings.is_empty())
    })
    .await
}

async fn answer(raw: &mut RawConnection, pings: &[Frame]) {
    for ping in pings {
        raw.send(&raw::frame(FIN | PONG, &ping.payload)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_waits_until_the_subscribers_have_read() {
    let node = Node::start(config(BrokerUrl::Memory)).await;
    let mut raw = subscriber(&node).await;
    let pings = first_sample(&node, &mut raw).await;
    answer(&mut raw, &pings).await;
    until("the sample", async || (node.metric("tidings_delivery_delay_seconds_count").await > 0.0).then_some(())).await;

    // The window grows with how fast the sample was read: at last, a batch is larger than it.
    for doublings in 0..4 {
        let many = orders(MANY << doublings);
        let before = node.metric("tidings_publish_held_seconds_count").await;
        let ((), held) = tokio::join!(
            async {
                let pings = read_and_wait(&mut raw, MANY << doublings).await;
                answer(&mut raw, &pings).await;
            },
            async {
                node.publish(&many).await;
                node.metric("tidings_publish_held_seconds_count").await
            }
        );
        if held == before + 1.0 {
            return;
        }
    }
    panic!("no answer waited");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_answers_no_pings_holds_nobody_back_for_good() {
    let node = Node::start(config(BrokerUrl::Memory)).await;
    let mut raw = subscriber(&node).await;
    let many = orders(MANY);
    for _ in 0..3 {
        let (accepted, ()) = tokio::join!(node.publish(&many), async {
            for _ in 0..MANY {
                assert_eq!(raw.json().await["type"], "event");
            }
        });
        assert_eq!(accepted.len(), MANY);
    }
    assert_eq!(node.metric("tidings_delivery_delay_seconds_count").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_at_another_node_is_held_back_too() {
    for broker in [TestBroker::redis(), TestBroker::cluster()] {
        let (publisher, subscribers) = (broker.node().await, broker.node().await);
        let mut raw = subscriber(&subscribers).await;
        let held = async {
            until("the publisher is held back", async || {
                publisher.publish(&orders(MANY)).await;
                (publisher.metric("tidings_publish_held_seconds_count").await > 0.0).then_some(())
            })
            .await;
        };
        tokio::pin!(held);
        loop {
            let pings = tokio::select! {
                () = &mut held => break,
                pings = read(&mut raw, 0) => pings,
            };
            // A subscriber that takes longer than it should.
            tokio::time::sleep(Duration::from_millis(30)).await;
            answer(&mut raw, &pings).await;
        }
    }
}
