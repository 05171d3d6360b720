//! Resuming with `since`: the daemon replays what the log retains, then switches to live events. No event is lost or repeated
//! at the switch; what the log no longer has is reported by a `gap` frame.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::each_broker::{TestBroker, over_each_broker_and_tls};
use crate::support::events::{epoch_and_offset, offset, order, sale, with};
use crate::support::node::Node;
use crate::support::raw::{RawConnection, text};
use crate::support::subscriber::Subscriber;
use crate::support::{until, within};

over_each_broker_and_tls!(
    since_start_replays_the_log_and_continues_live,
    since_a_position_continues_after_it,
    no_event_is_lost_or_repeated_between_replay_and_live_under_load,
    events_that_the_log_dropped_are_reported_as_a_gap,
    an_age_that_the_log_no_longer_reaches_gets_a_gap,
    a_position_of_another_epoch_gets_a_gap,
    a_position_ahead_of_the_log_gets_a_gap_and_no_new_epoch,
    a_filter_applies_to_replayed_events,
    subscriptions_to_one_channel_share_a_replay,
    a_second_subscription_cannot_go_back_to_an_older_position,
    since_accepts_ages_times_and_cursors,
    an_unreadable_since_is_invalid_position,
    unsubscribing_cancels_a_replay,
    heartbeat_positions_during_a_replay_are_the_last_replayed_event,
    a_client_that_does_not_read_its_replay_is_not_closed,
    several_channels_are_replayed_to_a_slow_client,
);

const CHANNEL: &str = "inventory-change";

/// Subscribes to [`CHANNEL`] with further frame members, and returns the `subscribed` frame.
async fn subscribe(subscriber: &mut Subscriber, sub: &str, members: Value) -> Value {
    let mut frame = json!({"type": "subscribe", "sub": sub, "channel": CHANNEL});
    frame.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    subscriber.say(frame).await;
    subscriber.frame_of("subscribed").await
}

/// Publishes `count` events in batches of a hundred, and returns the last position.
async fn publish(node: &Node, count: usize) -> String {
    let mut last = String::new();
    for first in (0..count).step_by(100) {
        let events: Vec<Value> = (first..count.min(first + 100)).map(|n| sale(&n.to_string())).collect();
        last = node.publish(&json!(events)).await.pop().unwrap().position;
    }
    last
}

/// Asserts that the next frames are the events at these offsets.
async fn expect_offsets(subscriber: &mut Subscriber, offsets: impl Iterator<Item = u64>) {
    for expected in offsets {
        assert_eq!(offset(&subscriber.event().await.position), expected);
    }
}

async fn since_start_replays_the_log_and_continues_live(broker: TestBroker) {
    let node = broker.node().await;
    publish(&node, 1_500).await;
    let mut subscriber = Subscriber::connect(&node).await;
    let subscribed = subscribe(&mut subscriber, "s", json!({"since": "start"})).await;
    assert_eq!((offset(subscribed["position"].as_str().unwrap()), &subscribed["recovered"]), (0, &json!(true)));
    expect_offsets(&mut subscriber, 1..=1_500).await;
    publish(&node, 3).await;
    expect_offsets(&mut subscriber, 1_501..=1_503).await;
    subscriber.pong_is_next().await;
}

async fn since_a_position_continues_after_it(broker: TestBroker) {
    let node = broker.node().await;
    let head = publish(&node, 10).await;
    let (epoch, _) = epoch_and_offset(&head);
    let mut subscriber = Subscriber::connect(&node).await;
    let subscribed = subscribe(&mut subscriber, "s", json!({"since": format!("{epoch}:7")})).await;
    assert_eq!((&subscribed["position"], &subscribed["recovered"]), (&json!(format!("{epoch}:7")), &json!(true)));
    expect_offsets(&mut subscriber, 8..=10).await;
    // A position at the head leaves nothing to replay.
    let mut at_head = Subscriber::connect(&node).await;
    let subscribed = subscribe(&mut at_head, "s", json!({"since": head})).await;
    assert_eq!((&subscribed["position"], &subscribed["recovered"]), (&json!(head), &json!(true)));
    publish(&node, 1).await;
    expect_offsets(&mut at_head, 11..=11).await;
    expect_offsets(&mut subscriber, 11..=11).await;
}

