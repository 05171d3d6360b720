//! Faults of a single Redis: it is killed with and without its data, hangs, is flushed, or drops its subscribers.

use std::time::{Duration, Instant};

use crate::faults::harness::Harness;
use crate::faults::ledger::CHANNELS;
use crate::faults::profile::profile;
use crate::support::redis::Redis;
use crate::support::until;

/// A pause during which the nodes must keep their connections open.
const SHORT_PAUSE: Duration = Duration::from_secs(8);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_restarted_without_data() {
    let mut harness = Harness::on_redis(Redis::start()).await;
    harness.broker.kill();
    for node in 0..2 {
        harness.wait_for_503s(node, 10).await;
        harness.wait_for_readyz(node, 503).await;
        // A subscriber that joins during the outage must get the gap too.
        harness.add_subscriber(node, &CHANNELS).await;
    }
    harness.broker.run();
    harness.wait_for_recovery().await;
    harness.wait_for_gaps(1).await;
    harness.finish("killed, without data", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_restarted_with_data() {
    let mut harness = Harness::on_redis(Redis::durable()).await;
    for _ in 0..2 {
        harness.broker.kill();
        for node in 0..2 {
            harness.wait_for_503s(node, 5).await;
            harness.add_subscriber(node, &CHANNELS).await;
        }
        harness.broker.run();
        harness.wait_for_recovery().await;
        harness.run_healthy().await;
    }
    harness.finish("killed, with data", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_restarted_with_older_data() {
    let mut harness = Harness::on_redis(Redis::start()).await;
    harness.broker.cli(&["save"]);
    harness.run_healthy().await;
    harness.broker.kill();
    for node in 0..2 {
        harness.wait_for_503s(node, 5).await;
    }
    harness.broker.run();
    harness.wait_for_recovery().await;
    harness.wait_for_gaps(1).await;
    harness.finish("killed, with older data", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_for_eight_seconds() {
    let mut harness = Harness::on_redis(Redis::start()).await;
    harness.broker.pause();
    let end = Instant::now() + SHORT_PAUSE;
    for node in 0..2 {
        harness.wait_for_readyz(node, 503).await;
        harness.add_subscriber(node, &CHANNELS).await;
    }
    while Instant::now() < end {
        for node in 0..2 {
            harness.wait_for_503s(node, 1).await;
            harness.wait_for_readyz(node, 503).await;
        }
    }
    harness.broker.go_on();
    harness.wait_for_recovery().await;
    harness.finish("paused for 8 s", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_until_connections_are_evicted() {
    let mut harness = Harness::with_failover(Redis::start(), 2, &[]).await;
    let pause = profile().pause;
    harness.broker.pause();
    let end = Instant::now() + pause;
    for node in 0..2 {
        harness.wait_for_eviction(node).await;
    }
    tokio::time::sleep_until(end.into()).await;
    harness.broker.go_on();
    harness.wait_for_recovery().await;
    harness.finish(&format!("paused for {} s", pause.as_secs()), 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriber_connections_killed() {
    let mut harness = Harness::on_redis(Redis::start()).await;
    for _ in 0..3 {
        assert_eq!(harness.broker.cli(&["client", "kill", "type", "pubsub"]), "2");
        harness.wait_for_recovery().await;
        harness.run_healthy().await;
    }
    harness.finish("CLIENT KILL TYPE pubsub, three times", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flushed() {
    let mut harness = Harness::on_redis(Redis::start()).await;
    for times in 1..=3 {
        harness.broker.cli(&["flushall"]);
        harness.wait_for_gaps(times).await;
        harness.wait_for_recovery().await;
        harness.run_healthy().await;
    }
    harness.finish("FLUSHALL, three times", 3).await;
}

/// Redis disconnects a subscriber whose output buffer is over the limit. The limit counts what is behind the 16 KiB that every
/// client has. Redis 7 shrinks these to the size in use, and the load alone is over the limit there. Redis 6.2 does not, so a
/// message of another program fills them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscribers_dropped_over_the_output_buffer_limit() {
    let mut harness = Harness::on_redis(Redis::start()).await;
    for times in 1..=3 {
        harness.broker.cli(&["config", "set", "client-output-buffer-limit", "pubsub 2kb 0 0"]);
        until("Redis has dropped both nodes", async || {
            harness.broker.cli(&["publish", "tidings:default:order-status", &"x".repeat(20_000)]);
            let log =
                std::fs::read_to_string(harness.broker.directory.path().join("redis.log")).expect("the log of Redis");
            (log.matches("overcoming of output buffer limits").count() >= times * 2).then_some(())
        })
        .await;
        harness.broker.cli(&["config", "set", "client-output-buffer-limit", "pubsub 32mb 8mb 60"]);
        harness.wait_for_recovery().await;
        harness.run_healthy().await;
    }
    harness.finish("dropped for the output buffer, three times", 0).await;
}
