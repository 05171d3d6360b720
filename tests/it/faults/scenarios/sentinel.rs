//! Faults under Redis Sentinel: the master is killed or hangs and a replica is promoted; sentinels are killed.

use std::time::{Duration, Instant};

use crate::faults::harness::Harness;
use crate::faults::ledger::CHANNELS;
use crate::support::sentinel::Sentinels;

/// How long the master is paused.
const PAUSE: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_killed_and_failed_over() {
    let mut harness = Harness::on_sentinel(Sentinels::start().await).await;
    let switched = harness.broker.switched();
    harness.broker.servers[0].kill();
    for node in 0..2 {
        harness.wait_for_503s(node, 1).await;
        harness.add_subscriber(node, &CHANNELS).await;
    }
    harness.wait_for_failover(switched).await;
    harness.wait_for_recovery().await;
    harness.wait_for_acknowledged(300).await;
    // The old master comes back empty, and acts as a master until the sentinels demote it.
    harness.broker.servers[0].run();
    harness.broker.demoted(0).await;
    harness.wait_for_acknowledged(300).await;
    // Its last writes may not have reached the replica.
    harness.finish_with_gaps("Sentinel: a master killed and failed over", |_| 0..=1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_killed_before_its_replica_had_everything() {
    let mut harness = Harness::on_sentinel(Sentinels::start().await).await;
    harness.broker.cut_replication();
    // Sentinel promotes no replica that was cut off for ten times `down-after-milliseconds`, which are soon over on a busy machine.
    harness.wait_for_acknowledged(50).await;
    let switched = harness.broker.switched();
    harness.broker.servers[0].kill();
    for node in 0..2 {
        harness.wait_for_503s(node, 1).await;
    }
    harness.wait_for_failover(switched).await;
    harness.wait_for_recovery().await;
    harness.wait_for_gaps(1).await;
    harness.finish("Sentinel: a master killed ahead of its replica", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_paused_and_failed_over() {
    let mut harness = Harness::on_sentinel(Sentinels::start().await).await;
    let switched = harness.broker.switched();
    let end = Instant::now() + PAUSE;
    harness.broker.servers[0].pause();
    harness.wait_for_failover(switched).await;
    harness.wait_for_recovery().await;
    while Instant::now() < end {
        harness.wait_for_acknowledged(20).await;
    }
    // The old master still acts as a master, and sends replies to requests that have timed out.
    harness.broker.servers[0].go_on();
    harness.broker.demoted(0).await;
    harness.wait_for_acknowledged(300).await;
    harness.finish_with_gaps("Sentinel: a master paused and failed over", |_| 0..=1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_sentinels_killed_then_the_master() {
    let mut harness = Harness::on_sentinel(Sentinels::start().await).await;
    for sentinel in 0..3 {
        harness.broker.sentinels[sentinel].kill();
        harness.wait_for_acknowledged(200).await;
    }
    // No sentinel is running, and the nodes continue without one.
    for sentinel in 0..3 {
        harness.broker.sentinels[sentinel].run();
        harness.wait_for_acknowledged(200).await;
    }
    let switched = harness.broker.switched();
    harness.broker.servers[0].kill();
    harness.wait_for_failover(switched).await;
    harness.wait_for_recovery().await;
    harness.finish_with_gaps("Sentinel: sentinels killed, then the master", |_| 0..=1).await;
}
