//! The record of one test: every event that was sent, every response, and everything that each subscriber received.
//!
//! It holds only what the contract shows to the outside. The [`checker`](super::checker) reads it at the end.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};
use tidings::event::{Epoch, Position};

/// The channels on which the load is published.
pub const CHANNELS: [&str; 3] = ["inventory-change", "order-status", "data-update"];

/// Everything that happened in one test.
#[derive(Default)]
pub struct Ledger {
    /// All events; those of one publisher are in the order in which it first sent them.
    pub sent: Vec<SentEvent>,
    pub streams: Vec<ObservedStream>,
    /// Broken promises that a publisher or subscriber noticed by itself.
    pub violations: Vec<String>,
    /// The counts of each node.
    pub responses: Vec<ResponseCounts>,
    /// The number of events that were sent before the broker lost deduplication ids too early. Such an event may be appended again.
    pub expired_before: usize,
}

/// An event that was sent.
#[derive(Clone)]
pub struct SentEvent {
    pub id: String,
    pub channel: &'static str,
    pub publisher: usize,
    pub sequence: u64,
    pub outcome: Outcome,
    /// Whether it was sent at least once, so that it may be in the log.
    pub was_sent: bool,
    /// Whether later events were sent while its outcome was unknown. A retry may then put it after them.
    pub may_be_reordered: bool,
    /// Whether it was sent again after its deduplication id was lost: it may then be delivered again.
    pub id_expired: bool,
}

/// Whether the daemon accepted an event, as far as its publisher knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 202, with these positions: one, and one more for each new epoch in which it was resent.
    Acknowledged(Vec<Position>),
    /// 4xx: the event was not published.
    Refused,
    /// 503, or no response yet: the event may be in the log or not.
    Unknown,
    /// Published on a Redis from which bridges take it: nobody is told what becomes of it.
    Bridged,
}

/// The epochs of a channel in their order, as subscribers saw them.
pub struct Epochs(pub Vec<Epoch>);

/// What one subscription received, across all its connections, until the end of the test.
pub struct ObservedStream {
    /// The subscriber's name, for messages.
    pub name: String,
    pub channel: &'static str,
    /// `subscribed.position`.
    pub start: Position,
    pub observations: Vec<Observation>,
}

/// A frame that concerns a subscription.
#[derive(Clone)]
pub enum Observation {
    Event {
        position: Position,
        event: Value,
    },
    Gap {
        from: Position,
        position: Position,
    },
    /// A heartbeat's position: every matching event up to it was sent.
    Heartbeat(Position),
}

/// How a node responded to publish requests.
#[derive(Default, Clone, Copy)]
pub struct ResponseCounts {
    pub acknowledged: usize,
    /// Events that were answered as duplicates.
    pub duplicates: usize,
    pub unavailable: usize,
    /// The longest time that a 503 took.
    pub longest_503: Duration,
}

/// The ledger that all publishers and subscribers of a test write to.
pub type SharedLedger = Arc<Mutex<Ledger>>;

/// Locks the ledger.
pub fn lock(shared: &SharedLedger) -> MutexGuard<'_, Ledger> {
    shared.lock().expect("no task panics while it writes")
}

impl Ledger {
    /// The number of acknowledged events.
    pub fn acknowledged(&self) -> usize {
        self.sent.iter().filter(|sent| matches!(sent.outcome, Outcome::Acknowledged(_))).count()
    }

    /// The messages for bridges.
    pub fn bridged(&mut self) -> impl Iterator<Item = &mut SentEvent> {
        self.sent.iter_mut().filter(|sent| sent.outcome == Outcome::Bridged)
    }

    /// The number of events with this outcome.
    pub fn count(&self, outcome: &Outcome) -> usize {
        self.sent.iter().filter(|sent| sent.outcome == *outcome).count()
    }

    /// The number of events delivered to all subscribers together.
    pub fn delivered(&self) -> usize {
        self.streams.iter().map(ObservedStream::events).sum()
    }

