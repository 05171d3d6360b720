//! A look at the connections of a namespace: how many there are, and the first of them in an order.
//!
//! The connections are visited in slices, so that nobody who serves them pauses for long. A survey keeps only the rows that
//! it will show, in a heap, so that its memory does not grow with the number of connections.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::access::Principal;

/// The longest pause of whoever serves the connections, while a slice of them is visited.
const MAX_PAUSE: Duration = Duration::from_micros(250);
/// Connections that are visited between two looks at the clock.
const BETWEEN_LOOKS: usize = 32;

/// The order of the connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConnectionOrder {
    /// The largest send buffer first; the oldest first among equal ones.
    #[default]
    Buffered,
    /// The oldest first.
    Age,
}

/// How a connection is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionTransport {
    WebSocket,
    EventStream,
    LongPoll,
}

/// One connection.
#[derive(Debug, Clone)]
pub struct ConnectionRow {
    /// The `session` of `welcome`. A UUID of version 7, which has the time at which the connection began.
    pub id: Uuid,
    pub transport: ConnectionTransport,
    pub address: IpAddr,
    /// `None` if a proxy stands between: the address is the one that the proxy names.
    pub port: Option<u16>,
    pub principal: Option<Arc<Principal>>,
    pub subscriptions: usize,
    /// Bytes that wait in the send buffer.
    pub buffered: usize,
    /// Events that were sent or queued.
    pub delivered: u64,
}

/// What was found so far.
#[derive(Debug)]
pub struct Survey {
    order: ConnectionOrder,
    limit: usize,
    first: BinaryHeap<Reverse<Ranked>>,
    total: usize,
}

/// A place in the order: the greater, the earlier it is listed.
type Rank = (usize, Reverse<Uuid>);

#[derive(Debug)]
struct Ranked(Rank, ConnectionRow);

impl Survey {
    /// A survey that shows at most `limit` connections.
    pub fn new(order: ConnectionOrder, limit: usize) -> Self {
        Self { order, limit, first: BinaryHeap::new(), total: 0 }
    }

    /// Another survey of the same kind, for a part of the connections.
    #[must_use]
    pub fn part(&self) -> Self {
        Self::new(self.order, self.limit)
    }

    /// Counts a connection. `row` is called only if the connection belongs to the first ones so far.
    pub fn visit(&mut self, id: Uuid, buffered: impl FnOnce() -> usize, row: impl FnOnce() -> ConnectionRow) {
        self.total += 1;
        let buffered = if self.order == ConnectionOrder::Buffered { buffered() } else { 0 };
        self.add((buffered, Reverse(id)), row);
    }

    /// Adds what another part has found.
    pub fn merge(&mut self, part: Self) {
        self.total += part.total;
        for Reverse(Ranked(rank, row)) in part.first {
            self.add(rank, || row);
        }
    }

    /// How many connections there are.
    pub fn total(&self) -> usize {
        self.total
    }

    /// The first connections, in their order.
    pub fn into_rows(self) -> Vec<ConnectionRow> {
        // Sorted by what is reversed: the greatest rank comes first.
        self.first.into_sorted_vec().into_iter().map(|Reverse(Ranked(_, row))| row).collect()
    }

    fn add(&mut self, rank: Rank, row: impl FnOnce() -> ConnectionRow) {
        if self.first.len() < self.limit {
            self.first.push(Reverse(Ranked(rank, row())));
        } else if let Some(mut last) = self.first.peek_mut()
            && rank > last.0.0
        {
            *last = Reverse(Ranked(rank, row()));
        }
    }
}

/// Visits the slots from `from` below `end`, until it has taken long enough. Returns the slot at which to go on; `None` at
/// the end.
pub fn visit_slice(from: usize, end: usize, mut visit: impl FnMut(usize)) -> Option<usize> {
    let begun = Instant::now();
    let mut slot = from;
    while slot < end {
        let until = (slot + BETWEEN_LOOKS).min(end);
        (slot..until).for_each(&mut visit);
        slot = until;
        if begun.elapsed() >= MAX_PAUSE {
            break;
        }
    }
    (slot < end).then_some(slot)
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Ranked {}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visit(survey: &mut Survey, id: u128, buffered: usize) {
        let row = || ConnectionRow {
            id: Uuid::from_u128(id),
            transport: ConnectionTransport::WebSocket,
            address: [127, 0, 0, 1].into(),
            port: Some(1),
            principal: None,
            subscriptions: 0,
            buffered,
            delivered: 0,
        };
        survey.visit(Uuid::from_u128(id), || buffered, row);
    }

    fn found(survey: Survey) -> Vec<u128> {
        survey.into_rows().iter().map(|row| row.id.as_u128()).collect()
    }

    #[test]
    fn the_first_connections_are_kept_whatever_the_order_of_the_visits() {
        for (order, expected) in [(ConnectionOrder::Buffered, [70, 30, 3]), (ConnectionOrder::Age, [1, 2, 3])] {
            let mut survey = Survey::new(order, 3);
            let mut part = survey.part();
            for id in (1..=100).rev() {
                let buffered = if id == 3 {
                    5
                } else if id % 40 == 30 {
                    id as usize
                } else {
                    0
                };
                visit(if id % 2 == 0 { &mut survey } else { &mut part }, id, buffered);
            }
            survey.merge(part);
            assert_eq!(survey.total(), 100);
            assert_eq!(found(survey), expected, "{order:?}");
        }
        let mut none = Survey::new(ConnectionOrder::Age, 0);
        visit(&mut none, 1, 0);
        assert_eq!((none.total(), found(none)), (1, vec![]));
    }

    #[test]
    fn slices_visit_each_slot_once_and_end_in_time() {
        let (mut next, mut visited, mut slices) = (Some(0), Vec::new(), 0);
        while let Some(from) = next {
            slices += 1;
            next = visit_slice(from, 1_000, |slot| {
                visited.push(slot);
                std::thread::sleep(Duration::from_micros(10));
            });
        }
        assert_eq!(visited, (0..1_000).collect::<Vec<_>>());
        assert!(slices > 1, "{slices}");
        assert_eq!(visit_slice(0, 0, |_| panic!("there is no slot")), None);
    }
}
