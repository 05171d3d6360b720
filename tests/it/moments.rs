//! `Log::position_at` of every backend: a moment is complete only if the log proves that it has every event since.

use std::fs;
use std::time::{Duration, SystemTime};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidings::broker::{Located, Signal};
use tidings::config::BrokerConfig;
use tidings::event::{Epoch, Moment, Position};

use crate::support::broker::{Node, config, file_url};
use crate::support::each_broker::{TestBroker, over_each_broker};
use crate::support::redis::Redis;
use crate::support::{seed, until};

over_each_broker!(
    a_log_that_has_lost_nothing_is_complete,
    a_moment_is_complete_if_an_older_event_is_known,
    events_that_expired_leave_a_gap_before_them_only,
    a_larger_limit_does_not_bring_removed_events_back,
    any_moment_is_found_as_by_a_model,
);

const STOCK: &str = "inventory-change";
const TEN_MINUTES: Moment = Moment::Ago(Duration::from_secs(600));

/// A node with changed limits.
async fn node(broker: &TestBroker, change: impl FnOnce(&mut BrokerConfig)) -> Node {
    let mut config = broker.config().broker;
    change(&mut config);
    Node::ready(&config).await
}

async fn locate(node: &Node, moment: Moment) -> Located {
    node.broker.position_at(node.channel(STOCK), moment).await.expect("the log can be read")
}

/// Finds a moment. Returns the offsets between which events are lost, if any are, and the offset at which the stream begins.
async fn begins(node: &Node, moment: Moment) -> (Option<(u64, u64)>, u64) {
    let Located { position, bounds } = locate(node, moment).await;
    assert_eq!(position.epoch, bounds.epoch, "no log was lost");
    let gap = bounds.gap_after(&position);
    let start = gap.as_ref().unwrap_or(&position).offset;
    (gap.map(|gap| (position.offset, gap.offset)), start + 1)
}

/// Appends so many events in one batch, and returns the position of the last.
async fn append(node: &Node, count: usize) -> Position {
    let events: Vec<_> = (0..count).map(|_| node.event(STOCK, &format!("{:x}", rand::random::<u128>()))).collect();
    node.broker.append(&events).await.expect("the broker appends").pop().expect("an event").position
}

/// A moment after everything that was appended so far, and before everything that will be.
async fn now() -> Moment {
    tokio::time::sleep(Duration::from_millis(5)).await;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time").as_millis() as i64;
    tokio::time::sleep(Duration::from_millis(5)).await;
    Moment::At(now)
}

async fn a_log_that_has_lost_nothing_is_complete(broker: TestBroker) {
    let node = node(&broker, |_| {}).await;
    let (always, never) = (Moment::At(i64::MIN), Moment::At(i64::MAX));
    let ages = [TEN_MINUTES, Moment::Ago(Duration::MAX), Moment::Ago(Duration::ZERO)];
    for moment in [always, never].into_iter().chain(ages) {
        assert_eq!(begins(&node, moment).await, (None, 1), "{moment:?} in an empty log");
    }
    append(&node, 3).await;
    let between = now().await;
    append(&node, 7).await;
    let after = now().await;
    for (moment, first) in [(always, 1), (TEN_MINUTES, 1), (ages[1], 1), (between, 4), (after, 11), (never, 11)] {
        assert_eq!(begins(&node, moment).await, (None, first), "{moment:?}");
    }
}

async fn a_moment_is_complete_if_an_older_event_is_known(broker: TestBroker) {
    let node = node(&broker, |config| config.log_max_events = 5).await;
    let first = now().await;
    append(&node, 3).await;
    let removed = now().await;
    append(&node, 2).await;
    let complete = now().await;
    append(&node, 2).await;
    let retained = now().await;
    append(&node, 3).await;
    // The log has the events 6 to 10.
    for moment in [TEN_MINUTES, first] {
        assert_eq!(begins(&node, moment).await, (Some((0, 5)), 6));
    }
    // The gap begins after the newest event that is known to be older, if the backend still knows it.
    let (gap, start) = begins(&node, removed).await;
    assert!([Some((0, 5)), Some((3, 5))].contains(&gap) && start == 6, "{gap:?}, {start}");
    assert_eq!(begins(&node, complete).await, (None, 6));
    assert_eq!(begins(&node, retained).await, (None, 8));
}