    /// From each number of gaps to the number of streams that had so many.
    pub fn gaps(&self) -> BTreeMap<usize, usize> {
        let mut gaps = BTreeMap::new();
        for stream in &self.streams {
            *gaps.entry(stream.gaps()).or_default() += 1;
        }
        gaps
    }

    /// The epochs of a channel: those of the stream that saw the most of them.
    pub fn epochs(&self, channel: &str) -> Epochs {
        let streams = self.streams.iter().filter(|stream| stream.channel == channel);
        Epochs(streams.map(ObservedStream::epochs).max_by_key(Vec::len).unwrap_or_default())
    }

    /// From the id of each acknowledged event to its position, where it has only one, and no retry may have put it after later
    /// events.
    pub fn only_positions(&self) -> HashMap<&str, &Position> {
        let in_order = self.sent.iter().filter(|sent| !sent.may_be_reordered);
        let only = in_order.filter_map(|sent| match &sent.outcome {
            Outcome::Acknowledged(at) if at.len() == 1 => Some((sent.id.as_str(), &at[0])),
            _ => None,
        });
        only.collect()
    }

    /// The longest time that a 503 of any node took.
    pub fn longest_503(&self) -> Duration {
        self.responses.iter().map(|responses| responses.longest_503).max().unwrap_or_default()
    }
}

/// A position that can be compared: the index of its epoch in the order of epochs, and its offset.
pub type ComparablePosition = (usize, u64);

impl Epochs {
    /// The position in a form that can be compared; `None` if its epoch is not among these.
    pub fn comparable(&self, position: &Position) -> Option<ComparablePosition> {
        let epoch = self.0.iter().position(|epoch| *epoch == position.epoch)?;
        Some((epoch, position.offset))
    }

    /// Whether a gap says that the event at this position is lost.
    pub fn covers(&self, from: &Position, to: &Position, at: &Position) -> bool {
        let [from, to, at] = [from, to, at].map(|position| self.comparable(position));
        from < at && at <= to
    }
}

impl ObservedStream {
    /// The position up to which everything was received; the subscriber resumes from it.
    pub fn position(&self) -> &Position {
        match self.observations.last() {
            Some(
                Observation::Event { position, .. }
                | Observation::Gap { position, .. }
                | Observation::Heartbeat(position),
            ) => position,
            None => &self.start,
        }
    }

    /// The number of gaps received.
    pub fn gaps(&self) -> usize {
        self.all_gaps().count()
    }

    /// Both ends of each gap.
    pub fn all_gaps(&self) -> impl Iterator<Item = (&Position, &Position)> {
        self.observations.iter().filter_map(|seen| match seen {
            Observation::Gap { from, position } => Some((from, position)),
            _ => None,
        })
    }

    /// The epochs that it saw, in order.
    pub fn epochs(&self) -> Vec<Epoch> {
        let seen = self.observations.iter().map(|seen| match seen {
            Observation::Event { position, .. }
            | Observation::Gap { position, .. }
            | Observation::Heartbeat(position) => &position.epoch,
        });
        let mut epochs: Vec<_> = [&self.start.epoch].into_iter().chain(seen).collect();
        epochs.dedup();
        epochs.into_iter().cloned().collect()
    }

    /// The number of events received.
    pub fn events(&self) -> usize {
        self.observations.iter().filter(|seen| matches!(seen, Observation::Event { .. })).count()
    }

    /// Whether the event with this id was received.
    pub fn has(&self, id: &str) -> bool {
        let is_it = |seen: &Observation| matches!(seen, Observation::Event { event, .. } if event["id"] == id);
        self.observations.iter().rev().any(is_it)
    }
}

impl SentEvent {
    pub fn new(publisher: usize, sequence: u64, channel: &'static str) -> Self {
        Self {
            id: format!("{publisher}-{sequence}"),
            channel,
            publisher,
            sequence,
            outcome: Outcome::Unknown,
            was_sent: false,
            may_be_reordered: false,
            id_expired: false,
        }
    }

    /// The event as it is published. Its data names the publisher and the sequence number.
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
