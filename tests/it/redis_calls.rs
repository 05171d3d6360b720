//! Several publishers share a call to Redis: each gets the result of its own batch, even if the other batches fail.

use futures_util::future::join_all;

use tidings::broker::BrokerError;
use tidings::event::Event;

use crate::support::broker::{Node, offsets};
use crate::support::redis::Redis;

const STOCK: &str = "inventory-change";
const ORDERS: &str = "order-status";

/// Puts a value of another type under the key of the log of [`ORDERS`].
fn break_orders(redis: &Redis) {
    redis.cli(&["set", "tidings:default:order-status:log", "not a stream"]);
}

/// Whether Redis refused the batch because the key has another type.
fn is_wrong_type(error: &BrokerError) -> bool {
    matches!(error, BrokerError::Rejected(cause) if cause.starts_with("WRONGTYPE"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_channel_does_not_affect_the_others() {
    let redis = Redis::start();
    let node = Node::on_redis(redis.port).await;
    break_orders(&redis);
    let events: Vec<_> = (0..600).map(|i| node.event([STOCK, ORDERS][i % 2], &i.to_string())).collect();
    let outcomes = join_all(events.iter().map(|event| node.broker.append(std::slice::from_ref(event)))).await;
    let mut offsets = Vec::new();
    for (event, outcome) in events.iter().zip(outcomes) {
        match outcome {
            Ok(appended) => {
                assert_eq!((event.channel, appended.len(), appended[0].duplicate), (node.channel(STOCK), 1, false));
                offsets.push(appended[0].position.offset);
            }
            Err(error) => {
                assert_eq!(event.channel, node.channel(ORDERS));
                assert!(is_wrong_type(&error), "{error:?}");
            }
        }
    }
    offsets.sort_unstable();
    assert_eq!(offsets, (1..=300).collect::<Vec<_>>());
    redis.cli(&["del", "tidings:default:order-status:log"]);
    let refused: Vec<_> = events.iter().filter(|event| event.channel == node.channel(ORDERS)).cloned().collect();
    let appended = node.broker.append(&refused).await.unwrap();
    assert!(appended.iter().all(|appended| !appended.duplicate), "the ids of refused events are not remembered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_with_a_log_that_cannot_be_opened_appends_nothing() {
    let redis = Redis::start();
    let node = Node::on_redis(redis.port).await;
    break_orders(&redis);
    let batch = [(STOCK, "a"), (STOCK, "b"), (ORDERS, "c"), (STOCK, "d")].map(|(channel, id)| node.event(channel, id));
    let error = node.broker.append(&batch).await.unwrap_err();
    assert!(is_wrong_type(&error), "{error:?}");
    redis.cli(&["del", "tidings:default:order-status:log"]);
    assert_eq!(outcomes(&node, &batch).await, [(1, false), (2, false), (1, false), (3, false)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_fails_midway_leaves_a_prefix_in_the_log() {
    let redis = Redis::start();
    let mut node = Node::on_redis(redis.port).await;
    // The third event's id is looked up when the first two are in the log.
    redis.cli(&["rpush", "tidings:default:order-status:id:c", "x"]);
    let batch = [(STOCK, "a"), (STOCK, "b"), (ORDERS, "c"), (STOCK, "d")].map(|(channel, id)| node.event(channel, id));
    let error = node.broker.append(&batch).await.unwrap_err();
    assert!(is_wrong_type(&error), "{error:?}");
    let first = node.hint().await.1.unwrap();
    let start = tidings::event::Position { offset: 0, ..first };
    assert_eq!(offsets(&node.read(STOCK, Some(&start), 10).await), [1, 2]);
    redis.cli(&["del", "tidings:default:order-status:id:c"]);
    assert_eq!(outcomes(&node, &batch).await, [(1, true), (2, true), (1, false), (3, false)]);
}

/// Appends a batch, and returns the offset of each event and whether it is a duplicate.
async fn outcomes(node: &Node, batch: &[Event]) -> Vec<(u64, bool)> {
    let appended = node.broker.append(batch).await.unwrap();
    appended.iter().map(|appended| (appended.position.offset, appended.duplicate)).collect()
}
