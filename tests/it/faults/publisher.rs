//! A publisher: sends one POST after the other, to any node, and does not give up easily. It sends again what was not
//! answered, and now and then what was.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use super::ledger::{CHANNELS, Ledger, Outcome, Sent, Shared, open};

/// Between two requests: a load that a debug build bears beside all other tests.
const PACE: Duration = Duration::from_millis(5);
/// Before the same ids are sent again.
const RETRY: Duration = Duration::from_millis(50);
/// When no answer is taken for none. The daemon promises one long before.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How far back a publisher remembers what it sent: far less than the daemon remembers ids.
const MEMORY: usize = 200;

pub struct Publisher {
    number: usize,
    nodes: Vec<String>,
    /// Nodes may stop: whoever does not answer is left for another.
    roams: bool,
    http: reqwest::Client,
    ledger: Shared,
    random: StdRng,
    sequence: u64,
    /// Where in the ledger its own events are, those that are right.
    own: Vec<usize>,
    /// Where those are of which it does not know whether they were taken.
    unknown: Vec<usize>,
}

impl Publisher {
    pub fn new(number: usize, seed: u64, nodes: Vec<String>, roams: bool, ledger: Shared) -> Self {
        let http = reqwest::Client::builder().timeout(TIMEOUT).build().expect("a client");
        let random = StdRng::seed_from_u64(seed.wrapping_add(number as u64));
        Self { number, nodes, roams, http, ledger, random, sequence: 0, own: Vec::new(), unknown: Vec::new() }
    }

    /// Publishes until it is told to stop: mostly single events, batches over all channels too, now and then what must be
    /// refused, or what was sent before. What was not answered is sent again, mostly, to the next node.
    pub async fn run(mut self, stop: Arc<AtomicBool>) {
        while !stop.load(Ordering::Relaxed) {
            let count = if self.random.random_ratio(1, 4) { self.random.random_range(2..=12) } else { 1 };
            let channels = (0..count).map(|_| *CHANNELS.choose(&mut self.random).expect("a channel")).collect();
            let mut events = self.enter(channels);
            if self.random.random_ratio(1, 10) {
                self.send_wrong(&events).await;
            } else {
                if self.random.random_ratio(1, 8) {
                    self.add_old(&mut events);
                }
                self.send(&events, |random| random.random_ratio(1, 5)).await;
                self.own.extend(events);
            }
            tokio::time::sleep(PACE).await;
        }
    }

    /// One event on each of the channels, sent until it is acknowledged; their ids.
    pub async fn mark(mut self) -> Vec<(&'static str, String)> {
        let marks = self.enter(CHANNELS.to_vec());
        self.send(&marks, |_| false).await;
        let ledger = open(&self.ledger);
        marks.into_iter().map(|at| (ledger.sent[at].channel, ledger.sent[at].id.clone())).collect()
    }

    /// Adds what was sent before: before or behind what is new, some of it twice.
    fn add_old(&mut self, events: &mut Vec<usize>) {
        let recent = &self.own[self.own.len().saturating_sub(MEMORY)..];
        let mut old: Vec<usize> = (0..2).filter_map(|_| recent.choose(&mut self.random).copied()).collect();
        old.extend(self.unknown.pop());
        if self.random.random_ratio(1, 2) {
            old.append(events);
            *events = old;
        } else {
            events.append(&mut old);
            events.push(events[0]);
        }
    }

    async fn send(&mut self, events: &[usize], gives_up: impl Fn(&mut StdRng) -> bool) {
        let body: Vec<Value> = events.iter().map(|at| open(&self.ledger).sent[*at].event()).collect();
        let mut node = self.random.random_range(0..self.nodes.len());
        loop {
            // Some are so impatient that the next node has the same ids while the first one still appends them.
            let patience = self.random.random_ratio(1, 20).then(|| self.random.random_range(1..=20));
            let patience = patience.map_or(TIMEOUT, Duration::from_millis);
            if self.post(node, &body, events, patience).await != 503 {
                return;
            }
            if gives_up(&mut self.random) {
                break;
            }
            if patience == TIMEOUT {
                tokio::time::sleep(RETRY).await;
            }
            node = (node + 1) % self.nodes.len();
        }
        let mut ledger = open(&self.ledger);
        for &at in events.iter().filter(|at| ledger.sent[**at].outcome == Outcome::Unknown).collect::<Vec<_>>() {
            ledger.sent[at].late = true;
            self.unknown.push(at);
        }
    }

