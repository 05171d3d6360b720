//! Redis loses the newest events of a log. Every subscriber gets a gap from exactly the boundary: nothing that survived is
//! hidden, and nothing is shown again, whoever detects the loss and whoever appended meanwhile.

use serde_json::json;
use tidings::event::Position;

use crate::support::broker::{Node as Bus, offsets, redis_url};
use crate::support::events::{epoch_and_offset, sale};
use crate::support::node::{self, Node};
use crate::support::redis::Redis;
use crate::support::subscriber::Subscriber;
use crate::support::until;

const STOCK: &str = "inventory-change";
const ORDERS: &str = "order-status";

/// Events in one request.
const BATCH: usize = 1000;

async fn publish(node: &Node, events: usize) -> String {
    let mut last = String::new();
    for first in (0..events).step_by(BATCH) {
        let batch = vec![sale("1"); BATCH.min(events - first)];
        last = node.publish(&json!(batch)).await.pop().unwrap().position;
    }
    last
}

/// Appends events whose ids are these names, and returns the position of the last.
async fn append(node: &Bus, channel: &str, names: impl IntoIterator<Item = String>) -> Position {
    let events: Vec<_> = names.into_iter().map(|name| node.event(channel, &name)).collect();
    let mut last = None;
    for batch in events.chunks(BATCH) {
        last = node.broker.append(batch).await.unwrap().pop();
    }
    last.unwrap().position
}

fn names(name: &str, count: usize) -> impl Iterator<Item = String> {
    (0..count).map(move |number| format!("{name} {number}"))
}

/// Makes Redis record every command in its slow log.
fn record_commands(redis: &Redis) {
    redis.cli(&["config", "set", "slowlog-log-slower-than", "0"]);
    redis.cli(&["config", "set", "slowlog-max-len", "10000"]);
}

/// Waits until a node has asked for the nonces of a log in this epoch from the offset `from` on, or from a later one.
async fn has_learned(redis: &Redis, epoch: &str, from: u64) {
    until("a node has learned the nonces of the log", async || {
        let commands = redis.cli(&["slowlog", "get", "10000"]);
        let commands: Vec<_> = commands.lines().map(str::trim).collect();
        // The fingerprint, the offset, and the most events that one call returns.
        let learned = |lines: &[&str]| {
            lines[0].starts_with(&format!("{epoch} "))
                && lines[1].parse::<u64>().is_ok_and(|offset| offset >= from)
                && lines[2] == "512"
        };
        commands.windows(3).any(learned).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_subscriber_gets_a_gap_from_the_newest_event_that_survived() {
    let mut redis = Redis::start();
    let mut config = node::config(redis_url(redis.port));
    // The subscribers read only after the last event of a round.
    config.websocket.outbox_bytes = 64 << 20;
    let nodes = [Node::start(config.clone()).await, Node::start(config).await];
    let mut subscribers = Vec::new();
    for node in &nodes {
        subscribers.push(Subscriber::to(node, STOCK).await);
    }
    for lost in [1, 63, 64, 65, 500, 5000] {
        let kept = if lost < 5000 { 100 } else { 3000 };
        let boundary = publish(&nodes[0], kept).await;
        redis.cli(&["save"]);
        let last = publish(&nodes[0], lost).await;
        for subscriber in &mut subscribers {
            assert_eq!(subscriber.events(kept + lost).await.pop().unwrap().position, last);
        }
        redis.kill();
        redis.run();
        let offset = epoch_and_offset(&boundary).1;
        let mut position = String::new();
        for subscriber in &mut subscribers {
            let gap = subscriber.frame_of("gap").await;
            position = gap["position"].as_str().unwrap().to_owned();
            assert_eq!((&gap["from"], epoch_and_offset(&position).1), (&json!(last), offset), "{lost} lost events");
        }
        let next = until("events are accepted again", async || {
            let response = nodes[1].post(&sale("next")).await;
            (response.status == 202).then(|| response.accepted().remove(0).position)
        });
        let next = next.await;
        assert_eq!(epoch_and_offset(&next), (epoch_and_offset(&position).0, offset + 1));
        for subscriber in &mut subscribers {
            assert_eq!(subscriber.event().await.position, next, "{lost} lost events");
        }
        // Clients that resume go by the same boundary.
        for node in &nodes {
            let page = node.get(&format!("/v1/events?channel={STOCK}&since={last}")).await.json();
            assert_eq!(page["gap"], json!([{"channel": STOCK, "from": last, "position": position}]));
            assert_eq!(page["events"].as_array().unwrap().len(), 1, "{lost} lost events");
        }
    }
}

/// A node that saw neither the surviving events nor the lost ones, because it started after them, is the only one left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_started_late_finds_the_boundary() {
    let mut redis = Redis::start();
    let writer = Bus::on_redis(redis.port).await;
    append(&writer, STOCK, names("kept", 3000)).await;
    redis.cli(&["save"]);
    let last = append(&writer, STOCK, names("lost", 1000)).await;
    drop(writer);
    record_commands(&redis);
    let mut late = Bus::on_redis(redis.port).await;
    let at_start = late.read(STOCK, None, 512).await.bounds.head();
    assert_eq!(at_start, last);
    has_learned(&redis, last.epoch.as_str(), last.offset - 512).await;
    // The answer to this call comes after the last nonces.
    late.add(ORDERS, "another channel").await;
    redis.kill();
    redis.run();
    late.heals().await;
    let page = late.read(STOCK, Some(&last), 512).await;
    assert_ne!(page.bounds.epoch, last.epoch);
    assert_eq!((page.bounds.head, page.bounds.oldest, offsets(&page)), (3000, 3001, vec![]));
}

/// The log is restored twice from the same state, and so returns to an epoch that has ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_returns_to_a_past_epoch_shows_nothing_again() {
    // It records from its start on: the node is connected again at once.
    let mut redis = Redis::with(&["--slowlog-log-slower-than", "0", "--slowlog-max-len", "10000"]);
    let node = Node::start(node::config(redis_url(redis.port))).await;
    let mut subscriber = Subscriber::to(&node, STOCK).await;
    let first = publish(&node, 10).await;
    redis.cli(&["save"]);
    let mut last = publish(&node, 5).await;
    subscriber.events(15).await;
    for _ in 0..2 {
        redis.kill();
        redis.run();
        let gap = subscriber.frame_of("gap").await;
        let (epoch, offset) = epoch_and_offset(gap["position"].as_str().unwrap());
        assert_eq!((&gap["from"], offset), (&json!(last), epoch_and_offset(&first).1));
        has_learned(&redis, epoch, 1).await;
        last = until("events are accepted again", async || {
            let response = node.post(&sale("next")).await;
            (response.status == 202).then(|| response.accepted().remove(0).position)
        })
        .await;
        assert_eq!(subscriber.event().await.position, last);
    }
}

/// The script asks for all nonces before it appends. Otherwise the batch would be in the log twice, or a duplicate of itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_detects_the_loss_of_several_logs_is_appended_once() {
    let mut redis = Redis::start();
    let mut node = Bus::on_redis(redis.port).await;
    for channel in [STOCK, ORDERS] {
        append(&node, channel, names("kept", 200)).await;
    }
    redis.cli(&["save"]);
    let mut before = Vec::new();
    for channel in [STOCK, ORDERS] {
        before.push(append(&node, channel, names("lost", 100)).await);
    }
    redis.kill();
    redis.run();
    node.heals().await;
    let batch = [(STOCK, "a"), (ORDERS, "a"), (STOCK, "b"), (STOCK, "lost 0"), (ORDERS, "kept 0")];
    let appended = node.broker.append(&batch.map(|(channel, name)| node.event(channel, name))).await.unwrap();
    let found: Vec<_> = appended.iter().map(|appended| (appended.position.offset, appended.duplicate)).collect();
    assert_eq!(found, [(201, false), (201, false), (202, false), (203, false), (1, true)]);
    for (channel, last, expected) in [(STOCK, &before[0], vec![201, 202, 203]), (ORDERS, &before[1], vec![201])] {
        let page = node.read(channel, Some(last), 512).await;
        assert_ne!(page.bounds.epoch, last.epoch);
        assert_eq!(offsets(&page), expected, "{channel}");
    }
}

