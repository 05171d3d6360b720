//! Several nodes on one Redis form one bus: an event published at one node is delivered at every node, once and in the same
//! order.

use futures_util::future::join_all;
use serde_json::{Value, json};
use tidings::config::BusMessage;

use crate::support::each_broker::TestBroker;
use crate::support::events::{offset, sale, with};
use crate::support::node::Node;
use crate::support::redis::Redis;
use crate::support::subscriber::Subscriber;

async fn three_nodes(broker: &TestBroker) -> [Node; 3] {
    [broker.node().await, broker.node().await, broker.node().await]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_every_node_reach_all_nodes_in_the_same_order() {
    const EACH: usize = 100;
    let broker = TestBroker::redis();
    let nodes = three_nodes(&broker).await;
    let mut subscribers = Vec::new();
    for node in &nodes {
        subscribers.push(Subscriber::to(node, "inventory-change").await);
    }
    let publish = async |node: &Node| {
        for n in 0..EACH {
            node.publish(&sale(&n.to_string())).await;
        }
    };
    let publishers = join_all(nodes.iter().map(publish));
    let read = join_all(subscribers.iter_mut().map(|subscriber| subscriber.events(nodes.len() * EACH)));
    let (_, seen) = futures_util::join!(publishers, read);
    let offsets: Vec<u64> = seen[0].iter().map(|delivered| offset(&delivered.position)).collect();
    assert_eq!(offsets, (1..=(nodes.len() * EACH) as u64).collect::<Vec<_>>());
    assert!(seen.iter().all(|other| *other == seen[0]), "the same events at the same positions at every node");
}

/// `bus_message = "position"` publishes no event, and one message for all events of a request. Nodes with either value form one
/// bus.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_may_publish_positions_instead_of_events() {
    let redis = Redis::start();
    let watcher = redis.watch("tidings:*");
    let broker = TestBroker::Redis(redis);
    let [of_events, of_positions] = [BusMessage::Event, BusMessage::Position]
        .map(|bus_message| broker.node_with(move |config| config.broker.bus_message = bus_message));
    let nodes = [of_events.await, of_positions.await];
    let mut subscribers =
        [Subscriber::to(&nodes[0], "inventory-change").await, Subscriber::to(&nodes[1], "inventory-change").await];
    let batch = json!([sale("2"), sale("3"), sale("4")]);
    let first = nodes[0].publish(&sale("1")).await.remove(0).position;
    let last = nodes[1].publish(&batch).await.remove(2).position;
    let next = nodes[0].publish(&sale("5")).await.remove(0).position;
    let channel = "tidings:default:inventory-change";
    let whole = |text: &str, position: &str| {
        let frame: Value = serde_json::from_str(text).unwrap();
        assert_eq!((&frame["type"], &frame["position"]), (&json!("event"), &json!(position)));
        assert_eq!(frame["event"]["type"], "inventory-change");
    };
    let messages = [watcher.message(), watcher.message(), watcher.message()];
    assert!(messages.iter().all(|(name, _)| name == channel));
    whole(&messages[0].1, &first);
    assert_eq!(messages[1].1, format!(r#"{{"type":"position","position":"{last}"}}"#));
    whole(&messages[2].1, &next);
    for subscriber in &mut subscribers {
        let seen: Vec<_> = subscriber.events(5).await.iter().map(|delivered| offset(&delivered.position)).collect();
        assert_eq!(seen, [1, 2, 3, 4, 5]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_is_appended_once_whichever_nodes_receive_it() {
    let broker = TestBroker::redis();
    let nodes = three_nodes(&broker).await;
    let event = with(sale("1"), "id", "same");
    let posts = nodes.iter().flat_map(|node| (0..5).map(|_| node.publish(&event)));
    let accepted: Vec<_> = join_all(posts).await.into_iter().flatten().collect();
    assert_eq!(accepted.iter().filter(|entry| !entry.duplicate).count(), 1);
    assert!(accepted.iter().all(|entry| entry.position == accepted[0].position));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_that_alternates_between_nodes_gets_rising_positions() {
    let broker = TestBroker::redis();
    let nodes = three_nodes(&broker).await;
    let noise = async {
        for _ in 0..60 {
            nodes[0].publish(&json!([sale("noise"), sale("noise")])).await;
        }
    };
    let mine = async {
        let mut last = 0;
        for n in 0..90 {
            let at = offset(&nodes[n % 3].publish(&sale("mine")).await[0].position);
            assert!(at > last, "{at} after {last}");
            last = at;
        }
    };
    futures_util::join!(noise, mine);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopping_node_loses_no_event_of_the_others() {
    let broker = TestBroker::redis();
    let [mut stopping, other, _] = three_nodes(&broker).await;
    let mut remaining = Subscriber::to(&other, "inventory-change").await;
    let mut disconnected = Subscriber::to(&stopping, "inventory-change").await;
    let first = stopping.publish(&sale("1")).await.remove(0);
    stopping.begin_stop();
    assert_eq!(disconnected.event().await.position, first.position);
    assert_eq!(disconnected.close_code().await, 1012);
    drop(disconnected);
    stopping.stopped().await.expect("the node stops without an error");
    let second = other.publish(&sale("2")).await.remove(0);
    let seen: Vec<_> = remaining.events(2).await.into_iter().map(|delivered| delivered.position).collect();
    assert_eq!(seen, [first.position, second.position]);
}
