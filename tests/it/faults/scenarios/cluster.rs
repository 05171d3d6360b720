//! Faults of a Redis Cluster: slots move between masters, and masters are killed.

use std::time::Duration;

use crate::faults::harness::Harness;
use crate::faults::ledger::CHANNELS;
use crate::support::cluster::Cluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_moved_key_by_key() {
    let mut harness = Harness::on_cluster(Cluster::masters()).await;
    for (channel, from_to) in [("order-status", [0, 1]), ("data-update", [2, 0]), ("order-status", [1, 2])] {
        harness.broker.move_slot(channel, from_to, 1, Duration::from_millis(200)).await;
        harness.wait_for_recovery().await;
        harness.wait_for_acknowledged(100).await;
        harness.add_subscriber(0, &CHANNELS).await;
    }
    harness.finish("Cluster: slots moved, a key each 200 ms", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_moved_ten_keys_at_a_time() {
    let mut harness = Harness::on_cluster(Cluster::masters()).await;
    for _ in 0..3 {
        for from_to in [[0, 1], [1, 0]] {
            harness.broker.move_slot("order-status", from_to, 10, Duration::ZERO).await;
            harness.wait_for_acknowledged(50).await;
        }
    }
    harness.wait_for_recovery().await;
    harness.finish("Cluster: slots moved back and forth, ten keys at a time", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_killed_and_failed_over() {
    let mut harness = Harness::on_cluster(Cluster::with_replicas()).await;
    harness.broker.nodes[0].kill();
    for node in 0..2 {
        harness.wait_for_503s(node, 1).await;
    }
    harness.broker.wait_for_promotion(3);
    harness.wait_for_recovery().await;
    harness.wait_for_acknowledged(300).await;
    // The old master comes back as a replica of the new one.
    harness.broker.nodes[0].run();
    harness.broker.wait_until_up();
    harness.wait_for_acknowledged(300).await;
    // The failover may lose the newest entries of the one channel whose slot this master had.
    harness
        .finish_with_gaps("Cluster: a master killed and failed over", |stream| {
            0..=usize::from(stream.channel == "order-status")
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_killed_before_its_replica_had_everything() {
    let mut harness = Harness::on_cluster(Cluster::with_replicas()).await;
    harness.broker.nodes[0].cli(&["acl", "setuser", "default", "-psync", "-sync"]);
    harness.broker.nodes[0].cli(&["client", "kill", "type", "replica"]);
    // A third of these events is lost.
    harness.wait_for_acknowledged(600).await;
    harness.broker.nodes[0].kill();
    harness.broker.wait_for_promotion(3);
    harness.wait_for_recovery().await;
    let gaps = |channel| usize::from(channel == "order-status");
    harness
        .finish_with_gaps("Cluster: a master killed ahead of its replica", |stream| {
            gaps(stream.channel)..=gaps(stream.channel)
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_masters_killed_and_back_with_their_data() {
    let mut harness = Harness::on_cluster(Cluster::durable()).await;
    for node in &mut harness.broker.nodes {
        node.kill();
    }
    for node in 0..2 {
        harness.wait_for_503s(node, 5).await;
        harness.add_subscriber(node, &CHANNELS).await;
    }
    for node in &mut harness.broker.nodes {
        node.run();
    }
    harness.broker.wait_until_up();
    harness.wait_for_recovery().await;
    harness.finish("Cluster: all masters killed, with data", 0).await;
}
