//! Slots move, masters die.

use std::time::Duration;

use super::ledger::CHANNELS;
use super::stage::Stage;
use crate::support::cluster::Cluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_moved_key_by_key() {
    let mut stage = Stage::on(Cluster::masters()).await;
    for (channel, way) in [("order-status", [0, 1]), ("data-update", [2, 0]), ("order-status", [1, 2])] {
        stage.broker.move_slot(channel, way, 1, Duration::from_millis(200)).await;
        stage.heals().await;
        stage.load(100).await;
        stage.join(0, &CHANNELS).await;
    }
    stage.end("Cluster: slots moved, a key each 200 ms", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_moved_as_by_redis_cli() {
    let mut stage = Stage::on(Cluster::masters()).await;
    for _ in 0..3 {
        for way in [[0, 1], [1, 0]] {
            stage.broker.move_slot("order-status", way, 10, Duration::ZERO).await;
            stage.load(50).await;
        }
    }
    stage.heals().await;
    stage.end("Cluster: slots moved to and fro, ten keys at a time", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_killed_and_failed_over() {
    let mut stage = Stage::on(Cluster::with_replicas()).await;
    stage.broker.nodes[0].kill();
    for node in 0..2 {
        stage.unavailable(node, 1).await;
    }
    stage.broker.wait_for_promotion(3);
    stage.heals().await;
    stage.load(300).await;
    // It comes back as a replica of the one that took its place.
    stage.broker.nodes[0].run();
    stage.broker.wait_until_up();
    stage.load(300).await;
    // What the promotion lost, if anything, is of one channel.
    stage
        .end_with("Cluster: a master killed and failed over", |stream| {
            0..=usize::from(stream.channel == "order-status")
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_killed_before_its_replica_had_everything() {
    let mut stage = Stage::on(Cluster::with_replicas()).await;
    stage.broker.nodes[0].cli(&["acl", "setuser", "default", "-psync", "-sync"]);
    stage.broker.nodes[0].cli(&["client", "kill", "type", "replica"]);
    stage.load(200).await;
    stage.broker.nodes[0].kill();
    stage.broker.wait_for_promotion(3);
    stage.heals().await;
    let lost = |channel| usize::from(channel == "order-status");
    stage
        .end_with("Cluster: a master killed ahead of its replica", |stream| lost(stream.channel)..=lost(stream.channel))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_masters_killed_and_back_with_their_data() {
    let mut stage = Stage::on(Cluster::durable()).await;
    for node in &mut stage.broker.nodes {
        node.kill();
    }
    for node in 0..2 {
        stage.unavailable(node, 5).await;
        stage.join(node, &CHANNELS).await;
    }
    for node in &mut stage.broker.nodes {
        node.run();
    }
    stage.broker.wait_until_up();
    stage.heals().await;
    stage.end("Cluster: all masters killed, with data", 0).await;
}
