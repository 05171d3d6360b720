//! Redis dies, hangs, or forgets.

use std::time::{Duration, Instant};

use super::ledger::CHANNELS;
use super::stage::Stage;
use crate::support::redis::Redis;

/// A pause that the daemon must outlast with its connections open, and one after which they are better off elsewhere.
const PAUSE: Duration = Duration::from_secs(8);
const LONG_PAUSE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_back_without_its_data() {
    let mut stage = Stage::set(Redis::start()).await;
    stage.redis.kill();
    for node in 0..2 {
        stage.unavailable(node, 10).await;
        stage.ready(node, 503).await;
        // Who comes now is told of what is lost like everybody.
        stage.join(node, &CHANNELS).await;
    }
    stage.redis.run();
    stage.heals().await;
    stage.gaps(1).await;
    stage.end("killed, without data", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_back_with_its_data() {
    let mut stage = Stage::set(Redis::durable()).await;
    for _ in 0..2 {
        stage.redis.kill();
        for node in 0..2 {
            stage.unavailable(node, 5).await;
            stage.join(node, &CHANNELS).await;
        }
        stage.redis.run();
        stage.heals().await;
        stage.load(300).await;
    }
    stage.end("killed, with data", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_back_with_older_data() {
    let mut stage = Stage::set(Redis::start()).await;
    stage.redis.cli(&["save"]);
    stage.load(300).await;
    stage.redis.kill();
    for node in 0..2 {
        stage.unavailable(node, 5).await;
    }
    stage.redis.run();
    stage.heals().await;
    stage.gaps(1).await;
    stage.end("killed, with older data", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_for_eight_seconds() {
    let mut stage = Stage::set(Redis::start()).await;
    stage.redis.pause();
    let end = Instant::now() + PAUSE;
    for node in 0..2 {
        stage.ready(node, 503).await;
        stage.join(node, &CHANNELS).await;
    }
    while Instant::now() < end {
        for node in 0..2 {
            stage.unavailable(node, 1).await;
            stage.ready(node, 503).await;
        }
    }
    stage.redis.go_on();
    stage.heals().await;
    stage.end("paused for 8 s", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_for_so_long_that_connections_are_sent_away() {
    let mut stage = Stage::roaming(Redis::start(), 2, &[]).await;
    stage.redis.pause();
    let end = Instant::now() + LONG_PAUSE;
    for node in 0..2 {
        stage.sends_away(node).await;
    }
    tokio::time::sleep_until(end.into()).await;
    stage.redis.go_on();
    stage.heals().await;
    stage.end("paused for 20 s", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscribers_dropped() {
    let mut stage = Stage::set(Redis::start()).await;
    for _ in 0..3 {
        assert_eq!(stage.redis.cli(&["client", "kill", "type", "pubsub"]), "2");
        stage.heals().await;
        stage.load(300).await;
    }
    stage.end("CLIENT KILL TYPE pubsub, three times", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flushed() {
    let mut stage = Stage::set(Redis::start()).await;
    for time in 1..=3 {
        stage.redis.cli(&["flushall"]);
        stage.gaps(time).await;
        stage.heals().await;
        stage.load(300).await;
    }
    stage.end("FLUSHALL, three times", 3).await;
}
