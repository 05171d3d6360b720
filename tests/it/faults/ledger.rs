//! What was sent, what was answered, and what each subscriber saw. Only what the contract shows to the outside.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};
use tidings::event::Position;

/// The channels that are published on.
pub const CHANNELS: [&str; 3] = ["inventory-change", "order-status", "data-update"];

/// Everything that happened in one test.
#[derive(Default)]
pub struct Ledger {
    /// Each publisher's events in the order in which it first sent them.
    pub sent: Vec<Sent>,
    pub streams: Vec<Stream>,
    /// What an actor saw that must not be, whatever else happened.
    pub objections: Vec<String>,
    /// Of each node.
    pub answers: Vec<Answers>,
    /// Events before this one were sent before the broker forgot ids that it should still know.
    pub forgotten: usize,
}

/// An event that was sent.
#[derive(Clone)]
pub struct Sent {
    pub id: String,
    pub channel: &'static str,
    pub publisher: usize,
    pub sequence: u64,
    pub outcome: Outcome,
    /// It was sent, so that it may be in the log.
    pub tried: bool,
    /// Others were sent after it while it was not known whether it was taken: it may stand after them.
    pub late: bool,
    /// It was sent again when its id was forgotten: it may be delivered again.
    pub forgotten: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 202, with these positions: one, and one more for each epoch in which it was sent again.
    Acknowledged(Vec<Position>),
    /// 4xx: it was not taken.
    Refused,
    /// 503, no answer, or none yet: it may be in the log or not.
    Unknown,
}

/// A subscription, from its beginning to the end of the test.
pub struct Stream {
    /// Who is subscribed, for people.
    pub name: String,
    pub channel: &'static str,
    /// `subscribed.position`.
    pub start: Position,
    pub seen: Vec<Seen>,
}

#[derive(Clone)]
pub enum Seen {
    Event {
        position: Position,
        event: Value,
    },
    Gap {
        from: Position,
        position: Position,
    },
    /// A heartbeat's position: all up to there was sent.
    Heartbeat(Position),
}

/// How often requests were answered and how.
#[derive(Default, Clone, Copy)]
pub struct Answers {
    pub acknowledged: usize,
    /// Events that were known by their ids.
    pub duplicates: usize,
    pub unavailable: usize,
    /// The longest wait for a 503.
    pub longest: Duration,
}

/// The ledger in which all actors write.
pub type Shared = Arc<Mutex<Ledger>>;

pub fn open(shared: &Shared) -> MutexGuard<'_, Ledger> {
    shared.lock().expect("no actor panics while it writes")
}

impl Ledger {
    /// Events that were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.sent.iter().filter(|sent| matches!(sent.outcome, Outcome::Acknowledged(_))).count()
    }

    /// Events of which this came.
    pub fn count(&self, outcome: &Outcome) -> usize {
        self.sent.iter().filter(|sent| sent.outcome == *outcome).count()
    }

    pub fn delivered(&self) -> usize {
        self.streams.iter().map(Stream::events).sum()
    }

    /// How many streams had so many gaps.
    pub fn gaps(&self) -> BTreeMap<usize, usize> {
        let mut gaps = BTreeMap::new();
        for stream in &self.streams {
            *gaps.entry(stream.gaps()).or_default() += 1;
        }
        gaps
    }

    pub fn longest(&self) -> Duration {
        self.answers.iter().map(|answers| answers.longest).max().unwrap_or_default()
    }
}

impl Stream {
    /// Up to where all has come.
    pub fn position(&self) -> &Position {
        match self.seen.last() {
            Some(Seen::Event { position, .. } | Seen::Gap { position, .. } | Seen::Heartbeat(position)) => position,
            None => &self.start,
        }
    }

    pub fn gaps(&self) -> usize {
        self.seen.iter().filter(|seen| matches!(seen, Seen::Gap { .. })).count()
    }

    pub fn events(&self) -> usize {
        self.seen.iter().filter(|seen| matches!(seen, Seen::Event { .. })).count()
    }

    /// Whether this event has come.
    pub fn has(&self, id: &str) -> bool {
        let is_it = |seen: &Seen| matches!(seen, Seen::Event { event, .. } if event["id"] == id);
        self.seen.iter().rev().any(is_it)
    }
}

impl Sent {
    pub fn new(publisher: usize, sequence: u64, channel: &'static str) -> Self {
        Self {
            id: format!("{publisher}-{sequence}"),
            channel,
            publisher,
            sequence,
            outcome: Outcome::Unknown,
            tried: false,
            late: false,
            forgotten: false,
        }
    }

    /// As it is published; the data says who published it, and as which of his.
    pub fn event(&self) -> Value {
        json!({"type": self.channel, "id": self.id, "data": self.data()})
    }

    pub fn data(&self) -> Value {
        let (publisher, sequence) = (format!("p{}", self.publisher), self.sequence);
        match self.channel {
            "inventory-change" => {
                json!({"productId": publisher, "oldQuantity": 0, "newQuantity": sequence, "reason": "load"})
            }
            "order-status" => {
                json!({"orderId": publisher, "newStatus": "pending", "customerId": sequence.to_string()})
            }
            _ => json!({"resource": publisher, "id": sequence.to_string(), "action": "update", "version": sequence}),
        }
    }
}
