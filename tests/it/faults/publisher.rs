//! A publisher of the load: it sends one POST after another, each to a random node. It retries requests with an unknown outcome,
//! and now and then resends acknowledged events.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use super::ledger::{CHANNELS, Ledger, Outcome, SentEvent, SharedLedger, lock};

/// The pause between two requests: a load that a debug build sustains beside all other tests.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(5);
/// The pause before a retry.
const RETRY_DELAY: Duration = Duration::from_millis(50);
/// The request timeout. The daemon promises a response long before it.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How many of its recent events a publisher resends from: far fewer than the deduplication window holds.
const RESEND_WINDOW: usize = 200;

/// One publisher: its choices are random, from the seed of the test and its number.
pub struct Publisher {
    number: usize,
    nodes: Vec<String>,
    /// Nodes may stop, so a missing response is no violation: the publisher continues at another node.
    fails_over: bool,
    http: reqwest::Client,
    ledger: SharedLedger,
    random: StdRng,
    sequence: u64,
    /// The indexes in the ledger of its own valid events.
    sent_indexes: Vec<usize>,
    /// The indexes of its events whose outcome is unknown.
    unknown: Vec<usize>,
}

impl Publisher {
    pub fn new(number: usize, seed: u64, nodes: Vec<String>, fails_over: bool, ledger: SharedLedger) -> Self {
        let http = reqwest::Client::builder().timeout(TIMEOUT).build().expect("a client");
        let random = StdRng::seed_from_u64(seed.wrapping_add(number as u64));
        Self {
            number,
            nodes,
            fails_over,
            http,
            ledger,
            random,
            sequence: 0,
            sent_indexes: Vec::new(),
            unknown: Vec::new(),
        }
    }

    /// Publishes until `stop` is set: mostly single events, some batches over all channels, now and then an invalid batch or resent
    /// events. Most requests with an unknown outcome are retried, at the next node.
    pub async fn run(mut self, stop: Arc<AtomicBool>) {
        while !stop.load(Ordering::Relaxed) {
            let count = if self.random.random_ratio(1, 4) { self.random.random_range(2..=12) } else { 1 };
            let channels = (0..count).map(|_| *CHANNELS.choose(&mut self.random).expect("a channel")).collect();
            let mut events = self.record_new(channels);
            if self.random.random_ratio(1, 10) {
                self.send_invalid(&events).await;
            } else {
                if self.random.random_ratio(1, 8) {
                    self.add_resent(&mut events);
                }
                self.send(&events, |random| random.random_ratio(1, 5)).await;
                self.sent_indexes.extend(events);
            }
            tokio::time::sleep(PUBLISH_INTERVAL).await;
        }
    }

    /// Publishes one last event on each channel, retries until it is acknowledged, and returns the ids. A subscriber that has these
    /// has received everything.
    pub async fn publish_last_events(mut self) -> Vec<(&'static str, String)> {
        let last_events = self.record_new(CHANNELS.to_vec());
        self.send(&last_events, |_| false).await;
        let ledger = lock(&self.ledger);
        last_events.into_iter().map(|at| (ledger.sent[at].channel, ledger.sent[at].id.clone())).collect()
    }

