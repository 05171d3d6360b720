//! Servers that lack something of Redis: RESP3, or sharded pub/sub. The suite in `broker.rs` runs over a server without RESP3,
//! too.

use tidings::broker::BrokerError;

use crate::support::broker::{Next, Node, config, redis_url, url};
use crate::support::redis::{Redis, documented_user};
use crate::support::until;

const STOCK: &str = "inventory-change";

/// A server that speaks RESP2 only.
fn resp2() -> Redis {
    Redis::with(&["--rename-command", "HELLO", ""])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_resp3_needs_the_documented_rights_only() {
    let redis = resp2();
    documented_user(&redis, "~tidings:*");
    let address = format!("127.0.0.1:{}", redis.port);
    let mut node = Node::ready(&config(url(&format!("redis://tidings:s3cret@{address}")))).await;
    node.hears(STOCK).await;
    let wrong = Node::open(&config(url(&format!("redis://tidings:wrong@{address}"))));
    let BrokerError::Rejected(cause) = wrong.try_append(STOCK, "a").await.expect_err("a wrong password") else {
        panic!("a wrong password is refused")
    };
    assert!(cause.contains("WRONGPASS"), "{cause}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_with_and_without_resp3_form_one_bus() {
    let mut redis = Redis::durable();
    let mut first = Node::on_redis(redis.port).await;
    let position = first.add(STOCK, "a").await;
    // The server comes back without RESP3: an open node goes on with RESP2.
    redis.kill();
    redis.add_options(&["--rename-command", "HELLO", ""]);
    redis.run();
    first.heals().await;
    let mut second = Node::on_redis(redis.port).await;
    let next = until("an append after the restart", async || first.try_append(STOCK, "b").await.ok()).await;
    assert_eq!(next.position, position.next());
    assert_eq!(second.hears(STOCK).await, next.position.next());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_without_resp3_is_no_master() {
    let (master, replica) = (resp2(), resp2());
    replica.cli(&["replicaof", "127.0.0.1", &master.port.to_string()]);
    let node = Node::open(&config(redis_url(replica.port)));
    let refused = async || {
        node.try_append(STOCK, "a").await.expect_err("a replica").to_string().contains("is a replica").then_some(())
    };
    until("the replica is found out", refused).await;
    replica.cli(&["replicaof", "no", "one"]);
    let position = until("it is promoted", async || node.try_append(STOCK, "b").await.ok()).await.position;
    assert_eq!(position.offset, 1);
}

/// As on Upstash over TCP.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_sharded_channels_carries_the_probe_on_plain_ones() {
    for redis in [Redis::start(), resp2()] {
        redis.cli(&["acl", "setuser", "bus", "on", ">s3cret", "~*", "&*", "+@all", "-spublish", "-ssubscribe"]);
        let broker = url(&format!("redis://bus:s3cret@127.0.0.1:{}", redis.port));
        let mut node = Node::ready(&config(broker)).await;
        node.hears(STOCK).await;
        // The check of the rights finds nothing.
        for number in 1..=17 {
            node.broker.probe(number << 40).await.unwrap();
        }
        let watcher = redis.watch("internal:*");
        node.broker.announce(node.channel(STOCK), "text").await.unwrap();
        let announced = (format!("internal:tidings:default:{STOCK}:pace"), "text".to_owned());
        until("the announcement comes", async || (watcher.message() == announced).then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_without_any_channel_for_the_probe_is_told_which_right_is_missing() {
    let redis = Redis::start();
    documented_user(&redis, "~tidings:*");
    redis.cli(&["acl", "setuser", "tidings", "-ssubscribe"]);
    let node = Node::open(&config(url(&format!("redis://tidings:s3cret@127.0.0.1:{}", redis.port))));
    until("the reason names the right", async || {
        let error = node.broker.probe(1).await.expect_err("no right").to_string();
        error.contains("+ssubscribe").then_some(())
    })
    .await;
}
