//! Redis dies, hangs, or forgets.

use std::time::{Duration, Instant};

use super::form::form;
use super::ledger::CHANNELS;
use super::stage::Stage;
use crate::support::redis::Redis;
use crate::support::until;

/// A pause that the daemon must outlast with its connections open.
const PAUSE: Duration = Duration::from_secs(8);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_back_without_its_data() {
    let mut stage = Stage::set(Redis::start()).await;
    stage.broker.kill();
    for node in 0..2 {
        stage.unavailable(node, 10).await;
        stage.ready(node, 503).await;
        // Who comes now is told of what is lost like everybody.
        stage.join(node, &CHANNELS).await;
    }
    stage.broker.run();
    stage.heals().await;
    stage.gaps(1).await;
    stage.end("killed, without data", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_back_with_its_data() {
    let mut stage = Stage::set(Redis::durable()).await;
    for _ in 0..2 {
        stage.broker.kill();
        for node in 0..2 {
            stage.unavailable(node, 5).await;
            stage.join(node, &CHANNELS).await;
        }
        stage.broker.run();
        stage.heals().await;
        stage.goes_on().await;
    }
    stage.end("killed, with data", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_back_with_older_data() {
    let mut stage = Stage::set(Redis::start()).await;
    stage.broker.cli(&["save"]);
    stage.goes_on().await;
    stage.broker.kill();
    for node in 0..2 {
        stage.unavailable(node, 5).await;
    }
    stage.broker.run();
    stage.heals().await;
    stage.gaps(1).await;
    stage.end("killed, with older data", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_for_eight_seconds() {
    let mut stage = Stage::set(Redis::start()).await;
    stage.broker.pause();
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
    stage.broker.go_on();
    stage.heals().await;
    stage.end("paused for 8 s", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_for_so_long_that_connections_are_sent_away() {
    let mut stage = Stage::roaming(Redis::start(), 2, &[]).await;
    let pause = form().pause;
    stage.broker.pause();
    let end = Instant::now() + pause;
    for node in 0..2 {
        stage.sends_away(node).await;
    }
    tokio::time::sleep_until(end.into()).await;
    stage.broker.go_on();
    stage.heals().await;
    stage.end(&format!("paused for {} s", pause.as_secs()), 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscribers_dropped() {
    let mut stage = Stage::set(Redis::start()).await;
    for _ in 0..3 {
        assert_eq!(stage.broker.cli(&["client", "kill", "type", "pubsub"]), "2");
        stage.heals().await;
        stage.goes_on().await;
    }
    stage.end("CLIENT KILL TYPE pubsub, three times", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flushed() {
    let mut stage = Stage::set(Redis::start()).await;
    for time in 1..=3 {
        stage.broker.cli(&["flushall"]);
        stage.gaps(time).await;
        stage.heals().await;
        stage.goes_on().await;
    }
    stage.end("FLUSHALL, three times", 3).await;
}

/// Redis drops who does not read what it sends: here, whoever has more than a few events before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscribers_dropped_for_their_output_buffer() {
    let mut stage = Stage::set(Redis::start()).await;
    for times in 1..=3 {
        stage.broker.cli(&["config", "set", "client-output-buffer-limit", "pubsub 2kb 0 0"]);
        until("both nodes to be dropped", async || {
            let log = std::fs::read_to_string(stage.broker.directory.path().join("redis.log")).expect("its log");
            (log.matches("overcoming of output buffer limits").count() >= times * 2).then_some(())
        })
        .await;
        stage.broker.cli(&["config", "set", "client-output-buffer-limit", "pubsub 32mb 8mb 60"]);
        stage.heals().await;
        stage.goes_on().await;
    }
    stage.end("dropped for the output buffer, three times", 0).await;
}