    /// Adds events that were sent before, in front of the new ones or behind them, some of them twice.
    fn add_resent(&mut self, events: &mut Vec<usize>) {
        let recent = &self.sent_indexes[self.sent_indexes.len().saturating_sub(RESEND_WINDOW)..];
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

    /// Sends events until the outcome is known, or until `gives_up` ends the retries.
    async fn send(&mut self, events: &[usize], gives_up: impl Fn(&mut StdRng) -> bool) {
        let body: Vec<Value> = events.iter().map(|at| lock(&self.ledger).sent[*at].event()).collect();
        let mut node = self.random.random_range(0..self.nodes.len());
        loop {
            // Some requests time out so early that the next node gets the same ids while the first still appends them.
            let timeout = self.random.random_ratio(1, 20).then(|| self.random.random_range(1..=20));
            let timeout = timeout.map_or(TIMEOUT, Duration::from_millis);
            if self.post(node, &body, events, timeout).await != 503 {
                return;
            }
            if gives_up(&mut self.random) {
                break;
            }
            if timeout == TIMEOUT {
                tokio::time::sleep(RETRY_DELAY).await;
            }
            node = (node + 1) % self.nodes.len();
        }
        let mut ledger = lock(&self.ledger);
        for &at in events.iter().filter(|at| ledger.sent[**at].outcome == Outcome::Unknown).collect::<Vec<_>>() {
            ledger.sent[at].may_be_reordered = true;
            self.unknown.push(at);
        }
    }

    /// Sends a batch in which one event has an unknown field. All of it must be refused, whatever state the broker is in.
    async fn send_invalid(&mut self, events: &[usize]) {
        let mut body: Vec<Value> = events.iter().map(|at| lock(&self.ledger).sent[*at].event()).collect();
        let invalid = self.random.random_range(0..body.len());
        body[invalid]["data"]["misspelt"] = true.into();
        let node = self.random.random_range(0..self.nodes.len());
        let status = self.post(node, &body, events, TIMEOUT).await;
        let mut ledger = lock(&self.ledger);
        if status != 422 && !(self.fails_over && status == 503) {
            ledger.violations.push(format!("an invalid event got status {status}"));
        }
        events.iter().for_each(|at| ledger.sent[*at].outcome = Outcome::Refused);
    }

    /// Adds new events to the ledger, and returns their indexes.
    fn record_new(&mut self, channels: Vec<&'static str>) -> Vec<usize> {
        let mut ledger = lock(&self.ledger);
        let first = ledger.sent.len();
        for channel in channels {
            self.sequence += 1;
            ledger.sent.push(SentEvent::new(self.number, self.sequence, channel));
        }
        (first..ledger.sent.len()).collect()
    }

    /// Sends events of the ledger and records the response. Returns its status; no response counts as 503.
    async fn post(&self, node: usize, body: &[Value], events: &[usize], timeout: Duration) -> u16 {
        let start = Instant::now();
        let request = self.http.post(format!("{}/v1/events", self.nodes[node]));
        let request = if let [event] = body { request.json(event) } else { request.json(body) };
        let response = async {
            let response = request.send().await?;
            let (status, retry) = (response.status().as_u16(), response.headers().contains_key("retry-after"));
            Ok::<_, reqwest::Error>((status, retry, response.json::<Value>().await?))
        };
        let response = tokio::time::timeout(timeout, response).await;
        let waited = start.elapsed();
        let mut ledger = lock(&self.ledger);
        let ledger = &mut *ledger;
        let mut report = |violation: String| ledger.violations.push(format!("node {node}: {violation}"));
        let mut status = 503;
        match response {
            Ok(Ok((202, _, response))) => {
                status = 202;
                ledger.responses[node].acknowledged += 1;
                let accepted = response["accepted"].as_array().map_or(&[][..], Vec::as_slice);
                if accepted.len() != events.len() {
                    report(format!("{} events got the response {response}", events.len()));
                }
                for (accepted, &at) in accepted.iter().zip(events) {
                    acknowledge(ledger, node, accepted, at);
                }
            }
            Ok(Ok((503, retry, response))) => {
                if !(response["code"] == "broker-unavailable" || self.fails_over && response["code"] == "draining")
                    || !retry
                {
                    report(format!("a 503 has the body {response}"));
                }
                let responses = &mut ledger.responses[node];
                responses.unavailable += 1;
                responses.longest_503 = responses.longest_503.max(waited);
            }
            Ok(Ok((other, _, response))) => {
                status = other;
                if status != 422 {
                    report(format!("{status}: {response}"));
                }
            }
            Err(_) if timeout < TIMEOUT => {}
            Ok(Err(_)) if self.fails_over => {}
            Ok(Err(error)) => report(format!("no response after {waited:?}: {error}")),
            Err(_) => report(format!("no response after {waited:?}")),
        }
        for &at in events {
            let sent = &mut ledger.sent[at];
            sent.id_expired |= sent.was_sent && at < ledger.expired_before;
            sent.was_sent = true;
        }
        status
    }
}

/// Records that an event was accepted, and checks `duplicate` and the position against what this publisher knows.
fn acknowledge(ledger: &mut Ledger, node: usize, accepted: &Value, at: usize) {
    let sent = &mut ledger.sent[at];
    let position = accepted["position"].as_str().and_then(|position| position.parse().ok());
    let Some(position) = position.filter(|_| accepted["id"] == *sent.id) else {
        ledger.violations.push(format!("{} got the entry {accepted}", sent.id));
        return;
    };
    let duplicate = accepted["duplicate"] == true;
    ledger.responses[node].duplicates += usize::from(duplicate);
    if let Outcome::Acknowledged(positions) = &mut sent.outcome {
        // The checker decides whether a second position is right, because that depends on the epochs.
        if !positions.contains(&position) {
            positions.push(position);
        } else if !duplicate {
            ledger.violations.push(format!("{} was acknowledged before and is no duplicate: {accepted}", sent.id));
        }
    } else {
        if duplicate && !sent.was_sent {
            ledger.violations.push(format!("{} was never sent and is called a duplicate: {accepted}", sent.id));
        }
        sent.outcome = Outcome::Acknowledged(vec![position]);
    }
}