async fn no_event_is_lost_or_repeated_between_replay_and_live_under_load(broker: TestBroker) {
    const ALL: u64 = 6_000;
    let node = broker.node().await;
    let head = publish(&node, 100).await;
    let epoch = epoch_and_offset(&head).0.to_owned();
    let publishing = publish(&node, ALL as usize - 100);
    let subscribing = async {
        let mut subscribers = Vec::new();
        for number in 0..30u64 {
            tokio::time::sleep(Duration::from_millis(number % 7)).await;
            let mut subscriber = Subscriber::connect(&node).await;
            let since = format!("{epoch}:{}", number * 3);
            assert_eq!(subscribe(&mut subscriber, "s", json!({"since": since})).await["recovered"], true);
            subscribers.push(tokio::spawn(async move {
                expect_offsets(&mut subscriber, number * 3 + 1..=ALL).await;
                subscriber.pong_is_next().await;
            }));
        }
        subscribers
    };
    let (_, subscribers) = tokio::join!(publishing, subscribing);
    for subscriber in subscribers {
        subscriber.await.unwrap();
    }
}

async fn events_that_the_log_dropped_are_reported_as_a_gap(broker: TestBroker) {
    let node = broker.node_with(|config| config.broker.log_max_events = 50).await;
    let first = publish(&node, 1).await;
    publish(&node, 299).await;
    let epoch = epoch_and_offset(&first).0.to_owned();
    let mut subscriber = Subscriber::connect(&node).await;
    let subscribed = subscribe(&mut subscriber, "s", json!({"since": first})).await;
    assert_eq!((&subscribed["recovered"], &subscribed["position"]), (&json!(false), &json!(format!("{epoch}:250"))));
    let gap = subscriber.frame().await;
    assert_eq!(gap, json!({"type": "gap", "channel": CHANNEL, "from": first, "position": format!("{epoch}:250")}));
    expect_offsets(&mut subscriber, 251..=300).await;
    subscriber.pong_is_next().await;
}

async fn an_age_that_the_log_no_longer_reaches_gets_a_gap(broker: TestBroker) {
    let node = broker.node_with(|config| config.broker.log_max_events = 5).await;
    let epoch = epoch_and_offset(&publish(&node, 10).await).0.to_owned();
    let [from, position] = [0, 5].map(|offset| json!(format!("{epoch}:{offset}")));
    let gap = json!({"type": "gap", "channel": CHANNEL, "from": from, "position": position});
    for since in ["10m", "1970-01-01T00:00:00Z"] {
        let mut subscriber = Subscriber::connect(&node).await;
        let subscribed = subscribe(&mut subscriber, "s", json!({"since": since})).await;
        assert_eq!((&subscribed["recovered"], &subscribed["position"]), (&json!(false), &position), "{since}");
        assert_eq!(subscriber.frame().await, gap);
        expect_offsets(&mut subscriber, 6..=10).await;
        subscriber.pong_is_next().await;
    }
    let mut subscriber = Subscriber::connect_to(&node, &format!("/v1/ws?channel={CHANNEL}&since=10m")).await;
    assert_eq!(subscriber.frame_of("subscribed").await["recovered"], false);
    assert_eq!(subscriber.frame().await, gap);
    expect_offsets(&mut subscriber, 6..=10).await;
}

async fn a_position_of_another_epoch_gets_a_gap(broker: TestBroker) {
    let node = broker.node().await;
    let head = publish(&node, 5).await;
    let epoch = epoch_and_offset(&head).0.to_owned();
    let mut subscriber = Subscriber::connect(&node).await;
    let subscribed = subscribe(&mut subscriber, "s", json!({"since": "0ther:3"})).await;
    assert_eq!((&subscribed["recovered"], &subscribed["position"]), (&json!(false), &json!(format!("{epoch}:0"))));
    let gap = subscriber.frame().await;
    assert_eq!((&gap["from"], &gap["position"]), (&json!("0ther:3"), &json!(format!("{epoch}:0"))));
    expect_offsets(&mut subscriber, 1..=5).await;
}

async fn a_position_ahead_of_the_log_gets_a_gap_and_no_new_epoch(broker: TestBroker) {
    let node = broker.node().await;
    let head = publish(&node, 5).await;
    let ahead = format!("{}:500", epoch_and_offset(&head).0);
    let mut subscriber = Subscriber::connect(&node).await;
    let subscribed = subscribe(&mut subscriber, "s", json!({"since": ahead})).await;
    assert_eq!((&subscribed["recovered"], &subscribed["position"]), (&json!(false), &json!(head)));
    assert_eq!(subscriber.frame().await["from"], ahead);
    // A position that one client claims must not start a new epoch.
    let next = publish(&node, 1).await;
    assert_eq!(epoch_and_offset(&next), (epoch_and_offset(&head).0, 6));
    expect_offsets(&mut subscriber, 6..=6).await;
}

