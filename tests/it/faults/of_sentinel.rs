//! The master dies or hangs, sentinels name another; or a sentinel dies.

use std::time::{Duration, Instant};

use super::ledger::CHANNELS;
use super::stage::Stage;
use crate::support::sentinel::Sentinels;

/// How long the master hangs.
const PAUSE: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_killed_and_failed_over() {
    let mut stage = Stage::watched(Sentinels::start().await).await;
    let switched = stage.broker.switched();
    stage.broker.servers[0].kill();
    for node in 0..2 {
        stage.unavailable(node, 1).await;
        stage.join(node, &CHANNELS).await;
    }
    stage.follows(switched).await;
    stage.heals().await;
    stage.load(300).await;
    // It comes back without anything and takes itself for the master, until it is told that it is not.
    stage.broker.servers[0].run();
    stage.broker.demoted(0).await;
    stage.load(300).await;
    // Its last moments may not have come to the other.
    stage.end_with("Sentinel: a master killed and failed over", |_| 0..=1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_killed_before_its_replica_had_everything() {
    let mut stage = Stage::watched(Sentinels::start().await).await;
    stage.broker.cut_replication();
    stage.load(300).await;
    let switched = stage.broker.switched();
    stage.broker.servers[0].kill();
    for node in 0..2 {
        stage.unavailable(node, 1).await;
    }
    stage.follows(switched).await;
    stage.heals().await;
    stage.gaps(1).await;
    stage.end("Sentinel: a master killed ahead of its replica", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_paused_and_failed_over() {
    let mut stage = Stage::watched(Sentinels::start().await).await;
    let switched = stage.broker.switched();
    let end = Instant::now() + PAUSE;
    stage.broker.servers[0].pause();
    stage.follows(switched).await;
    stage.heals().await;
    while Instant::now() < end {
        stage.load(20).await;
    }
    // It still takes itself for the master, and has answers that nobody waits for any more.
    stage.broker.servers[0].go_on();
    stage.broker.demoted(0).await;
    stage.load(300).await;
    stage.end_with("Sentinel: a master paused and failed over", |_| 0..=1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_killed_and_back() {
    let mut stage = Stage::watched(Sentinels::start().await).await;
    for sentinel in 0..3 {
        stage.broker.sentinels[sentinel].kill();
        stage.load(200).await;
    }
    // None is left, and nobody needs one.
    for sentinel in 0..3 {
        stage.broker.sentinels[sentinel].run();
        stage.load(200).await;
    }
    let switched = stage.broker.switched();
    stage.broker.servers[0].kill();
    stage.follows(switched).await;
    stage.heals().await;
    stage.end_with("Sentinel: sentinels killed, then the master", |_| 0..=1).await;
}
