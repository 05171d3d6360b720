//! The newest event of each subject in a Redis Cluster: while its slot moves between masters, and over a failover.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use super::{ORDERS, ask, keeping, orders, path};
use crate::support::cluster::Cluster;
use crate::support::events::{epoch_and_offset, offset, order, with};
use crate::support::node::{Node, config};
use crate::support::subscriber::Subscriber;
use crate::support::{until, within};

const JOIN: &str = "/v1/ws?channel=order-status&since=latest";
const SUBJECTS: [&str; 3] = ["o1", "o2", "o3"];

async fn node(cluster: &Cluster) -> Node {
    let mut config = config(cluster.url());
    keeping(&mut config);
    Node::start(config).await
}

/// Publishes until the broker has the event; returns its position.
async fn publish(node: &Node, event: &Value) -> String {
    loop {
        let answer = node.post(event).await;
        if answer.status != 503 {
            return answer.accepted().remove(0).position;
        }
        answer.problem(503, "broker-unavailable");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The position and the id of the newest event of a subject. `None` while the broker does not answer.
async fn newest(node: &Node, subject: &str) -> Option<(String, String)> {
    let found = ask(node, &path(subject), None).await;
    if found.status == 503 {
        return None;
    }
    assert_eq!(found.status, 200, "{found:?}");
    let found = found.json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    Some((text(&found["position"]), text(&found["event"]["id"])))
}

/// Publishers, readers and subscribers go on while the keys of the slot move one by one. Every answer is an event that was
/// published, none is older than an answer before, and there is one epoch.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_are_right_while_their_slot_moves() {
    let cluster = Cluster::masters();
    let (one, other) = (Arc::new(node(&cluster).await), Arc::new(node(&cluster).await));
    // The ids of the events, by their positions; and whether the publisher ends.
    let published: Arc<Mutex<BTreeMap<u64, String>>> = Arc::default();
    let stop = Arc::new(AtomicBool::new(false));
    let first = publish(&one, &with(order("o1"), "id", "first")).await;
    for subject in &SUBJECTS[1..] {
        publish(&one, &order(subject)).await;
    }
    let publisher = {
        let (one, published, stop) = (one.clone(), published.clone(), stop.clone());
        AbortOnDropHandle::new(tokio::spawn(async move {
            let mut last = BTreeMap::new();
            for number in 0.. {
                let subject = SUBJECTS[number % SUBJECTS.len()];
                let id = format!("{subject}-{number}");
                let position = publish(&one, &with(order(subject), "id", &*id)).await;
                published.lock().unwrap().insert(offset(&position), id);
                last.insert(subject, position);
                if stop.load(Ordering::Relaxed) && number % SUBJECTS.len() == 0 {
                    break;
                }
            }
            last
        }))
    };
    let readers: Vec<_> = [&one, &other]
        .map(|node| {
            let (node, stop) = (node.clone(), stop.clone());
            AbortOnDropHandle::new(tokio::spawn(async move {
                let mut answers: BTreeMap<&str, Vec<(String, String)>> = BTreeMap::new();
                while !stop.load(Ordering::Relaxed) {
                    for subject in SUBJECTS {
                        answers.entry(subject).or_default().extend(newest(&node, subject).await);
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                }
                answers
            }))
        })
        .into();
    let mut clients = Vec::new();
    for (way, keys) in [([0, 1], 1), ([1, 2], 1), ([2, 0], 10), ([0, 1], 10)] {
        let moving = cluster.move_slot(ORDERS, way, keys, Duration::from_millis(200));
        let joining = Subscriber::connect_to(&other, JOIN);
        clients.push(tokio::join!(moving, joining).1);
        let before = published.lock().unwrap().len();
        until("more events are published", async || (published.lock().unwrap().len() > before + 20).then_some(()))
            .await;
    }
    stop.store(true, Ordering::Relaxed);
    let last = within("the publisher", publisher).await.unwrap();
    let published = published.lock().unwrap().clone();
    for node in [&one, &other] {
        for subject in SUBJECTS {
            let found = async || newest(node, subject).await.filter(|(position, _)| *position == last[subject]);
            until(&format!("the last event of {subject} is the newest"), found).await;
        }
    }
    let epoch = epoch_and_offset(&first).0;
    for reader in readers {
        for (subject, answers) in within("a reader", reader).await.unwrap() {
            assert!(answers.len() > 20, "{subject} was read {} times only", answers.len());
            assert!(answers.is_sorted_by_key(|(position, _)| offset(position)), "{subject}: {answers:?}");
            for (position, id) in &answers {
                assert_eq!(epoch_and_offset(position).0, epoch, "{subject}");
                let known = published.get(&offset(position));
                assert!(known.is_none_or(|known| known == id) && (offset(position) <= 3 || known.is_some()), "{id}");
            }
        }
    }
    let end = published.last_key_value().unwrap();
    for mut client in clients {
        assert_eq!(client.frame_of("subscribed").await["recovered"], json!(true));
        let (mut received, mut subjects) = (Vec::new(), BTreeMap::new());
        while received.last() != Some(end.0) {
            let delivered = client.event().await;
            received.push(offset(&delivered.position));
            subjects.entry(delivered.event["subject"].as_str().unwrap().to_owned()).or_insert(delivered.position);
        }
        assert!(received.is_sorted_by(|one, next| one < next), "{received:?}");
        assert_eq!(subjects.len(), SUBJECTS.len(), "it began with every subject: {subjects:?}");
        // From the newest of the first events on, nothing is missing.
        let begin = subjects.values().map(|position| offset(position)).max().unwrap();
        let live = received.iter().copied().filter(|offset| *offset >= begin);
        assert!(live.eq(begin..=*end.0), "{received:?}");
    }
}

/// The replica has every event: the new master answers as the old one did, in the same epoch.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_without_a_loss_keeps_them() {
    let mut cluster = Cluster::with_replicas();
    let node = node(&cluster).await;
    let old = publish(&node, &with(order("o1"), "id", "a")).await;
    let newer = publish(&node, &with(order("o1"), "id", "b")).await;
    replicated(&cluster).await;
    cluster.nodes[0].kill();
    cluster.wait_for_promotion(3);
    let found = until("the new master answers", async || newest(&node, "o1").await).await;
    assert_eq!(found, (newer.clone(), "b".to_owned()));
    let newest_of_all = publish(&node, &with(order("o2"), "id", "c")).await;
    assert_eq!(epoch_and_offset(&newest_of_all).0, epoch_and_offset(&old).0);
    // A node that has nothing in its memory finds both.
    let fresh = self::node(&cluster).await;
    let list = until("the list", async || {
        let list = ask(&fresh, &format!("/v1/latest/{ORDERS}"), None).await;
        (list.status == 200).then(|| list.json())
    })
    .await;
    assert_eq!(
        list["events"].as_array().unwrap().iter().map(|one| &one["position"]).collect::<Vec<_>>(),
        [&json!(newer), &json!(newest_of_all)]
    );
}

/// The replica lacks events: a new epoch begins, subscribers get a gap, and no answer has an event of the epoch before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_with_a_loss_tells_a_gap_and_mixes_no_epochs() {
    let mut cluster = Cluster::with_replicas();
    let node = node(&cluster).await;
    publish(&node, &order("o1")).await;
    publish(&node, &order("o2")).await;
    replicated(&cluster).await;
    let mut client = Subscriber::connect_to(&node, JOIN).await;
    client.frame_of("subscribed").await;
    client.events(2).await;
    cluster.nodes[0].cli(&["acl", "setuser", "default", "-psync", "-sync"]);
    cluster.nodes[0].cli(&["client", "kill", "type", "replica"]);
    let lost = publish(&node, &with(order("o1"), "id", "lost")).await;
    assert_eq!(client.event().await.position, lost);
    assert_eq!(newest(&node, "o1").await.unwrap().0, lost);
    cluster.nodes[0].kill();
    cluster.wait_for_promotion(3);
    // A slower poll of another subject, which this node has not asked for yet, must not bring the old epoch back either.
    let event = publish(&node, &with(order("o3"), "id", "new")).await;
    let (epoch, old) = (epoch_and_offset(&event).0.to_owned(), epoch_and_offset(&lost).0.to_owned());
    assert_ne!(epoch, old);
    let gap = client.frame_of("gap").await;
    assert_eq!(gap["channel"], ORDERS, "{gap}");
    assert_eq!(client.event().await.position, event);
    let fresh = self::node(&cluster).await;
    for node in [&node, &fresh] {
        assert_eq!(until("the broker answers", async || newest(node, "o3").await).await.0, event);
        for subject in ["o1", "o2"] {
            ask(node, &path(subject), None).await.problem(404, "not-found");
        }
        let list = ask(node, &format!("/v1/latest/{ORDERS}?cursor={lost}"), None).await.json();
        assert_eq!(orders(&list), [("o3".to_owned(), "pending".to_owned())]);
        assert_eq!(list["gap"][0]["from"], json!(lost), "{list}");
    }
    let again = publish(&node, &with(order("o1"), "id", "lost")).await;
    assert_eq!(client.event().await.position, again);
    assert_eq!(epoch_and_offset(&again).0, epoch);
    for node in [&node, &fresh] {
        // A node may know for two seconds that the subject has none.
        let found = async || ask(node, &path("o1"), None).await;
        let is_newest = async || (found().await.header("etag") == Some(&*format!("\"{again}\""))).then_some(());
        until("the event that was sent again is the newest", is_newest).await;
    }
}

/// Waits until the replica of the orders' master has everything that its master has.
async fn replicated(cluster: &Cluster) {
    let offset = |node: usize| {
        let info = cluster.nodes[node].cli(&["info", "replication"]);
        let line = info.lines().find_map(|line| line.strip_prefix("master_repl_offset:"));
        line.unwrap().trim().parse::<u64>().unwrap()
    };
    let wanted = offset(0);
    until("the replica has it", async || (offset(3) >= wanted).then_some(())).await;
}
