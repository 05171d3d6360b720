//! `since`: what the log has is replayed, then the stream is live, with nothing missing and nothing twice at the seam.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::each_broker::{TestBroker, over_each_broker};
use crate::support::events::{offset, order, place, sale, with};
use crate::support::node::Node;
use crate::support::raw::{Raw, text};
use crate::support::subscriber::Subscriber;
use crate::support::{until, within};

over_each_broker!(
    the_log_is_replayed_and_the_stream_goes_on,
    a_position_is_gone_on_from,
    nothing_is_missing_or_twice_at_the_seam_under_load,
    what_the_log_no_longer_has_is_a_gap,
    another_epoch_is_a_gap,
    a_position_ahead_of_the_log_is_told_so,
    a_filter_holds_for_what_is_replayed,
    subscriptions_to_one_channel_are_replayed_together,
    a_stream_cannot_go_back,
    since_takes_ages_times_and_cursors,
    a_since_that_cannot_be_read_is_an_error,
    a_replay_can_be_given_up,
    heartbeats_say_what_was_replayed,
    a_peer_that_never_reads_is_not_closed_for_its_replay,
    several_channels_are_replayed_to_a_peer_that_is_slow,
);

const CHANNEL: &str = "inventory-change";

/// Subscribes with further members and returns the `subscribed` frame.
async fn subscribe(subscriber: &mut Subscriber, sub: &str, members: Value) -> Value {
    let mut frame = json!({"type": "subscribe", "sub": sub, "channel": CHANNEL});
    frame.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    subscriber.say(frame).await;
    subscriber.frame_of("subscribed").await
}

/// Publishes so many events, in requests of a hundred; returns the last position.
async fn publish(node: &Node, count: usize) -> String {
    let mut last = String::new();
    for first in (0..count).step_by(100) {
        let events: Vec<Value> = (first..count.min(first + 100)).map(|n| sale(&n.to_string())).collect();
        last = node.publish(&json!(events)).await.pop().unwrap().position;
    }
    last
}

async fn expect(subscriber: &mut Subscriber, offsets: impl Iterator<Item = u64>) {
    for expected in offsets {
        assert_eq!(offset(&subscriber.event().await.position), expected);
    }
}

async fn the_log_is_replayed_and_the_stream_goes_on(broker: TestBroker) {
    let node = broker.node().await;
    publish(&node, 1_500).await;
    let mut subscriber = Subscriber::connect(&node).await;
    let subscribed = subscribe(&mut subscriber, "s", json!({"since": "start"})).await;
    assert_eq!((offset(subscribed["position"].as_str().unwrap()), &subscribed["recovered"]), (0, &json!(true)));
    expect(&mut subscriber, 1..=1_500).await;
    publish(&node, 3).await;
    expect(&mut subscriber, 1_501..=1_503).await;
    subscriber.pong_is_next().await;
}

async fn a_position_is_gone_on_from(broker: TestBroker) {
    let node = broker.node().await;
    let head = publish(&node, 10).await;
    let (epoch, _) = place(&head);
    let mut subscriber = Subscriber::connect(&node).await;
    let subscribed = subscribe(&mut subscriber, "s", json!({"since": format!("{epoch}:7")})).await;
    assert_eq!((&subscribed["position"], &subscribed["recovered"]), (&json!(format!("{epoch}:7")), &json!(true)));
    expect(&mut subscriber, 8..=10).await;
    // At the head there is nothing to replay.
    let mut at_head = Subscriber::connect(&node).await;
    let subscribed = subscribe(&mut at_head, "s", json!({"since": head})).await;
    assert_eq!((&subscribed["position"], &subscribed["recovered"]), (&json!(head), &json!(true)));
    publish(&node, 1).await;
    expect(&mut at_head, 11..=11).await;
    expect(&mut subscriber, 11..=11).await;
}

