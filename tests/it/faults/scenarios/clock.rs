//! The wall clock is stepped by an hour, forwards and backwards: of Redis, of the nodes, and of a node with the file broker.

use crate::faults::harness::Harness;
use crate::faults::node::StartOptions;
use crate::support::clock::Clock;
use crate::support::redis::Redis;

/// The offsets from the real time, in seconds, one after another.
const STEPS: [i64; 4] = [3600, 0, -3600, 0];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clock_of_redis_stepped() {
    let clock = Clock::start();
    let mut redis = Redis::stopped(&["--appendonly", "no"]);
    redis.environment = clock.environment();
    redis.run();
    let mut harness = Harness::on_redis(redis).await;
    let mut forward_steps = 0;
    for (before, step) in [0].into_iter().chain(STEPS).zip(STEPS) {
        if step > before {
            // For Redis everything is suddenly an hour old: it expires deduplication ids, and events not read yet.
            harness.expire_ids_by(|| clock.step(step));
            forward_steps += 1;
        } else {
            clock.step(step);
        }
        harness.run_healthy().await;
        harness.wait_for_recovery().await;
    }
    harness.finish_with_gaps("clock of Redis stepped by an hour, forward and back", |_| 0..=forward_steps).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clock_of_the_nodes_stepped() {
    let clock = Clock::start();
    let start = StartOptions { clock: Some(&clock), ..StartOptions::default() };
    let harness = Harness::with_proxies(Redis::start(), 2, start).await;
    step_clock(harness, &clock, "clock of the nodes stepped by an hour, forward and back").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clock_of_a_file_log_stepped() {
    let (clock, folder) = (Clock::start(), tempfile::tempdir().expect("a temporary directory"));
    let start = StartOptions { clock: Some(&clock), ..StartOptions::default() };
    let broker = format!("file:{}", folder.path().join("log").display());
    let harness = Harness::start(folder, Vec::new(), vec![broker], start).await;
    step_clock(harness, &clock, "clock stepped by an hour, forward and back, log in files").await;
}

/// Steps the clock through [`STEPS`] under load; no gap may follow.
async fn step_clock<B>(mut harness: Harness<B>, clock: &Clock, name: &str) {
    for step in STEPS {
        clock.step(step);
        harness.run_healthy().await;
        harness.wait_for_recovery().await;
    }
    harness.finish(name, 0).await;
}
