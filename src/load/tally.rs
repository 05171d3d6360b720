//! Counts the events of one subscriber: finds them by their ids, checks their order and records their latency.
//!
//! An id holds the tag of the run, the moment at which the event was due, its lane and its number in the lane. So a
//! tally needs no other part of an event. It does not know the server's protocol.

use std::time::Instant;

use super::{Events, HISTOGRAMS, Shared, lock};
use crate::deflate;

/// The most bytes of an id of [`Shared::id`] and the quote after it.
const MAX_ID: usize = 96;

/// The most bytes of an inflated message.
const MAX_MESSAGE: usize = 1 << 20;

/// What one subscriber saw.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The received events of this run.
    pub events: u64,
    /// The expected number of the next event, for each lane.
    pub next: Vec<u64>,
    /// Events that had not come when a later event of their lane came.
    pub lost: u64,
    /// Events that came twice, or after a later event of their lane.
    pub misordered: u64,
    /// The reason why the subscriber ended before the end of the run.
    pub ended: Option<String>,
}

/// The counters of one subscriber.
#[derive(Debug, Default)]
pub struct Tally {
    pub seen: Seen,
    /// The index of its histogram among the shared ones.
    histogram: usize,
    /// The end of the previous message, which may hold the beginning of an id; see [`Events::Stream`].
    rest: Vec<u8>,
    /// Events that [`Tally::flush`] has not added to the shared counters yet.
    unflushed: u64,
}

impl Tally {
    /// The counters of the subscriber of this number.
    pub fn new(number: usize) -> Self {
        Self { histogram: number % HISTOGRAMS, ..Self::default() }
    }

    /// Counts the events of a message that came at `now`.
    pub fn message(&mut self, data: &[u8], events: Events, shared: &Shared, now: u64) {
        match events {
            Events::Messages => {
                self.find(data, shared, now);
            }
            Events::Stream => {
                let mut rest = std::mem::take(&mut self.rest);
                rest.extend_from_slice(data);
                let read = self.find(&rest, shared, now);
                rest.drain(..read.max(rest.len().saturating_sub(MAX_ID)));
                self.rest = rest;
            }
            Events::Compressed => {}
        }
    }

    /// Counts the events of a compressed message. A message that cannot be inflated counts as no event, so its events
    /// are reported as lost.
    pub fn compressed(&mut self, data: &[u8], shared: &Shared, now: u64) {
        if let Ok(message) = deflate::inflate(data, MAX_MESSAGE) {
            self.find(&message, shared, now);
        }
    }

    /// Adds the events since the last call to the shared counters.
    pub fn flush(&mut self, shared: &Shared, now: u64) {
        if self.unflushed > 0 {
            self.seen.events += self.unflushed;
            shared.add_deliveries(self.unflushed, now);
            self.unflushed = 0;
        }
    }

    /// Counts each whole id in `text`, and returns the offset up to which the next call need not search.
    fn find(&mut self, text: &[u8], shared: &Shared, now: u64) -> usize {
        let mut read = 0;
        let mut latencies = None;
        for at in shared.tag.find_iter(text) {
            let begin = at + shared.tag.needle().len();
            let Some([due, lane, number]) = numbers(&text[begin..]) else { continue };
            self.event(lane as usize, number);
            shared.add_to_lane(lane as usize);
            let latencies = latencies.get_or_insert_with(|| lock(&shared.latencies[self.histogram]));
            latencies.saturating_record(now.saturating_sub(due).max(1));
            read = begin;
        }
        read
    }

    /// Counts one event, and checks its order within its lane.
    fn event(&mut self, lane: usize, number: u64) {
        self.unflushed += 1;
        let seen = &mut self.seen;
        if seen.next.len() <= lane {
            seen.next.resize(lane + 1, 0);
        }
        match number.checked_sub(seen.next[lane]) {
            Some(missing) => {
                seen.lost += missing;
                seen.next[lane] = number + 1;
            }
            None => seen.misordered += 1,
        }
    }
}

/// Parses the numbers of `1-2-3"…`; `None` where the text ends before the quote.
fn numbers(text: &[u8]) -> Option<[u64; 3]> {
    let mut rest = text;
    let mut next = |end: u8| {
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (number, after) = rest.split_at(digits);
        rest = after.strip_prefix(&[end])?;
        std::str::from_utf8(number).ok()?.parse().ok()
    };
    Some([next(b'-')?, next(b'-')?, next(b'"')?])
}

impl Shared {
    /// The id of the event `number` of a lane, which is due at this moment. The events of a lane must arrive in order.
    pub fn id(&self, due: Instant, lane: usize, number: u64) -> String {
        let tag = String::from_utf8_lossy(self.tag.needle());
        format!("{tag}{}-{lane}-{number}", self.clock(due))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn text(shared: &Shared, numbers: &[(usize, u64)]) -> String {
        let event = |(lane, number): &(usize, u64)| {
            format!(r#"MSG bench 1 41{{"id":"{}","data":{{}}}}"#, shared.id(Instant::now(), *lane, *number))
        };
        numbers.iter().map(event).collect()
    }

    fn seen(shared: &Arc<Shared>, messages: &[&[u8]], events: Events) -> Seen {
        let mut tally = Tally::default();
        for message in messages {
            tally.message(message, events, shared, 1_000_000);
        }
        tally.flush(shared, 1);
        tally.seen
    }

    #[test]
    fn lost_and_repeated_events_are_counted() {
        let shared = Shared::new();
        let whole = text(&shared, &[(0, 0), (1, 0), (1, 1), (0, 1)]);
        let whole = seen(&shared, &[whole.as_bytes()], Events::Messages);
        assert_eq!(whole, Seen { events: 4, next: vec![2, 2], ..Seen::default() });
        let holes = text(&shared, &[(0, 0), (0, 3), (0, 4), (0, 2)]);
        let holes = seen(&shared, &[holes.as_bytes()], Events::Messages);
        assert_eq!(holes, Seen { events: 4, next: vec![5], lost: 2, misordered: 1, ended: None });
        assert_eq!((shared.deliveries(), shared.take_latencies().len()), (8, 8));
    }

    #[test]
    fn events_of_other_runs_are_ignored() {
        let (shared, other) = (Shared::new(), Shared::new());
        let seen = seen(&shared, &[text(&other, &[(0, 7)]).as_bytes()], Events::Messages);
        assert_eq!(seen, Seen::default());
    }

    #[test]
    fn a_byte_stream_may_be_split_anywhere() {
        let shared = Shared::new();
        let stream = text(&shared, &[(0, 0), (0, 1), (0, 2)]);
        for size in 1..stream.len() {
            let messages: Vec<&[u8]> = stream.as_bytes().chunks(size).collect();
            let seen = seen(&shared, &messages, Events::Stream);
            assert_eq!((seen.events, seen.lost, seen.misordered), (3, 0, 0), "{size}");
        }
    }
}
