//! The newest event of each subject, on every backend: the suite in `broker.rs` lists these tests.

use std::time::Duration;

use tidings::broker::{LatestPage, Signal};
use tidings::event::{Event, Position, TypeSettings};

use super::{Backend, ORDERS, STOCK};
use crate::support::broker::Node;
use crate::support::until;

const HOUR: Duration = Duration::from_secs(3600);

impl Backend {
    /// Has the type `inventory-change` keep the newest event of each subject.
    fn keeping(mut self, max_age: Duration, max_subjects: u64) -> Self {
        self.config.latest_max_subjects = max_subjects;
        self.config.types =
            [(STOCK.to_owned(), TypeSettings { latest: Some(max_age), ..TypeSettings::default() })].into();
        self
    }
}

fn about(node: &Node, channel: &str, subject: &str, id: &str) -> Event {
    Event { subject: Some(subject.into()), ..node.event(channel, id) }
}

async fn publish(node: &Node, subject: &str, id: &str) -> Position {
    let appended = node.broker.append(&[about(node, STOCK, subject, id)]).await.unwrap();
    assert!(!appended[0].duplicate, "{id}");
    appended[0].position.clone()
}

/// The position and the id of a subject's newest event.
async fn latest(node: &Node, subject: &str) -> Option<(Position, String)> {
    let found = node.broker.latest().latest(node.channel(STOCK), subject).await.unwrap();
    let entry = found.entry?;
    assert!(entry.offset <= found.head.offset);
    Some((Position { offset: entry.offset, ..found.head }, id_of(&entry.json)))
}

fn id_of(json: &str) -> String {
    let event: serde_json::Value = serde_json::from_str(json).unwrap();
    event["id"].as_str().unwrap().to_owned()
}

async fn page(node: &Node, after: u64, limit: usize) -> LatestPage {
    node.broker.latest().latest_page(node.channel(STOCK), after, limit).await.unwrap()
}

/// The ids of all values, read in pages of this size.
async fn all(node: &Node, limit: usize) -> Vec<String> {
    let (mut after, mut ids) = (0, Vec::new());
    loop {
        let LatestPage { entries, more, .. } = page(node, after, limit).await;
        assert!(entries.len() <= limit && entries.is_sorted_by_key(|entry| entry.offset));
        ids.extend(entries.iter().map(|entry| id_of(&entry.json)));
        match entries.last() {
            Some(last) if more => after = last.offset,
            _ => return ids,
        }
    }
}

pub async fn a_subject_has_its_newest_event(backend: Backend) {
    let backend = backend.keeping(HOUR, 1000);
    let nodes = backend.nodes().await;
    let (one, two) = (&nodes[0], &nodes[nodes.len() - 1]);
    assert!(one.broker.latest().keeps_latest(one.channel(STOCK)));
    assert!(!one.broker.latest().keeps_latest(one.channel(ORDERS)));
    assert_eq!((latest(one, "a").await, all(one, 10).await), (None, vec![]));
    publish(one, "a", "a1").await;
    publish(one, "b", "b1").await;
    let newest = publish(two, "a", "a2").await;
    for node in [one, two] {
        assert_eq!(latest(node, "a").await, Some((newest.clone(), "a2".into())));
        for limit in [1, 2, 10] {
            assert_eq!(all(node, limit).await, ["b1", "a2"], "in the order of the log");
        }
    }
    // A duplicate changes nothing, and neither does an event without a subject, of another channel, or of a type that keeps
    // none.
    let others = [
        about(one, STOCK, "a", "a1"),
        about(one, ORDERS, "a", "order"),
        one.event(STOCK, "without"),
        about(one, STOCK, "c", "c1"),
        about(one, STOCK, "c", "c2"),
    ];
    one.broker.append(&others).await.unwrap();
    assert_eq!(all(two, 2).await, ["b1", "a2", "c2"]);
    assert_eq!(two.broker.latest().latest(two.channel(ORDERS), "a").await.unwrap().entry, None);
    assert_eq!(page(two, 0, 10).await.head, one.read(STOCK, None, 0).await.bounds.head());
    let tally = one.broker.latest().latest_tally(one.channel(STOCK));
    assert_eq!((tally.kept(), tally.take_evicted()), (3, 0));
}

