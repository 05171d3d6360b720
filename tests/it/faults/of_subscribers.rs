//! Subscribers who do not read as fast as their events come.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::stage::{Stage, Start};
use crate::support::redis::Redis;

/// How often they must have been closed.
const CLOSED: u64 = 4;
/// That takes as long as it takes to publish what no buffer on the way holds.
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_slow_again_and_again() {
    let start = Start { flags: &["--outbox-bytes", "64KiB"], ..Start::default() };
    let mut stage = Stage::linked(Redis::start(), 2, start).await;
    let (count, appetite) = watch::channel(0);
    for _ in 0..2 {
        stage.join_slow(0, appetite.clone()).await;
    }
    let begin = Instant::now();
    while *count.borrow() < CLOSED {
        assert!(begin.elapsed() < PATIENCE, "{} were closed", *count.borrow());
        tokio::time::sleep(Duration::from_millis(50)).await;
        count.send_replace(stage.metric(0, "tidings_slow_consumers_total").await as u64);
    }
    // From now on they read as they can.
    drop(count);
    stage.heals().await;
    stage.end("slow consumers closed with 4008, who come back", 0).await;
}