async fn events_that_expired_leave_a_gap_before_them_only(broker: TestBroker) {
    let node = node(&broker, |config| config.log_max_age = Duration::from_millis(300)).await;
    append(&node, 200).await;
    let after = now().await;
    let start = Position::new(node.read(STOCK, None, 0).await.bounds.epoch, 0);
    let expired = async || (node.read(STOCK, Some(&start), 1).await.bounds.oldest == 201).then_some(());
    until("all events are expired", expired).await;
    assert_eq!(begins(&node, TEN_MINUTES).await, (Some((0, 200)), 201));
    assert_eq!(begins(&node, after).await, (None, 201));
    // The next events delete the expired ones, and soon expire themselves.
    append(&node, 200).await;
    let Located { position, bounds } = locate(&node, after).await;
    assert_eq!((position.offset, bounds.gap_after(&position).is_some()), (200, bounds.oldest > 201), "{bounds:?}");
    let Located { position, bounds } = locate(&node, TEN_MINUTES).await;
    assert_eq!((position.offset, bounds.gap_after(&position)), (0, Some(bounds.start())));
}

async fn a_larger_limit_does_not_bring_removed_events_back(broker: TestBroker) {
    let mut config = broker.config().broker;
    config.log_max_events = 5;
    let node = Node::ready(&config).await;
    append(&node, 300).await;
    let after = now().await;
    node.broker.close().await;
    config.log_max_events = 10_000;
    let node = Node::ready(&config).await;
    let Located { bounds, .. } = locate(&node, TEN_MINUTES).await;
    if bounds.head == 0 {
        // A log in memory ends with its node, and the next one knows of no loss.
        assert_eq!(begins(&node, TEN_MINUTES).await, (None, 1));
        return;
    }
    assert!(bounds.oldest > 1 && bounds.head == 300, "{bounds:?}");
    assert_eq!(begins(&node, TEN_MINUTES).await, (Some((0, bounds.oldest - 1)), bounds.oldest));
    assert_eq!(begins(&node, after).await, (None, 301));
}

async fn any_moment_is_found_as_by_a_model(broker: TestBroker) {
    const KEPT: u64 = 150;
    let mut random = StdRng::seed_from_u64(seed());
    let mut config = broker.config().broker;
    config.log_max_events = KEPT;
    let mut node = Node::ready(&config).await;
    // Each moment, and how many events were appended before it.
    let mut moments = vec![(TEN_MINUTES, 0)];
    let mut head = 0;
    for round in 0..16 {
        head += append(&node, random.random_range(1..=120)).await.offset - head;
        moments.push((now().await, head));
        let oldest = head.saturating_sub(KEPT) + 1;
        for (moment, before) in &moments {
            let (gap, start) = begins(&node, *moment).await;
            match gap {
                None => assert!(oldest - 1 <= *before && start == before + 1, "{before} of {head}: from {start}"),
                Some((from, position)) => assert!(
                    oldest - 1 > *before && from <= *before && position == oldest - 1 && start == oldest,
                    "{before} of {head}: {gap:?}, from {start}"
                ),
            }
        }
        if round == 8 {
            node.broker.close().await;
            node = Node::ready(&config).await;
            if node.read(STOCK, None, 0).await.bounds.head == 0 {
                // A log in memory begins again.
                (moments, head) = (vec![(now().await, 0)], 0);
            }
        }
    }
}

