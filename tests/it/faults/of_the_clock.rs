//! The time of day is stepped by an hour, forth and back: for Redis, for the nodes, for a log in files.

use super::stage::{Stage, Start};
use crate::support::clock::Clock;
use crate::support::redis::Redis;

/// Where the clock is stepped to.
const STEPS: [i64; 4] = [3600, 0, -3600, 0];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_redis() {
    let clock = Clock::start();
    let mut redis = Redis::stopped(&["--appendonly", "no"]);
    redis.environment = clock.environment();
    redis.run();
    let mut stage = Stage::set(redis).await;
    let mut forward = 0;
    for (before, step) in [0].into_iter().chain(STEPS).zip(STEPS) {
        if step > before {
            // Redis takes what it has for older than it keeps it: ids, and events that somebody has not read yet.
            stage.forgets_by(|| clock.step(step));
            forward += 1;
        } else {
            clock.step(step);
        }
        stage.goes_on().await;
        stage.heals().await;
    }
    stage.end_with("clock of Redis stepped by an hour, forth and back", |_| 0..=forward).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_the_nodes() {
    let clock = Clock::start();
    let start = Start { clock: Some(&clock), ..Start::default() };
    let stage = Stage::linked(Redis::start(), 2, start).await;
    stepped(stage, &clock, "clock of the nodes stepped by an hour, forth and back").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_log_in_files() {
    let (clock, folder) = (Clock::start(), tempfile::tempdir().expect("a temporary directory"));
    let start = Start { clock: Some(&clock), ..Start::default() };
    let broker = format!("file:{}", folder.path().join("log").display());
    let stage = Stage::with(folder, Vec::new(), vec![broker], start).await;
    stepped(stage, &clock, "clock stepped by an hour, forth and back, log in files").await;
}

async fn stepped<B>(mut stage: Stage<B>, clock: &Clock, name: &str) {
    for step in STEPS {
        clock.step(step);
        stage.goes_on().await;
        stage.heals().await;
    }
    stage.end(name, 0).await;
}