pub async fn a_subject_may_be_any_text(backend: Backend) {
    let backend = backend.keeping(HOUR, 1000);
    let node = backend.node().await;
    let subjects = ["/", "a/b c", "ü 日本", "{x}:y", "'\"\\%", "0", &"s".repeat(1024)];
    for (number, subject) in subjects.iter().enumerate() {
        let position = publish(&node, subject, &format!("{number}")).await;
        assert_eq!(latest(&node, subject).await, Some((position, number.to_string())), "{subject}");
    }
    assert_eq!(all(&node, 3).await.len(), subjects.len());
    assert_eq!(latest(&node, "").await.map(drop), None);
}

pub async fn the_longest_unchanged_subjects_leave_first(backend: Backend) {
    let backend = backend.keeping(HOUR, 3);
    let node = backend.node().await;
    for (subject, id) in [("a", "a1"), ("b", "b1"), ("c", "c1"), ("a", "a2"), ("d", "d1")] {
        publish(&node, subject, id).await;
    }
    assert_eq!(all(&node, 10).await, ["c1", "a2", "d1"]);
    let batch: Vec<_> = (0..300).map(|i| about(&node, STOCK, &format!("s{i}"), &format!("batch {i}"))).collect();
    node.broker.append(&batch).await.unwrap();
    assert_eq!(all(&node, 2).await, ["batch 297", "batch 298", "batch 299"]);
    assert_eq!(latest(&node, "a").await, None);
    let tally = node.broker.latest().latest_tally(node.channel(STOCK));
    assert_eq!((tally.kept(), tally.take_evicted(), tally.take_evicted()), (3, 301, 0));
}

pub async fn old_values_do_not_count(backend: Backend) {
    let backend = backend.keeping(Duration::from_millis(500), 1000);
    let node = backend.node().await;
    for i in 0..200 {
        publish(&node, &format!("s{i}"), &format!("old {i}")).await;
    }
    until("all values are too old", async || {
        let (page, one) = (page(&node, 0, 10).await, latest(&node, "s199").await);
        (page.entries.is_empty() && !page.more && one.is_none()).then_some(())
    })
    .await;
    publish(&node, "new", "new").await;
    assert_eq!(all(&node, 10).await, ["new"]);
}

pub async fn a_value_that_is_too_old_leaves_for_nobody(backend: Backend) {
    let backend = backend.keeping(Duration::from_millis(500), 10);
    let node = backend.node().await;
    let batch = async |name: &str| {
        let batch: Vec<_> =
            (0..10).map(|i| about(&node, STOCK, &format!("{name}{i}"), &format!("{name} {i}"))).collect();
        node.broker.append(&batch).await.unwrap();
    };
    batch("old").await;
    until("all values are too old", async || all(&node, 10).await.is_empty().then_some(())).await;
    batch("new").await;
    let tally = node.broker.latest().latest_tally(node.channel(STOCK));
    assert_eq!((tally.kept(), tally.take_evicted()), (10, 0));
}

pub async fn values_are_read_in_pages_while_they_change(backend: Backend) {
    let backend = backend.keeping(HOUR, 1000);
    let node = backend.node().await;
    for i in 0..50 {
        publish(&node, &format!("s{i}"), &format!("first {i}")).await;
    }
    let head = page(&node, 0, 1).await.head;
    let (mut after, mut found) = (0, Vec::new());
    for round in 0.. {
        let LatestPage { entries, .. } = page(&node, after, 7).await;
        let Some(last) = entries.last() else { break };
        after = last.offset;
        found.extend(entries.iter().filter(|entry| entry.offset <= head.offset).map(|entry| id_of(&entry.json)));
        if round < 7 {
            // One that was read, and one that was not.
            publish(&node, &format!("s{round}"), &format!("again {round}")).await;
            publish(&node, &format!("s{}", 49 - round), &format!("again {}", 49 - round)).await;
        }
    }
    let mut once = found.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), found.len(), "no value comes twice");
    // The log after the head has what changed since, so that both together have the newest event of each subject.
    let rest = node.read(STOCK, Some(&head), 1000).await;
    let changed: Vec<_> = rest.entries.iter().map(|entry| id_of(&entry.json)).collect();
    assert_eq!(changed.len(), 14);
    for number in 0..50 {
        let (first, again) = (format!("first {number}"), format!("again {number}"));
        assert!(found.contains(&first) || changed.contains(&again), "{number}");
    }
}

