//! `since: latest`: first the newest event of each subject, then every later event, without loss or repetition in between.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::{ORDERS, ask, keeping};
use crate::stream::Stream;
use crate::support::each_broker::{TestBroker, over_each_broker};
use crate::support::events::{offset, order, with_data};
use crate::support::node::Node;
use crate::support::subscriber::Subscriber;
use crate::support::{seed, within};

/// Requests of the publisher, and their events.
const BATCHES: usize = 120;
const BATCH: usize = 20;
/// Different orders.
const SUBJECTS: usize = 150;

over_each_broker!(
    nothing_is_lost_or_repeated_under_load,
    a_subscription_begins_with_the_newest_events,
    a_stream_that_is_cut_among_the_newest_events_resumes,
    only_types_that_keep_newest_events_have_them,
);

/// An event as the publisher knows it: its offset, its order and whether the filter of some subscribers lets it through.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Published {
    offset: u64,
    order: String,
    matches: bool,
}

/// Whether a stream with these offsets began with the newest events up to some head, and had every event after it. A subject
/// that changed while the newest events were read is among those after the head only. The last event is the last that it had.
fn is_complete(received: &[u64], published: &[Published], is_filtered: bool) -> bool {
    let wanted = |event: &&Published| event.matches || !is_filtered;
    let missing = published.iter().filter(wanted).filter(|event| !received.contains(&event.offset));
    let lowest = missing.map(|event| event.offset).max().unwrap_or(0);
    (lowest..=published.last().map_or(0, |last| last.offset)).any(|head| {
        let (before, after): (Vec<_>, Vec<_>) = published.iter().partition(|event| event.offset <= head);
        let newest: BTreeMap<_, _> = before.iter().map(|event| (&event.order, *event)).collect();
        let newest: BTreeMap<_, _> = newest.into_values().filter(wanted).map(|event| (event.offset, event)).collect();
        let changed: BTreeSet<_> = after.iter().map(|event| &event.order).collect();
        let (listed, live) = received.split_at(received.partition_point(|offset| *offset <= head));
        live.iter().eq(after.into_iter().filter(wanted).map(|event| &event.offset))
            && listed.iter().all(|offset| newest.contains_key(offset))
            && newest.values().all(|event| listed.contains(&event.offset) || changed.contains(&event.order))
    })
}

async fn publishes(node: &Node, sent: &AtomicUsize) -> Vec<Published> {
    let mut random = StdRng::seed_from_u64(seed());
    let mut published = Vec::new();
    let statuses = ["pending", "shipped", "completed"];
    for _ in 0..BATCHES {
        let mut one = || {
            let id = format!("o{}", random.random_range(0..SUBJECTS));
            with_data(order(&id), "newStatus", statuses[random.random_range(0..3)])
        };
        let batch: Vec<Value> = (0..BATCH).map(|_| one()).collect();
        let accepted = node.publish(&json!(batch)).await;
        published.extend(batch.iter().zip(&accepted).map(|(event, accepted)| Published {
            offset: offset(&accepted.position),
            order: event["data"]["orderId"].as_str().unwrap().to_owned(),
            matches: event["data"]["newStatus"] == "shipped",
        }));
        sent.fetch_add(BATCH, Ordering::Relaxed);
    }
    let last = node.publish(&with_data(order("end"), "newStatus", "shipped")).await.remove(0);
    published.push(Published { offset: offset(&last.position), order: "end".into(), matches: true });
    published
}

async fn nothing_is_lost_or_repeated_under_load(broker: TestBroker) {
    let node = broker.node_with(keeping).await;
    let (node, sent) = (Arc::new(node), Arc::new(AtomicUsize::new(0)));
    let publisher = {
        let (node, sent) = (node.clone(), sent.clone());
        tokio::spawn(async move { publishes(&node, &sent).await })
    };
    let mut streams = Vec::new();
    for round in 0..8 {
        let begun = round * BATCHES * BATCH / 8;
        let (node, sent, is_filtered) = (node.clone(), sent.clone(), round % 2 == 1);
        streams.push(tokio::spawn(async move {
            while sent.load(Ordering::Relaxed) < begun {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let filter = if is_filtered { "&where=%7B%22newStatus%22%3A%22shipped%22%7D" } else { "" };
            let query = format!("channel={ORDERS}&since=latest{filter}");
            let mut received = Vec::new();
            if round % 4 < 2 {
                let mut client = Subscriber::connect_to(&node, &format!("/v1/ws?{query}")).await;
                let subscribed = client.frame_of("subscribed").await;
                assert_eq!(subscribed["recovered"], json!(true), "{subscribed}");
                loop {
                    let delivered = client.event().await;
                    received.push(offset(&delivered.position));
                    if delivered.event["data"]["orderId"] == "end" {
                        break;
                    }
                }
            } else {
                let mut stream = Stream::open(&node, &query, "").await;
                loop {
                    let event = stream.event().await;
                    assert_eq!(event.kind, ORDERS, "{event:?}");
                    received.push(offset(stream.last_id.rsplit('=').next().unwrap()));
                    if event.data["data"]["orderId"] == "end" {
                        break;
                    }
                }
            }
            (received, is_filtered)
        }));
    }
    let published = within("the publisher", publisher).await.unwrap();
    for stream in streams {
        let (received, is_filtered) = within("a stream", stream).await.unwrap();
        assert!(received.is_sorted_by(|one, next| one < next), "{received:?}");
        assert!(is_complete(&received, &published, is_filtered), "{is_filtered}: {received:?} of {published:?}");
    }
}

/// The next events of a connection: each order with its status.
async fn statuses(client: &mut Subscriber, count: usize) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let events = client.events(count).await;
    events.iter().map(|one| (text(&one.event["data"]["orderId"]), text(&one.event["data"]["newStatus"]))).collect()
}