/// A node that does not know of the loss appends another event, and then the lost ones again: equal events at equal positions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_events_at_a_position_do_not_hide_the_loss() {
    let mut redis = Redis::start();
    let knowing = Bus::on_redis(redis.port).await;
    append(&knowing, STOCK, names("kept", 10)).await;
    redis.cli(&["save"]);
    let last = append(&knowing, STOCK, names("lost", 6)).await;
    redis.kill();
    redis.run();
    // The knowing node is not asked for anything meanwhile.
    let fresh = Bus::on_redis(redis.port).await;
    let again =
        append(&fresh, STOCK, ["other".to_owned()].into_iter().chain((1..6).map(|number| format!("lost {number}"))));
    assert_eq!(again.await, last, "the fresh node does not know of the loss");
    let page = until("the knowing node is connected again", async || {
        knowing.broker.read(knowing.channel(STOCK), Some(&last), 512).await.ok()
    });
    let page = page.await;
    assert_ne!(page.bounds.epoch, last.epoch);
    assert_eq!(offsets(&page), (11..=16).collect::<Vec<_>>());
    // The fresh node's relay has these events already.
    let page = fresh.broker.read_after_delivered(fresh.channel(STOCK), &last, 512).await.unwrap();
    assert_eq!((page.bounds.oldest, offsets(&page)), (17, vec![]));
}

/// Neither entries that were deleted nor entries that are not ours count as lost, and the boundary is found beside them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_boundary_is_found_in_a_log_with_holes() {
    let log = "tidings:default:inventory-change:log";
    for deleted in ["1-0 2-0 3-0", "140-0 150-0 160-0", "250-0 299-0", "300-0"] {
        let mut redis = Redis::start();
        let mut node = Bus::on_redis(redis.port).await;
        append(&node, STOCK, names("kept", 300)).await;
        let mut command = vec!["xdel", log];
        command.extend(deleted.split(' '));
        redis.cli(&command);
        redis.cli(&["save"]);
        let last = append(&node, STOCK, names("lost", 100)).await;
        redis.kill();
        redis.run();
        node.heals().await;
        let page = node.read(STOCK, Some(&last), 512).await;
        assert_ne!(page.bounds.epoch, last.epoch);
        assert_eq!((page.bounds.oldest, page.entries.len()), (301, 0), "without {deleted}");
    }
}
