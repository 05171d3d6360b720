//! Announcements: short texts of a node to the relays of the others. They are best effort, and harm nobody.

use tidings::broker::{MAX_ANNOUNCEMENT_BYTES, Signal};
use tidings::config::BrokerUrl;
use tidings::protocol;

use crate::support::broker::{Node, config, redis_url};
use crate::support::cluster::Cluster;
use crate::support::events::order;
use crate::support::node;
use crate::support::redis::Redis;
use crate::support::subscriber::Subscriber;
use crate::support::until;

const ORDERS: &str = "order-status";

impl Node {
    /// The text of the next announcement; skips other signals.
    async fn announced(&mut self) -> String {
        loop {
            if let Signal::Announced { channel, text } = self.signal().await {
                assert_eq!(channel, self.channel(ORDERS));
                return text.to_string();
            }
        }
    }
}

/// `server` has the channel's keys, whose names begin with `name`; `listen` is its command to subscribe to one.
async fn announcements(broker: BrokerUrl, server: &Redis, name: &str, listen: &str) {
    let (mut one, mut other) = (Node::ready(&config(broker.clone())).await, Node::ready(&config(broker.clone())).await);
    let daemon = node::Node::start(node::config(broker)).await;
    let mut subscriber = Subscriber::to(&daemon, ORDERS).await;
    let topic = format!("{name}:pace");
    // What clients of the bus see are events.
    let (events, everything) = (server.listen(listen, name), server.watch("tidings:*"));
    let orders = one.channel(ORDERS);
    one.broker.announce(orders, "10 ms").await.unwrap();
    assert_eq!(other.announced().await, "10 ms");
    assert_eq!(one.announced().await, "10 ms");

    let longest = "x".repeat(MAX_ANNOUNCEMENT_BYTES);
    let long = format!("{longest}y");
    let refused = one.broker.announce(orders, &long).await.unwrap_err().to_string();
    assert!(refused.contains("1024 bytes"), "{refused}");
    let no_text = "return redis.call('spublish', KEYS[1], '\\255\\0')";
    server.cli(&["eval", no_text, "1", &topic]);
    server.cli(&["spublish", &topic, &long]);
    server.cli(&["spublish", &topic, ""]);
    server.cli(&["spublish", &topic, r#"{"type":"event","position":"nonsense"}"#]);
    one.broker.announce(orders, &longest).await.unwrap();
    for expected in ["", r#"{"type":"event","position":"nonsense"}"#, &*longest] {
        assert_eq!(other.announced().await, expected);
    }
    let accepted = daemon.publish(&order("1")).await.remove(0);
    let delivered = subscriber.event().await;
    assert_eq!(delivered.position, accepted.position);
    assert_eq!(daemon.get("/readyz").await.status, 200);
    let mut seen = vec![events.exact_message()];
    // A pattern matches no sharded channel, so in a cluster its client sees nothing.
    if listen == "subscribe" {
        seen.push(everything.message());
    }
    for (on, frame) in seen {
        assert_eq!(on, name);
        assert_eq!(protocol::bus_message_position(frame.as_bytes()).unwrap().to_string(), accepted.position);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_announcement_reaches_the_other_nodes_and_garbage_does_no_harm() {
    let redis = Redis::start();
    announcements(redis_url(redis.port), &redis, "tidings:default:order-status", "subscribe").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_cluster_an_announcement_goes_through_the_master_of_its_channel() {
    let cluster = Cluster::masters();
    announcements(cluster.url(), &cluster.nodes[0], "tidings:default:{order-status}", "ssubscribe").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_announcement_that_cannot_be_sent_fails() {
    let mut redis = Redis::start();
    let node = Node::on_redis(redis.port).await;
    let orders = node.channel(ORDERS);
    redis.kill();
    until("the node has noticed", async || node.broker.announce(orders, "").await.is_err().then_some(())).await;
    redis.run();
    until("the node is connected again", async || node.broker.announce(orders, "").await.ok()).await;
    node.broker.close().await;
    assert!(node.broker.announce(orders, "").await.is_err());
    let alone = Node::open(&config(BrokerUrl::Memory));
    alone.broker.announce(orders, "nobody else is there").await.unwrap();
}
