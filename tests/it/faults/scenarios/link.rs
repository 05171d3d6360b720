//! Network faults between one node and Redis: silent, half-open, reset, slow. The other node continues.

use std::time::Duration;

use crate::faults::harness::Harness;
use crate::faults::ledger::CHANNELS;
use crate::support::proxy::Mode;
use crate::support::redis::Redis;

/// The node whose connection to Redis is broken.
const PARTITIONED: usize = 1;

/// Applies each mode until the node has noticed it, while the other node publishes, then heals the link.
async fn break_link(modes: &[Mode], name: &str) {
    let mut harness = Harness::on_redis(Redis::start()).await;
    for &mode in modes {
        harness.proxies[PARTITIONED].set(mode);
        harness.wait_for_readyz(PARTITIONED, 503).await;
        harness.wait_for_503s(PARTITIONED, 5).await;
        harness.wait_for_acknowledged(300).await;
        harness.wait_for_readyz(1 - PARTITIONED, 200).await;
        harness.add_subscriber(PARTITIONED, &CHANNELS).await;
        harness.proxies[PARTITIONED].set(Mode::Pass);
        harness.wait_for_recovery().await;
        harness.run_healthy().await;
    }
    harness.finish(name, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_both_ways() {
    break_link(&[Mode::Silent], "link silent both ways").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_one_way() {
    break_link(&[Mode::DeafServer, Mode::DeafClient], "link silent one way, then the other").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open() {
    // As behind a NAT that dropped its entries: the old connections never end, and new ones pass.
    let mut harness = Harness::on_redis(Redis::start()).await;
    for _ in 0..2 {
        harness.proxies[PARTITIONED].strand();
        harness.wait_for_readyz(PARTITIONED, 503).await;
        harness.wait_for_recovery().await;
        harness.run_healthy().await;
    }
    harness.finish("link half-open, twice", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reset_and_then_refused() {
    let mut harness = Harness::on_redis(Redis::start()).await;
    for _ in 0..5 {
        harness.proxies[PARTITIONED].cut();
        harness.wait_for_acknowledged(20).await;
    }
    harness.wait_for_recovery().await;
    harness.proxies[PARTITIONED].set(Mode::Refuse);
    harness.wait_for_readyz(PARTITIONED, 503).await;
    harness.wait_for_acknowledged(300).await;
    harness.proxies[PARTITIONED].set(Mode::Pass);
    harness.wait_for_recovery().await;
    harness.finish("link reset five times, then refused", 0).await;
}

/// Slows the link down under load at both nodes. The node becomes slow, and nothing else may happen.
async fn slow_link_down(mode: Mode, name: &str) {
    let mut harness = Harness::on_redis(Redis::start()).await;
    for _ in 0..2 {
        harness.proxies[PARTITIONED].set(mode);
        harness.wait_for_acknowledged(300).await;
        harness.add_subscriber(PARTITIONED, &CHANNELS).await;
        harness.wait_for_recovery().await;
        harness.proxies[PARTITIONED].set(Mode::Pass);
        harness.run_healthy().await;
    }
    harness.finish(name, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn high_latency() {
    slow_link_down(Mode::Latency(Duration::from_millis(200)), "link slowed to 200 ms each way").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn low_bandwidth() {
    slow_link_down(Mode::Bandwidth(125_000), "link slowed to 1 Mbit/s").await;
}
