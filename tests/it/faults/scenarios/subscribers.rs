//! Slow subscribers: they are closed with 4008 again and again, and resume each time.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::faults::harness::Harness;
use crate::faults::node::StartOptions;
use crate::support::redis::Redis;

/// How many closes the test waits for.
const CLOSES: u64 = 4;
/// The timeout of that wait. It is long, because the load must first fill every buffer between the node and the client.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(300);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_subscribers_are_closed_and_resume() {
    let start = StartOptions { flags: &["--outbox-bytes", "64KiB"], ..StartOptions::default() };
    let mut harness = Harness::with_proxies(Redis::start(), 2, start).await;
    let (closed_count, read_gate) = watch::channel(0);
    for _ in 0..2 {
        harness.add_slow_subscriber(0, read_gate.clone()).await;
    }
    let begin = Instant::now();
    while *closed_count.borrow() < CLOSES {
        assert!(begin.elapsed() < CLOSE_TIMEOUT, "{} slow consumers were closed", *closed_count.borrow());
        tokio::time::sleep(Duration::from_millis(50)).await;
        closed_count.send_replace(harness.metric(0, "tidings_slow_consumers_total").await as u64);
    }
    // Without the counter, the slow subscribers read at full speed.
    drop(closed_count);
    harness.wait_for_recovery().await;
    harness.finish("slow consumers closed with 4008, which reconnect", 0).await;
}