/// Asserts that an age from before the loss is a gap between two epochs, and that one from after it is none.
async fn assert_loss_is_known(node: &Node, past: Option<&Epoch>) {
    let lost = locate(node, TEN_MINUTES).await;
    assert_ne!(lost.position.epoch, lost.bounds.epoch, "{lost:?}");
    assert!(past.is_none_or(|past| *past == lost.position.epoch), "{lost:?}");
    let after = now().await;
    append(node, 3).await;
    let Located { position, bounds } = locate(node, after).await;
    assert_eq!(bounds.gap_after(&position), None);
    assert_eq!(position.offset, bounds.head - 3);
    // The loss is not forgotten.
    assert!(!locate(node, TEN_MINUTES).await.position.same_epoch(&position));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_redis_lost_is_a_gap() {
    for by_another_node in [false, true] {
        let redis = Redis::start();
        let node = Node::on_redis(redis.port).await;
        let lost = append(&node, 10).await.epoch;
        redis.cli(&["flushall"]);
        if by_another_node {
            // This node begins an epoch of its own. It knows of the loss only once the first node has seen the new epoch, which
            // can be at once: it hears of it.
            let fresh = Node::on_redis(redis.port).await;
            assert_ne!(locate(&fresh, TEN_MINUTES).await.bounds.epoch, lost);
            node.read(STOCK, None, 0).await;
            assert_eq!(locate(&fresh, TEN_MINUTES).await.position, Position::new(lost.clone(), 0));
        }
        assert_loss_is_known(&node, Some(&lost)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_that_somebody_removed_from_redis_are_a_gap() {
    let redis = Redis::start();
    let node = Node::on_redis(redis.port).await;
    let log = "tidings:default:inventory-change:log";
    append(&node, 10).await;
    let after = now().await;
    append(&node, 10).await;
    redis.cli(&["xdel", log, "11-0"]);
    assert_eq!(begins(&node, after).await, (Some((10, 11)), 12));
    redis.cli(&["xtrim", log, "maxlen", "5"]);
    assert_eq!(begins(&node, TEN_MINUTES).await, (Some((0, 15)), 16));
    redis.cli(&["xtrim", log, "maxlen", "0"]);
    assert_eq!(begins(&node, TEN_MINUTES).await, (Some((0, 20)), 21));
    append(&node, 1).await;
    assert_eq!(begins(&node, TEN_MINUTES).await, (Some((0, 20)), 21));
    assert_eq!(begins(&node, now().await).await, (None, 22));
}

/// An earlier version keeps no time of a past epoch, and no record of what it trimmed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_earlier_version_wrote_to_redis_proves_nothing() {
    let redis = Redis::start();
    let node = Node::on_redis(redis.port).await;
    let epoch = append(&node, 10).await.epoch;
    redis.cli(&["hset", "tidings:default:inventory-change:meta", "past", "older:7:9 oldest:3:4"]);
    let located = locate(&node, TEN_MINUTES).await;
    assert_eq!(located.position, "oldest:0".parse().unwrap());
    let located = locate(&node, now().await).await;
    assert_eq!((located.position, located.bounds.epoch), ("oldest:3".parse().unwrap(), epoch));
}

/// Without this, an event before the step has a later time than the events after it, and a search would skip it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_of_redis_that_was_set_back_hides_no_event() {
    let redis = Redis::start();
    let node = Node::on_redis(redis.port).await;
    append(&node, 3).await;
    // As if the clock had been an hour ahead.
    let stepped = SystemTime::now() + Duration::from_secs(3600);
    let stepped = stepped.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
    redis.cli(&["hset", "tidings:default:inventory-change:meta", "time", &stepped.to_string()]);
    append(&node, 3).await;
    let between = Moment::At(stepped as i64 - 60_000);
    append(&node, 3).await;
    assert_eq!(begins(&node, between).await, (None, 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_file_log_is_a_gap() {
    let open = |folder: &tempfile::TempDir| config(file_url(folder.path()));
    let file = |folder: &tempfile::TempDir, name: &str| folder.path().join("log").join(name);
    // The files are removed while the daemon runs.
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::ready(&open(&folder)).await;
    append(&node, 10).await;
    fs::remove_dir_all(folder.path().join("log")).unwrap();
    while node.signal().await != Signal::Missed {}
    assert_loss_is_known(&node, None).await;

    // The database is removed while the daemon is stopped.
    node.broker.close().await;
    fs::remove_file(file(&folder, "log.sqlite")).unwrap();
    let node = Node::ready(&open(&folder)).await;
    assert_loss_is_known(&node, None).await;

    // The database is damaged.
    node.broker.close().await;
    fs::write(file(&folder, "log.sqlite"), "damaged").unwrap();
    let node = Node::ready(&open(&folder)).await;
    assert_loss_is_known(&node, None).await;

    // A copy was restored, without its marker.
    let lost = locate(&node, Moment::Ago(Duration::ZERO)).await.bounds.epoch;
    node.broker.close().await;
    fs::remove_file(file(&folder, "mark")).unwrap();
    let node = Node::ready(&open(&folder)).await;
    let located = locate(&node, now().await).await;
    assert_eq!(located.bounds.gap_after(&located.position), None);
    assert_ne!(located.bounds.epoch, lost);
    assert_loss_is_known(&node, None).await;

    // A directory that never had a log is no loss.
    node.broker.close().await;
    let new = tempfile::tempdir().unwrap();
    let node = Node::ready(&open(&new)).await;
    assert_eq!(begins(&node, TEN_MINUTES).await, (None, 1));
}