    /// Sends a batch in which one event has a field that there is not: all of it is refused, whatever state Redis is in.
    async fn send_wrong(&mut self, events: &[usize]) {
        let mut body: Vec<Value> = events.iter().map(|at| open(&self.ledger).sent[*at].event()).collect();
        let wrong = self.random.random_range(0..body.len());
        body[wrong]["data"]["misspelt"] = true.into();
        let node = self.random.random_range(0..self.nodes.len());
        let status = self.post(node, &body, events, TIMEOUT).await;
        let mut ledger = open(&self.ledger);
        if status != 422 && !(self.roams && status == 503) {
            ledger.objections.push(format!("a wrong event was answered with {status}"));
        }
        events.iter().for_each(|at| ledger.sent[*at].outcome = Outcome::Refused);
    }

    /// Enters new events into the ledger; where they are there.
    fn enter(&mut self, channels: Vec<&'static str>) -> Vec<usize> {
        let mut ledger = open(&self.ledger);
        let first = ledger.sent.len();
        for channel in channels {
            self.sequence += 1;
            ledger.sent.push(Sent::new(self.number, self.sequence, channel));
        }
        (first..ledger.sent.len()).collect()
    }

    /// Sends events of the ledger and enters the answer, whose status it returns; no answer counts as a 503.
    async fn post(&self, node: usize, body: &[Value], events: &[usize], patience: Duration) -> u16 {
        let start = Instant::now();
        let request = self.http.post(format!("{}/v1/events", self.nodes[node]));
        let request = if let [event] = body { request.json(event) } else { request.json(body) };
        let answer = async {
            let response = request.send().await?;
            let (status, retry) = (response.status().as_u16(), response.headers().contains_key("retry-after"));
            Ok::<_, reqwest::Error>((status, retry, response.json::<Value>().await?))
        };
        let answer = tokio::time::timeout(patience, answer).await;
        let waited = start.elapsed();
        let mut ledger = open(&self.ledger);
        let ledger = &mut *ledger;
        let mut object = |objection: String| ledger.objections.push(format!("node {node}: {objection}"));
        let mut status = 503;
        match answer {
            Ok(Ok((202, _, answer))) => {
                status = 202;
                ledger.answers[node].acknowledged += 1;
                let accepted = answer["accepted"].as_array().map_or(&[][..], Vec::as_slice);
                if accepted.len() != events.len() {
                    object(format!("{} events were answered by {answer}", events.len()));
                }
                for (accepted, &at) in accepted.iter().zip(events) {
                    acknowledge(ledger, node, accepted, at);
                }
            }
            Ok(Ok((503, retry, answer))) => {
                if !(answer["code"] == "broker-unavailable" || self.roams && answer["code"] == "draining") || !retry {
                    object(format!("a 503 says {answer}"));
                }
                let answers = &mut ledger.answers[node];
                answers.unavailable += 1;
                answers.longest = answers.longest.max(waited);
            }
            Ok(Ok((other, _, answer))) => {
                status = other;
                if status != 422 {
                    object(format!("{status}: {answer}"));
                }
            }
            Err(_) if patience < TIMEOUT => {}
            Ok(Err(_)) if self.roams => {}
            Ok(Err(error)) => object(format!("no answer after {waited:?}: {error}")),
            Err(_) => object(format!("no answer after {waited:?}")),
        }
        for &at in events {
            let sent = &mut ledger.sent[at];
            sent.forgotten |= sent.tried && at < ledger.forgotten;
            sent.tried = true;
        }
        status
    }
}

/// Enters that an event was accepted: a duplicate if it was before, and then with the same position.
fn acknowledge(ledger: &mut Ledger, node: usize, accepted: &Value, at: usize) {
    let sent = &mut ledger.sent[at];
    let position = accepted["position"].as_str().and_then(|position| position.parse().ok());
    let Some(position) = position.filter(|_| accepted["id"] == *sent.id) else {
        ledger.objections.push(format!("{} was answered by {accepted}", sent.id));
        return;
    };
    let duplicate = accepted["duplicate"] == true;
    ledger.answers[node].duplicates += usize::from(duplicate);
    if let Outcome::Acknowledged(positions) = &mut sent.outcome {
        // Where it is another one, the verdict says whether that is right.
        if !positions.contains(&position) {
            positions.push(position);
        } else if !duplicate {
            ledger.objections.push(format!("{} was acknowledged before: {accepted}", sent.id));
        }
    } else {
        if duplicate && !sent.tried {
            ledger.objections.push(format!("{} is no duplicate: {accepted}", sent.id));
        }
        sent.outcome = Outcome::Acknowledged(vec![position]);
    }
}
