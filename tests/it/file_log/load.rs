//! A load of publishers on the real daemon, and a ledger of their events that is compared with the log.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tidings::event::Position;
use tokio::task::JoinHandle;

use super::log_in;
use crate::support::broker::Node;
use crate::support::{until, within};

const CHANNELS: [&str; 3] = ["inventory-change", "order-status", "data-update"];

/// All events that were sent, by their ids, each with the position of its acknowledgement.
#[derive(Default)]
pub struct Ledger {
    sent: Mutex<HashMap<String, (Value, Option<String>)>>,
    next: AtomicUsize,
    acknowledged: AtomicUsize,
    stop: AtomicBool,
}

/// Concurrent publishers. Each sends one request after another, most with one event.
pub struct Load {
    publishers: Vec<JoinHandle<()>>,
    ledger: Arc<Ledger>,
}

impl Ledger {
    /// Events that were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// The ids of the acknowledged events, each with its position.
    pub fn acknowledged_positions(&self) -> Vec<(String, String)> {
        let sent = self.sent.lock().unwrap();
        sent.iter().filter_map(|(id, (_, position))| Some((id.clone(), position.clone()?))).collect()
    }

    /// Publishes all events again. Each acknowledged one must be a duplicate at the same position.
    pub async fn publish_again(&self, url: &str) {
        let sent: Vec<_> = self.sent.lock().unwrap().values().cloned().collect();
        for batch in sent.chunks(500) {
            let body: Vec<&Value> = batch.iter().map(|(event, _)| event).collect();
            let (status, answer) = post(url, &json!(body)).await.expect("the daemon answers");
            assert_eq!(status, 202, "{answer}");
            for ((event, first), again) in batch.iter().zip(answer["accepted"].as_array().unwrap()) {
                if let Some(first) = first {
                    assert_eq!((&again["position"], &again["duplicate"]), (&json!(first), &json!(true)), "{event}");
                }
                self.note(event, again);
            }
        }
    }

    /// Opens the log of a stopped daemon and compares it: each acknowledged event is at its position, no position lacks an
    /// event, and no event is there twice.
    pub async fn check_log(&self, folder: &Path) {
        let node = Node::ready(&log_in(folder)).await;
        let mut found = HashMap::new();
        for channel in CHANNELS {
            let mut at = Position::new(node.read(channel, None, 0).await.bounds.epoch, 0);
            loop {
                let page = node.read(channel, Some(&at), 1_000).await;
                assert_eq!((page.bounds.oldest, &page.bounds.epoch), (1, &at.epoch), "{channel}");
                for entry in &page.entries {
                    assert_eq!(entry.offset, at.offset + 1, "{channel}");
                    at.offset = entry.offset;
                    let event: Value = serde_json::from_str(&entry.json).expect("an event is JSON");
                    let id = event["id"].as_str().expect("an id").to_owned();
                    assert_eq!(event["type"], channel);
                    assert_eq!(found.insert(id, at.to_string()), None, "{event} is there twice");
                }
                if at.offset == page.bounds.head {
                    break;
                }
                assert!(!page.entries.is_empty(), "{channel}: the log ends at {at}, its head is {}", page.bounds.head);
            }
        }
        for (id, (event, position)) in self.sent.lock().unwrap().iter() {
            if position.is_some() {
                assert_eq!(found.get(id), position.as_ref(), "{event}");
            }
        }
        node.broker.close().await;
    }

    fn event(&self, large: bool) -> Value {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let text = "x".repeat(if large { 256 } else { 1 });
        let (kind, data) = match number % 3 {
            0 => {
                ("inventory-change", json!({"productId": text, "oldQuantity": 0, "newQuantity": number, "reason": "x"}))
            }
            1 => ("order-status", json!({"orderId": text, "newStatus": "pending"})),
            _ => ("data-update", json!({"resource": text, "id": number.to_string(), "action": "update"})),
        };
        let event = json!({"type": kind, "id": format!("event {number}"), "data": data});
        self.sent.lock().unwrap().insert(format!("event {number}"), (event.clone(), None));
        event
    }

    fn note(&self, event: &Value, accepted: &Value) {
        let mut sent = self.sent.lock().unwrap();
        let (_, position) = sent.get_mut(event["id"].as_str().unwrap()).expect("an event that was sent");
        let answered = accepted["position"].as_str().expect("a position").to_owned();
        if position.replace(answered).is_none() {
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Load {
    /// Starts so many publishers to the daemon at this URL.
    pub fn start(ledger: &Arc<Ledger>, url: &str, publishers: usize) -> Self {
        ledger.stop.store(false, Ordering::Relaxed);
        let publisher = |number| {
            let (ledger, url) = (ledger.clone(), url.to_owned());
            tokio::spawn(async move {
                while !ledger.stop.load(Ordering::Relaxed) {
                    let count = if number % 4 == 0 { 20 } else { 1 };
                    let events: Vec<Value> = (0..count).map(|_| ledger.event(number % 2 == 0)).collect();
                    match post(&url, &json!(events)).await {
                        Some((202, answer)) => {
                            let accepted = answer["accepted"].as_array().expect("a list");
                            events.iter().zip(accepted).for_each(|(event, accepted)| ledger.note(event, accepted));
                        }
                        // The outcome is unknown: the daemon may have been killed.
                        Some((503, _)) | None => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
                        Some((status, answer)) => panic!("{status}: {answer}"),
                    }
                }
            })
        };
        Self { publishers: (0..publishers).map(publisher).collect(), ledger: ledger.clone() }
    }

    pub async fn stop(self) {
        self.ledger.stop.store(true, Ordering::Relaxed);
        for publisher in self.publishers {
            publisher.await.expect("a publisher does not panic");
        }
    }
}

/// Publishes events: the status and the body, or `None` without a complete response.
pub async fn post(url: &str, body: &Value) -> Option<(u16, Value)> {
    let response = reqwest::Client::new().post(format!("{url}/v1/events")).json(body).send().await.ok()?;
    Some((response.status().as_u16(), response.json().await.ok()?))
}

pub async fn status(url: &str, path: &str) -> u16 {
    within("an answer", reqwest::get(format!("{url}{path}"))).await.unwrap().status().as_u16()
}

/// Waits until `/readyz` answers with this status.
pub async fn wait_for_readyz(url: &str, expected: u16) {
    let answered = async || (status(url, "/readyz").await == expected).then_some(());
    until(&format!("/readyz answers {expected}"), answered).await;
}
