//! A publisher: sends one POST after the other, to either node, and does not give up easily.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use super::ledger::{CHANNELS, Outcome, Sent, Shared, open};

/// Between two requests: a load that a debug build bears beside all other tests.
const PACE: Duration = Duration::from_millis(5);
/// Before the same ids are sent again.
const RETRY: Duration = Duration::from_millis(50);
/// When no answer is taken for none. The daemon promises one long before.
const TIMEOUT: Duration = Duration::from_secs(10);

pub struct Publisher {
    number: usize,
    nodes: Vec<String>,
    /// Nodes may stop: whoever does not answer is left for another.
    roams: bool,
    http: reqwest::Client,
    ledger: Shared,
    random: StdRng,
    sequence: u64,
}

impl Publisher {
    pub fn new(number: usize, seed: u64, nodes: Vec<String>, roams: bool, ledger: Shared) -> Self {
        let http = reqwest::Client::builder().timeout(TIMEOUT).build().expect("a client");
        let random = StdRng::seed_from_u64(seed.wrapping_add(number as u64));
        Self { number, nodes, roams, http, ledger, random, sequence: 0 }
    }

    /// Publishes until it is told to stop: mostly single events, batches over all channels too, now and then what must be
    /// refused. What was not answered is sent again, mostly, to the other node.
    pub async fn run(mut self, stop: Arc<AtomicBool>) {
        while !stop.load(Ordering::Relaxed) {
            let count = if self.random.random_ratio(1, 4) { self.random.random_range(2..=12) } else { 1 };
            let channels = (0..count).map(|_| *CHANNELS.choose(&mut self.random).expect("a channel")).collect();
            if self.random.random_ratio(1, 10) {
                self.send_wrong(channels).await;
            } else {
                self.send(channels, |random| random.random_ratio(1, 5)).await;
            }
            tokio::time::sleep(PACE).await;
        }
    }

    /// One event on each of the channels, sent until it is acknowledged; their ids.
    pub async fn mark(mut self) -> Vec<(&'static str, String)> {
        let marks = self.send(CHANNELS.to_vec(), |_| false).await;
        marks.into_iter().map(|sent| (sent.channel, sent.id)).collect()
    }

    async fn send(&mut self, channels: Vec<&'static str>, gives_up: impl Fn(&mut StdRng) -> bool) -> Vec<Sent> {
        let (at, events) = self.enter(channels);
        let body: Vec<Value> = events.iter().map(Sent::event).collect();
        let mut node = self.random.random_range(0..self.nodes.len());
        let mut again = false;
        while self.post(node, &body, at, again).await == 503 && !gives_up(&mut self.random) {
            tokio::time::sleep(RETRY).await;
            (node, again) = ((node + 1) % self.nodes.len(), true);
        }
        events
    }

    /// Sends a batch in which one event has a field that there is not: all of it is refused, whatever state Redis is in.
    async fn send_wrong(&mut self, channels: Vec<&'static str>) {
        let (at, events) = self.enter(channels);
        let mut body: Vec<Value> = events.iter().map(Sent::event).collect();
        let wrong = self.random.random_range(0..body.len());
        body[wrong]["data"]["misspelt"] = true.into();
        let node = self.random.random_range(0..self.nodes.len());
        let status = self.post(node, &body, at, false).await;
        let mut ledger = open(&self.ledger);
        if status != 422 && !(self.roams && status == 503) {
            ledger.objections.push(format!("a wrong event was answered with {status}"));
        }
        ledger.sent[at..at + events.len()].iter_mut().for_each(|sent| sent.outcome = Outcome::Refused);
    }

    /// Enters new events into the ledger; where they begin there, and the events.
    fn enter(&mut self, channels: Vec<&'static str>) -> (usize, Vec<Sent>) {
        let event = |channel| {
            self.sequence += 1;
            let (publisher, sequence) = (self.number, self.sequence);
            Sent { id: format!("{publisher}-{sequence}"), channel, publisher, sequence, outcome: Outcome::Unknown }
        };
        let events: Vec<Sent> = channels.into_iter().map(event).collect();
        let mut ledger = open(&self.ledger);
        let at = ledger.sent.len();
        ledger.sent.extend(events.iter().cloned());
        (at, events)
    }

    /// Sends the events that stand in the ledger from `at` on and enters the answer, whose status it returns; no answer
    /// counts as a 503. `again`: they were sent before, so they may be duplicates.
    async fn post(&self, node: usize, body: &[Value], at: usize, again: bool) -> u16 {
        let start = Instant::now();
        let request = self.http.post(format!("{}/v1/events", self.nodes[node]));
        let request = if let [event] = body { request.json(event) } else { request.json(body) };
        let answer = async {
            let response = request.send().await?;
            let (status, retry) = (response.status().as_u16(), response.headers().contains_key("retry-after"));
            Ok::<_, reqwest::Error>((status, retry, response.json::<Value>().await?))
        };
        let answer = answer.await;
        let waited = start.elapsed();
        let mut ledger = open(&self.ledger);
        let mut object = |objection: String| ledger.objections.push(format!("node {node}: {objection}"));
        let (status, retry, answer) = match answer {
            Ok(answer) => answer,
            Err(_) if self.roams => return 503,
            Err(error) => {
                object(format!("no answer after {waited:?}: {error}"));
                return 503;
            }
        };
        match status {
            202 => {
                let accepted = answer["accepted"].as_array().cloned().unwrap_or_default();
                if accepted.len() != body.len() {
                    object(format!("{} events were answered by {answer}", body.len()));
                }
                for (number, (accepted, event)) in accepted.iter().zip(body).enumerate() {
                    let position = accepted["position"].as_str().and_then(|position| position.parse().ok());
                    let Some(position) = position.filter(|_| accepted["id"] == event["id"]) else {
                        ledger.objections.push(format!("{event} was answered by {accepted}"));
                        continue;
                    };
                    if accepted["duplicate"] == true && !again {
                        ledger.objections.push(format!("{event} is no duplicate: {accepted}"));
                    }
                    ledger.sent[at + number].outcome = Outcome::Acknowledged(position);
                }
                ledger.answers[node].acknowledged += 1;
            }
            503 => {
                if !(answer["code"] == "broker-unavailable" || self.roams && answer["code"] == "draining") || !retry {
                    object(format!("a 503 says {answer}"));
                }
                let answers = &mut ledger.answers[node];
                answers.unavailable += 1;
                answers.longest = answers.longest.max(waited);
            }
            422 => {}
            _ => object(format!("{status}: {answer}")),
        }
        status
    }
}
