//! A broker that loses its data: what was not delivered yet is in a gap, wherever the webhook began.

use super::receiver::{Receiver, daemon, publish, sale, status, table};
use crate::support::redis::Redis;

async fn lost_events_are_in_a_gap(since: &str) {
    let redis = Redis::start();
    let receiver = Receiver::start(|event, _| status(if event["id"] == "lost" { 500 } else { 200 })).await;
    let more = format!("allow_private = true\nsince = \"{since}\"");
    let tables = table(&receiver.url(), "[\"inventory-change\"]", &more);
    let daemon = daemon(&tables, &["--broker", &format!("redis://127.0.0.1:{}", redis.port)]).await;
    publish(&daemon, &[sale("first", "p")]).await;
    receiver.took(1).await;
    publish(&daemon, &[sale("lost", "p")]).await;
    receiver.came(2).await;
    redis.cli(&["flushall"]);
    publish(&daemon, &[sale("last", "p")]).await;
    let taken = receiver.took(3).await;
    assert!(taken[0] == "first" && taken[1].starts_with("gap:inventory-change:") && taken[2] == "last", "{taken:?}");
    let gap = receiver.received().into_iter().find(|one| one.event["type"] == "tidings.gap").unwrap();
    let from = gap.event["data"]["from"].as_str().unwrap();
    let offset: u64 = from.split_once(':').unwrap().1.parse().unwrap();
    assert!(offset <= 1, "the lost event, the second, is after {from}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_webhook_that_began_now() {
    lost_events_are_in_a_gap("now").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_webhook_that_began_at_the_start() {
    lost_events_are_in_a_gap("start").await;
}