async fn a_subscription_begins_with_the_newest_events(broker: TestBroker) {
    let node = broker.node_with(keeping).await;
    for id in ["o1", "o2", "o3"] {
        node.publish(&order(id)).await;
    }
    node.publish(&with_data(order("o1"), "newStatus", "shipped")).await;
    let mut client = Subscriber::connect(&node).await;
    client.say(json!({"type": "subscribe", "sub": "s", "channel": ORDERS, "since": "latest"})).await;
    let subscribed = client.frame_of("subscribed").await;
    assert_eq!(subscribed["recovered"], json!(true));
    assert!(subscribed["position"].as_str().unwrap().ends_with(":0"), "{subscribed}");
    let expected = [("o2", "pending"), ("o3", "pending"), ("o1", "shipped")];
    assert_eq!(statuses(&mut client, 3).await, expected.map(|(id, status)| (id.to_owned(), status.to_owned())));
    node.publish(&with_data(order("o2"), "newStatus", "shipped")).await;
    assert_eq!(statuses(&mut client, 1).await, [("o2".to_owned(), "shipped".to_owned())]);
    client.pong_is_next().await;
    // A connection has one position in a channel: it cannot begin again.
    client.say(json!({"type": "subscribe", "sub": "t", "channel": ORDERS, "since": "latest"})).await;
    assert_eq!(client.frame_of("error").await["code"], json!("invalid-position"));
    // A channel without events is live at once.
    let empty = broker.node_with(|config| {
        keeping(config);
        config.broker.namespace = "empty".into();
    });
    let empty = empty.await;
    let mut client = Subscriber::connect(&empty).await;
    client.say(json!({"type": "subscribe", "sub": "s", "channel": ORDERS, "since": "latest"})).await;
    client.frame_of("subscribed").await;
    empty.publish(&order("o1")).await;
    assert_eq!(statuses(&mut client, 1).await, [("o1".to_owned(), "pending".to_owned())]);
}

async fn a_stream_that_is_cut_among_the_newest_events_resumes(broker: TestBroker) {
    let node = broker.node_with(keeping).await;
    for number in 0..10 {
        node.publish(&order(&format!("o{number}"))).await;
        node.publish(&order("often")).await;
    }
    let query = format!("channel={ORDERS}&since=latest");
    let mut stream = Stream::open(&node, &query, "").await;
    let mut known = BTreeMap::new();
    let note = |known: &mut BTreeMap<_, _>, event: &Value| {
        known.insert(event["subject"].as_str().unwrap().to_owned(), event["id"].clone());
    };
    for _ in 0..4 {
        note(&mut known, &stream.event().await.data);
    }
    let last = stream.last_id.clone();
    drop(stream);
    node.publish(&with_data(order("o1"), "newStatus", "shipped")).await;
    let end = node.publish(&order("end")).await.remove(0).id;
    let mut stream = Stream::open(&node, &query, &last).await;
    loop {
        let event = stream.event().await.data;
        note(&mut known, &event);
        if event["id"] == json!(end) {
            break;
        }
    }
    let list = ask(&node, &format!("/v1/latest/{ORDERS}"), None).await.json();
    let expected: BTreeMap<_, _> =
        list["events"].as_array().unwrap().iter().map(|one| &one["event"]).fold(BTreeMap::new(), |mut all, event| {
            note(&mut all, event);
            all
        });
    assert_eq!(known, expected);
}

async fn only_types_that_keep_newest_events_have_them(broker: TestBroker) {
    let node = broker.node_with(keeping).await;
    let update = |id: &str| json!({"type": "data-update", "data": {"resource": "a", "id": id, "action": "update"}});
    node.publish(&json!([update("1"), order("o1")])).await;
    let mut client = Subscriber::connect(&node).await;
    client.say(json!({"type": "subscribe", "sub": "s", "channel": "data-update", "since": "latest"})).await;
    assert_eq!(client.frame_of("error").await["code"], json!("latest-not-kept"));
    ask(&node, "/v1/stream?channel=data-update&since=latest", None).await.problem(422, "latest-not-kept");
    ask(&node, &format!("/v1/events?channel={ORDERS}&since=latest"), None).await.problem(422, "invalid-position");
    // Without a channel, the types that keep none begin with their next event.
    let mut stream = Stream::open(&node, "since=latest", "").await;
    assert_eq!(stream.event().await.kind, ORDERS);
    node.publish(&update("2")).await;
    let event = stream.event().await;
    assert_eq!((event.kind.as_str(), &event.data["data"]["id"]), ("data-update", &json!("2")));
}