pub async fn large_values_end_a_page(backend: Backend) {
    let backend = backend.keeping(HOUR, 1000);
    let node = backend.node().await;
    let batch: Vec<_> = (0..20)
        .map(|i| {
            let json = serde_json::json!({ "id": i.to_string(), "data": "x".repeat(60_000) }).to_string().into();
            Event { json, ..about(&node, STOCK, &format!("s{i}"), &i.to_string()) }
        })
        .collect();
    for event in &batch {
        node.broker.append(std::slice::from_ref(event)).await.unwrap();
    }
    let first = page(&node, 0, 1000).await;
    assert!(first.more && first.entries.len() < 20, "{}", first.entries.len());
    assert_eq!(all(&node, 1000).await.len(), 20);
}

pub async fn a_log_that_loses_events_loses_its_newest_events(backend: Backend) {
    let backend = backend.keeping(HOUR, 1000);
    let mut node = backend.node().await;
    let before = publish(&node, "a", "a1").await;
    publish(&node, "b", "b1").await;
    // A position ahead of the log proves a loss: the log begins a new epoch. A log in memory cannot lose events.
    let ahead = Position { offset: before.offset + 1000, ..before.clone() };
    let after = node.read(STOCK, Some(&ahead), 10).await.bounds.epoch;
    if after == before.epoch {
        return;
    }
    assert_eq!((latest(&node, "a").await, latest(&node, "b").await, all(&node, 10).await), (None, None, vec![]));
    let next = publish(&node, "b", "b2").await;
    assert_eq!(next.epoch, after);
    assert_eq!(latest(&node, "b").await, Some((next, "b2".into())));
    assert_eq!(all(&node, 10).await, ["b2"]);
    while !matches!(node.signal().await, Signal::Appended { position, .. } if position.epoch == after) {}
}

pub async fn values_outlive_their_events_in_the_log(backend: Backend) {
    let mut backend = backend.keeping(HOUR, 1000);
    backend.config.log_max_events = 2;
    let node = backend.node().await;
    publish(&node, "a", "a1").await;
    for i in 0..200 {
        publish(&node, "b", &format!("b{i}")).await;
    }
    assert_eq!(all(&node, 10).await, ["a1", "b199"]);
    if matches!(backend.config.broker, tidings::config::BrokerUrl::Memory) {
        return;
    }
    // Another process has them, too.
    node.broker.close().await;
    drop(node);
    let node = backend.node().await;
    assert_eq!(all(&node, 10).await, ["a1", "b199"]);
}

pub async fn events_without_the_setting_end_all_values(mut backend: Backend) {
    if matches!(backend.config.broker, tidings::config::BrokerUrl::Memory) {
        return;
    }
    let plain = backend.config.types.clone();
    backend = backend.keeping(HOUR, 1000);
    let node = backend.node().await;
    publish(&node, "a", "a1").await;
    publish(&node, "b", "b1").await;
    node.broker.close().await;
    drop(node);
    let keeping = std::mem::replace(&mut backend.config.types, plain);
    let node = backend.node().await;
    publish(&node, "a", "a2").await;
    assert_eq!(latest(&node, "a").await, None);
    node.broker.close().await;
    drop(node);
    backend.config.types = keeping;
    let node = backend.node().await;
    assert_eq!((latest(&node, "a").await, all(&node, 10).await), (None, vec![]), "a1 is not the newest of a");
    let newest = publish(&node, "b", "b2").await;
    assert_eq!(latest(&node, "b").await, Some((newest, "b2".into())));
    assert_eq!(all(&node, 10).await, ["b2"]);
}