async fn a_filter_applies_to_replayed_events(broker: TestBroker) {
    let node = broker.node().await;
    publish(&node, 300).await;
    let mut subscriber = Subscriber::connect(&node).await;
    subscribe(&mut subscriber, "s", json!({"since": "start", "where": {"productId": ["7", "107", "250"]}})).await;
    expect_offsets(&mut subscriber, [8, 108, 251].into_iter()).await;
    node.publish(&json!([sale("8"), sale("7")])).await;
    expect_offsets(&mut subscriber, [302].into_iter()).await;
}

async fn subscriptions_to_one_channel_share_a_replay(broker: TestBroker) {
    let node = broker.node().await;
    publish(&node, 20).await;
    let mut raw = RawConnection::open(&node).await;
    let frame = |sub: &str, product: &[&str]| {
        let frame = json!({"type": "subscribe", "sub": sub, "channel": CHANNEL, "since": "start", "where": {"productId": product}});
        text(&frame.to_string())
    };
    // In one write, as a client library does when it resumes.
    raw.send(&[frame("a", &["3", "5"]), frame("b", &["5", "9"])].concat()).await;
    let frames: Vec<Value> =
        [raw.json().await, raw.json().await, raw.json().await, raw.json().await, raw.json().await].into();
    let kinds: Vec<_> = frames.iter().map(|frame| frame["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["subscribed", "subscribed", "event", "event", "event"]);
    let offsets: Vec<_> = frames[2..].iter().map(|frame| offset(frame["position"].as_str().unwrap())).collect();
    assert_eq!(offsets, [4, 6, 10]);
}

async fn a_second_subscription_cannot_go_back_to_an_older_position(broker: TestBroker) {
    let node = broker.node().await;
    let head = publish(&node, 5).await;
    let mut subscriber = Subscriber::to(&node, CHANNEL).await;
    let frame = json!({"type": "subscribe", "sub": "again", "channel": CHANNEL, "since": "start"});
    subscriber.say(frame).await;
    let error = subscriber.frame_of("error").await;
    assert_eq!((&error["code"], &error["sub"]), (&json!("invalid-position"), &json!("again")));
    let subscribed = subscribe(&mut subscriber, "here", json!({"since": head})).await;
    assert_eq!((&subscribed["position"], &subscribed["recovered"]), (&json!(head), &json!(true)));
    publish(&node, 1).await;
    expect_offsets(&mut subscriber, 6..=6).await;
    subscriber.pong_is_next().await;
}

async fn since_accepts_ages_times_and_cursors(broker: TestBroker) {
    let node = broker.node().await;
    let head = publish(&node, 3).await;
    let ahead = "2100-01-01T00:00:00Z";
    let cursor = format!("order-status=x:1,{CHANNEL}={}:1", epoch_and_offset(&head).0);
    for (since, first) in [
        ("1h", 1),
        ("99999999999999999999d", 1),
        ("1970-01-01T00:00:00Z", 1),
        ("0000-01-01t00:00:00.0000000000001z", 1),
        (&cursor, 2),
        ("0s", 4),
        (ahead, 4),
        ("9999-12-31T23:59:60Z", 4),
        ("now", 4),
    ] {
        let mut subscriber = Subscriber::connect(&node).await;
        let subscribed = subscribe(&mut subscriber, "s", json!({"since": since})).await;
        assert_eq!(subscribed["recovered"], true, "{since}");
        assert_eq!(offset(subscribed["position"].as_str().unwrap()), first - 1, "{since}");
        expect_offsets(&mut subscriber, first..=3).await;
        subscriber.pong_is_next().await;
    }
}

async fn an_unreadable_since_is_invalid_position(broker: TestBroker) {
    let node = broker.node().await;
    let mut subscriber = Subscriber::connect(&node).await;
    for since in ["", "yesterday", "k3", "k3:x", "order-status=k3:1"] {
        subscriber.say(json!({"type": "subscribe", "sub": "s", "channel": CHANNEL, "since": since})).await;
        let error = subscriber.frame_of("error").await;
        assert_eq!((&error["code"], &error["sub"]), (&json!("invalid-position"), &json!("s")), "{since}");
    }
}

async fn unsubscribing_cancels_a_replay(broker: TestBroker) {
    let node = broker.node().await;
    publish(&node, 2_000).await;
    let mut subscriber = Subscriber::connect(&node).await;
    subscribe(&mut subscriber, "s", json!({"since": "start"})).await;
    subscriber.say(json!({"type": "unsubscribe", "sub": "s"})).await;
    within("unsubscribed", async { while subscriber.frame().await["type"] != "unsubscribed" {} }).await;
    subscriber.pong_is_next().await;
    // The name and the channel can be subscribed again.
    let subscribed = subscribe(&mut subscriber, "s", json!({"since": "start"})).await;
    assert_eq!(offset(subscribed["position"].as_str().unwrap()), 0);
    expect_offsets(&mut subscriber, 1..=2_000).await;
    until("one subscription is counted", async || (node.metric("tidings_subscriptions").await == 1.0).then_some(()))
        .await;
}

async fn heartbeat_positions_during_a_replay_are_the_last_replayed_event(broker: TestBroker) {
    let node = broker.node_with(|config| config.websocket.heartbeat = Duration::from_millis(500)).await;
    publish(&node, 2_000).await;
    let mut subscriber = Subscriber::connect(&node).await;
    subscribe(&mut subscriber, "s", json!({"since": "start"})).await;
    let mut at = 0;
    within("the replay ends", async {
        while at < 2_000 {
            let frame = subscriber.any_frame().await;
            match frame["type"].as_str() {
                Some("event") => at = offset(frame["position"].as_str().unwrap()),
                Some("heartbeat") => assert_eq!(offset(frame["positions"][CHANNEL].as_str().unwrap()), at),
                _ => {}
            }
        }
    })
    .await;
    assert_eq!(offset(subscriber.heartbeat().await["positions"][CHANNEL].as_str().unwrap()), 2_000);
}

async fn a_client_that_does_not_read_its_replay_is_not_closed(broker: TestBroker) {
    let node = broker.node_with(|config| config.websocket.outbox_bytes = 64 << 10).await;
    for first in (0..2_000).step_by(100) {
        let events: Vec<Value> =
            (first..first + 100).map(|n| with(sale(&n.to_string()), "padding", "x".repeat(1000))).collect();
        node.publish(&json!(events)).await;
    }
    let mut raw = RawConnection::open(&node).await;
    raw.send(&text(&json!({"type": "subscribe", "sub": "s", "channel": CHANNEL, "since": "start"}).to_string())).await;
    assert_eq!(raw.json().await["type"], "subscribed");
    until("the socket is full", async || (node.metric("tidings_outbox_bytes").await > 0.0).then_some(())).await;
    assert!(node.metric("tidings_outbox_bytes").await <= (64 << 10) as f64);
    for expected in 1..=2_000 {
        assert_eq!(offset(raw.json().await["position"].as_str().unwrap()), expected);
    }
    assert_eq!(node.metric("tidings_slow_consumers_total").await, 0.0);
}

async fn several_channels_are_replayed_to_a_slow_client(broker: TestBroker) {
    const EVENTS: usize = 1000;
    let node = broker.node().await;
    for event in [sale, order] {
        // Together more than the socket buffers hold.
        let events: Vec<Value> =
            (0..EVENTS).map(|n| with(event(&n.to_string()), "padding", "x".repeat(8_000))).collect();
        for part in events.chunks(250) {
            node.publish(&json!(part)).await;
        }
    }
    let mut subscriber = Subscriber::connect(&node).await;
    for channel in [CHANNEL, "order-status"] {
        subscriber.say(json!({"type": "subscribe", "sub": channel, "channel": channel, "since": "start"})).await;
    }
    until("the socket is full", async || (node.metric("tidings_outbox_bytes").await > 0.0).then_some(())).await;
    let mut seen = [0; 2];
    let everything = async {
        while seen != [EVENTS as u64; 2] {
            let frame = subscriber.frame().await;
            if frame["type"] == "event" {
                let seen = &mut seen[usize::from(frame["event"]["type"] != CHANNEL)];
                *seen += 1;
                assert_eq!(offset(frame["position"].as_str().unwrap()), *seen);
            }
        }
    };
    within("all events", everything).await;
}
