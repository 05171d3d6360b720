//! What one subscriber makes of its messages: events found by their ids, counted, their order checked, their age noted.

use std::time::Instant;

use super::{Events, HISTOGRAMS, Shared, lock};
use crate::deflate;

/// The longest that an id of [`Shared::id`] and the quote behind it can be.
const LONGEST_ID: usize = 96;

/// The longest message that a compressed one may become.
const LONGEST_MESSAGE: usize = 1 << 20;

/// What one subscriber saw.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The run's events.
    pub events: u64,
    /// Of each lane, the number that its next event should bear.
    pub next: Vec<u64>,
    /// Events that had not come when a later one of their lane did.
    pub lost: u64,
    /// Events that came again, or after a later one of their lane.
    pub misordered: u64,
    /// Why it ended before it was told to.
    pub ended: Option<String>,
}

/// What one subscriber writes down.
#[derive(Debug, Default)]
pub struct Tally {
    pub seen: Seen,
    /// Which of the shared histograms is its.
    histogram: usize,
    /// The end of the message before, in which an id may have begun (see [`Events::Stream`]).
    rest: Vec<u8>,
    /// Events that the others have not been told of yet.
    new: u64,
}

impl Tally {
    /// That of the subscriber of this number.
    pub fn new(number: usize) -> Self {
        Self { histogram: number % HISTOGRAMS, ..Self::default() }
    }

    /// A message has come.
    pub fn message(&mut self, data: &[u8], events: Events, shared: &Shared, now: u64) {
        match events {
            Events::Messages => {
                self.find(data, shared, now);
            }
            Events::Stream => {
                let mut rest = std::mem::take(&mut self.rest);
                rest.extend_from_slice(data);
                let read = self.find(&rest, shared, now);
                rest.drain(..read.max(rest.len().saturating_sub(LONGEST_ID)));
                self.rest = rest;
            }
            Events::Compressed => {}
        }
    }

    /// A compressed message has come. What cannot be inflated is no event, and is missed.
    pub fn compressed(&mut self, data: &[u8], shared: &Shared, now: u64) {
        if let Ok(message) = deflate::inflate(data, LONGEST_MESSAGE) {
            self.find(&message, shared, now);
        }
    }

    /// Tells the others of what came since the last time.
    pub fn tell(&mut self, shared: &Shared, now: u64) {
        if self.new > 0 {
            self.seen.events += self.new;
            shared.arrived(self.new, now);
            self.new = 0;
        }
    }

    /// Takes each id that stands whole in `text`, and answers where the last one ended.
    fn find(&mut self, text: &[u8], shared: &Shared, now: u64) -> usize {
        let mut read = 0;
        let mut latencies = None;
        for at in shared.tag.find_iter(text) {
            let begin = at + shared.tag.needle().len();
            let Some([due, lane, number]) = numbers(&text[begin..]) else { continue };
            self.event(lane as usize, number);
            let latencies = latencies.get_or_insert_with(|| lock(&shared.latencies[self.histogram]));
            latencies.saturating_record(now.saturating_sub(due).max(1));
            read = begin;
        }
        read
    }

    fn event(&mut self, lane: usize, number: u64) {
        self.new += 1;
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

/// Of `1-2-3"…`, the numbers; `None` where it is not whole.
fn numbers(text: &[u8]) -> Option<[u64; 3]> {
    let mut rest = text;
    let mut next = |end: u8| {
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (number, behind) = rest.split_at(digits);
        rest = behind.strip_prefix(&[end])?;
        std::str::from_utf8(number).ok()?.parse().ok()
    };
    Some([next(b'-')?, next(b'-')?, next(b'"')?])
}

impl Shared {
    /// The id of an event that is due at a moment: the `number`th of a lane. What comes of a lane must come in order.
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
        tally.tell(shared, 1);
        tally.seen
    }

    #[test]
    fn what_is_missing_and_what_comes_again_is_noticed() {
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
    fn events_of_other_runs_do_not_count() {
        let (shared, other) = (Shared::new(), Shared::new());
        let seen = seen(&shared, &[text(&other, &[(0, 7)]).as_bytes()], Events::Messages);
        assert_eq!(seen, Seen::default());
    }

    #[test]
    fn a_stream_of_events_may_be_cut_anywhere() {
        let shared = Shared::new();
        let stream = text(&shared, &[(0, 0), (0, 1), (0, 2)]);
        for size in 1..stream.len() {
            let messages: Vec<&[u8]> = stream.as_bytes().chunks(size).collect();
            let seen = seen(&shared, &messages, Events::Stream);
            assert_eq!((seen.events, seen.lost, seen.misordered), (3, 0, 0), "{size}");
        }
    }
}