async fn nothing_is_missing_or_twice_at_the_seam_under_load(broker: TestBroker) {
    const ALL: u64 = 6_000;
    let node = broker.node().await;
    let head = publish(&node, 100).await;
    let epoch = place(&head).0.to_owned();
    let publishing = publish(&node, ALL as usize - 100);
    let subscribing = async {
        let mut subscribers = Vec::new();
        for number in 0..30u64 {
            tokio::time::sleep(Duration::from_millis(number % 7)).await;
            let mut subscriber = Subscriber::connect(&node).await;
            let since = format!("{epoch}:{}", number * 3);
            assert_eq!(subscribe(&mut subscriber, "s", json!({"since": since})).await["recovered"], true);
            subscribers.push(tokio::spawn(async move {
                expect(&mut subscriber, number * 3 + 1..=ALL).await;
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

async fn what_the_log_no_longer_has_is_a_gap(broker: TestBroker) {
    let node = broker.node_with(|config| config.broker.log_max_events = 50).await;
    let first = publish(&node, 1).await;
    publish(&node, 299).await;
    let epoch = place(&first).0.to_owned();
    let mut subscriber = Subscriber::connect(&node).await;
    let subscribed = subscribe(&mut subscriber, "s", json!({"since": first})).await;
    assert_eq!((&subscribed["recovered"], &subscribed["position"]), (&json!(false), &json!(format!("{epoch}:250"))));
    let gap = subscriber.frame().await;
    assert_eq!(gap, json!({"type": "gap", "channel": CHANNEL, "from": first, "position": format!("{epoch}:250")}));
    expect(&mut subscriber, 251..=300).await;
    subscriber.pong_is_next().await;
}

async fn another_epoch_is_a_gap(broker: TestBroker) {
    let node = broker.node().await;
    let head = publish(&node, 5).await;
    let epoch = place(&head).0.to_owned();
    let mut subscriber = Subscriber::connect(&node).await;
    let subscribed = subscribe(&mut subscriber, "s", json!({"since": "0ther:3"})).await;
    assert_eq!((&subscribed["recovered"], &subscribed["position"]), (&json!(false), &json!(format!("{epoch}:0"))));
    let gap = subscriber.frame().await;
    assert_eq!((&gap["from"], &gap["position"]), (&json!("0ther:3"), &json!(format!("{epoch}:0"))));
    expect(&mut subscriber, 1..=5).await;
}

async fn a_position_ahead_of_the_log_is_told_so(broker: TestBroker) {
    let node = broker.node().await;
    let head = publish(&node, 5).await;
    let ahead = format!("{}:500", place(&head).0);
    let mut subscriber = Subscriber::connect(&node).await;
    let subscribed = subscribe(&mut subscriber, "s", json!({"since": ahead})).await;
    assert_eq!((&subscribed["recovered"], &subscribed["position"]), (&json!(false), &json!(head)));
    assert_eq!(subscriber.frame().await["from"], ahead);
    // What one client claims is no reason for a new epoch.
    let next = publish(&node, 1).await;
    assert_eq!(place(&next), (place(&head).0, 6));
    expect(&mut subscriber, 6..=6).await;
}

async fn a_filter_holds_for_what_is_replayed(broker: TestBroker) {
    let node = broker.node().await;
    publish(&node, 300).await;
    let mut subscriber = Subscriber::connect(&node).await;
    subscribe(&mut subscriber, "s", json!({"since": "start", "where": {"productId": ["7", "107", "250"]}})).await;
    expect(&mut subscriber, [8, 108, 251].into_iter()).await;
    node.publish(&json!([sale("8"), sale("7")])).await;
    expect(&mut subscriber, [302].into_iter()).await;
}

async fn subscriptions_to_one_channel_are_replayed_together(broker: TestBroker) {
    let node = broker.node().await;
    publish(&node, 20).await;
    let mut raw = Raw::upgraded(&node).await;
    let frame = |sub: &str, product: &[&str]| {
        let frame = json!({"type": "subscribe", "sub": sub, "channel": CHANNEL, "since": "start", "where": {"productId": product}});
        text(&frame.to_string())
    };
    // As a client library says it: at once.
    raw.send(&[frame("a", &["3", "5"]), frame("b", &["5", "9"])].concat()).await;
    let frames: Vec<Value> =
        [raw.json().await, raw.json().await, raw.json().await, raw.json().await, raw.json().await].into();
    let kinds: Vec<_> = frames.iter().map(|frame| frame["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["subscribed", "subscribed", "event", "event", "event"]);
    let offsets: Vec<_> = frames[2..].iter().map(|frame| offset(frame["position"].as_str().unwrap())).collect();
    assert_eq!(offsets, [4, 6, 10]);
}

async fn a_stream_cannot_go_back(broker: TestBroker) {
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
    expect(&mut subscriber, 6..=6).await;
    subscriber.pong_is_next().await;
}

async fn since_takes_ages_times_and_cursors(broker: TestBroker) {
    let node = broker.node().await;
    let head = publish(&node, 3).await;
    let ahead = "2100-01-01T00:00:00Z";
    let cursor = format!("order-status=x:1,{CHANNEL}={}:1", place(&head).0);
    for (since, first) in [("1h", 1), ("1970-01-01T00:00:00Z", 1), (&cursor, 2), ("0s", 4), (ahead, 4), ("now", 4)] {
        let mut subscriber = Subscriber::connect(&node).await;
        let subscribed = subscribe(&mut subscriber, "s", json!({"since": since})).await;
        assert_eq!(subscribed["recovered"], true, "{since}");
        assert_eq!(offset(subscribed["position"].as_str().unwrap()), first - 1, "{since}");
        expect(&mut subscriber, first..=3).await;
        subscriber.pong_is_next().await;
    }
}

async fn a_since_that_cannot_be_read_is_an_error(broker: TestBroker) {
    let node = broker.node().await;
    let mut subscriber = Subscriber::connect(&node).await;
    for since in ["", "yesterday", "k3", "k3:x", "order-status=k3:1"] {
        subscriber.say(json!({"type": "subscribe", "sub": "s", "channel": CHANNEL, "since": since})).await;
        let error = subscriber.frame_of("error").await;
        assert_eq!((&error["code"], &error["sub"]), (&json!("invalid-position"), &json!("s")), "{since}");
    }
}

async fn a_replay_can_be_given_up(broker: TestBroker) {
    let node = broker.node().await;
    publish(&node, 2_000).await;
    let mut subscriber = Subscriber::connect(&node).await;
    subscribe(&mut subscriber, "s", json!({"since": "start"})).await;
    subscriber.say(json!({"type": "unsubscribe", "sub": "s"})).await;
    within("unsubscribed", async { while subscriber.frame().await["type"] != "unsubscribed" {} }).await;
    subscriber.pong_is_next().await;
    // The name and the channel are free again.
    let subscribed = subscribe(&mut subscriber, "s", json!({"since": "start"})).await;
    assert_eq!(offset(subscribed["position"].as_str().unwrap()), 0);
    expect(&mut subscriber, 1..=2_000).await;
    until("one subscription", async || (node.metric("tidings_subscriptions").await == 1.0).then_some(())).await;
}

async fn heartbeats_say_what_was_replayed(broker: TestBroker) {
    let node = broker.node_with(|config| config.websocket.heartbeat = Duration::from_millis(500)).await;
    publish(&node, 2_000).await;
    let mut subscriber = Subscriber::connect(&node).await;
    subscribe(&mut subscriber, "s", json!({"since": "start"})).await;
    let mut at = 0;
    within("it is live", async {
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

async fn a_peer_that_never_reads_is_not_closed_for_its_replay(broker: TestBroker) {
    let node = broker.node_with(|config| config.websocket.outbox_bytes = 64 << 10).await;
    for first in (0..2_000).step_by(100) {
        let events: Vec<Value> =
            (first..first + 100).map(|n| with(sale(&n.to_string()), "padding", "x".repeat(1000))).collect();
        node.publish(&json!(events)).await;
    }
    let mut raw = Raw::upgraded(&node).await;
    raw.send(&text(&json!({"type": "subscribe", "sub": "s", "channel": CHANNEL, "since": "start"}).to_string())).await;
    assert_eq!(raw.json().await["type"], "subscribed");
    until("the socket is full", async || (node.metric("tidings_outbox_bytes").await > 0.0).then_some(())).await;
    assert!(node.metric("tidings_outbox_bytes").await <= (64 << 10) as f64);
    for expected in 1..=2_000 {
        assert_eq!(offset(raw.json().await["position"].as_str().unwrap()), expected);
    }
    assert_eq!(node.metric("tidings_slow_consumers_total").await, 0.0);
}

async fn several_channels_are_replayed_to_a_peer_that_is_slow(broker: TestBroker) {
    const EVENTS: usize = 1000;
    let node = broker.node().await;
    for event in [sale, order] {
        // Together more than the sockets hold.
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
    within("everything", everything).await;
}
