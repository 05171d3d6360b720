//! The way from one node to Redis breaks; the other node goes on.

use std::time::Duration;

use super::ledger::CHANNELS;
use super::stage::Stage;
use crate::support::proxy::Mode;
use crate::support::redis::Redis;

/// The node whose link breaks.
const CUT_OFF: usize = 1;

/// The link is in this state until the node has noticed, while the other one publishes.
async fn broken(modes: &[Mode], name: &str) {
    let mut stage = Stage::set(Redis::start()).await;
    for &mode in modes {
        stage.links[CUT_OFF].set(mode);
        stage.ready(CUT_OFF, 503).await;
        stage.unavailable(CUT_OFF, 5).await;
        stage.load(300).await;
        stage.ready(1 - CUT_OFF, 200).await;
        stage.join(CUT_OFF, &CHANNELS).await;
        stage.links[CUT_OFF].set(Mode::Pass);
        stage.heals().await;
        stage.goes_on().await;
    }
    stage.end(name, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_both_ways() {
    broken(&[Mode::Silent], "link silent both ways").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_one_way() {
    broken(&[Mode::DeafServer, Mode::DeafClient], "link silent one way, then the other").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_for_ever() {
    // As behind a NAT that forgot them: the connections never end, and new ones are let through.
    let mut stage = Stage::set(Redis::start()).await;
    for _ in 0..2 {
        stage.links[CUT_OFF].strand();
        stage.ready(CUT_OFF, 503).await;
        stage.heals().await;
        stage.goes_on().await;
    }
    stage.end("link half-open, twice", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reset() {
    let mut stage = Stage::set(Redis::start()).await;
    for _ in 0..5 {
        stage.links[CUT_OFF].cut();
        stage.load(20).await;
    }
    stage.heals().await;
    stage.links[CUT_OFF].set(Mode::Refuse);
    stage.ready(CUT_OFF, 503).await;
    stage.load(300).await;
    stage.links[CUT_OFF].set(Mode::Pass);
    stage.heals().await;
    stage.end("link reset five times, then refused", 0).await;
}

/// The link is slow while the load goes on, at both nodes; what comes of it must only be slow.
async fn slow(mode: Mode, name: &str) {
    let mut stage = Stage::set(Redis::start()).await;
    for _ in 0..2 {
        stage.links[CUT_OFF].set(mode);
        stage.load(300).await;
        stage.join(CUT_OFF, &CHANNELS).await;
        stage.heals().await;
        stage.links[CUT_OFF].set(Mode::Pass);
        stage.goes_on().await;
    }
    stage.end(name, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late() {
    slow(Mode::Late(Duration::from_millis(200)), "link slowed to 200 ms each way").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn narrow() {
    slow(Mode::Narrow(125_000), "link slowed to 1 Mbit/s").await;
}
