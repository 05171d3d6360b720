//! The events of a webhook that wait for their delivery: a lane for each subject of each channel, in order within it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::client::Message;
use crate::event::Position;

/// The pauses of retries: full jitter up to a bound that doubles from the first to the last of these.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(60 * 60);

/// A lane: the channel by its number among those of the webhook, and the subject. Events without a subject are one lane of
/// their channel, so that they are in order too.
pub type LaneKey = (usize, Option<Arc<str>>);

/// Something to deliver.
#[derive(Debug, Clone)]
pub struct Pending {
    pub what: What,
    pub message: Message,
    /// The event's time, in milliseconds since 1970.
    pub time: u64,
}

/// What is delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The event at this position.
    Event(Position),
    /// The news that everything up to this position is lost.
    Gap(Position),
}

/// All lanes of a webhook.
#[derive(Debug, Default)]
pub struct Lanes {
    lanes: HashMap<LaneKey, Lane>,
    /// Lanes whose first event may be sent now.
    ready: VecDeque<LaneKey>,
    /// Lanes whose first event waits for its next attempt.
    retries: BinaryHeap<Reverse<(Instant, LaneKey)>>,
    /// The receiver takes nothing before that.
    held_until: Option<Instant>,
}

#[derive(Debug, Default)]
struct Lane {
    queue: VecDeque<Pending>,
    /// Failed attempts of the first.
    failures: u32,
}

impl Lanes {
    /// Adds something behind what waits in its lane.
    pub fn push(&mut self, key: LaneKey, pending: Pending) {
        let lane = self.lanes.entry(key.clone()).or_insert_with(|| {
            self.ready.push_back(key);
            Lane::default()
        });
        lane.queue.push_back(pending);
    }

    /// The next lane whose first event may be sent, that event, and how often it failed. The lane has no other turn until one of
    /// [`retry`](Self::retry), [`release`](Self::release) is called.
    pub fn next(&mut self, now: Instant) -> Option<(LaneKey, Pending, u32)> {
        if self.held_until.is_some_and(|until| now < until) {
            return None;
        }
        self.held_until = None;
        while self.retries.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            self.ready.extend(self.retries.pop().map(|Reverse((_, key))| key));
        }
        let key = self.ready.pop_front()?;
        let lane = self.lanes.get(&key)?;
        let first = lane.queue.front()?.clone();
        Some((key, first, lane.failures))
    }

    /// When the next lane has its turn, of those that have none now.
    pub fn next_turn(&self) -> Option<Instant> {
        let retry = self.retries.peek().map(|Reverse((at, _))| *at);
        match self.held_until {
            Some(until) if self.ready.is_empty() => retry.map(|at| at.max(until)),
            Some(until) => Some(until),
            None => retry,
        }
    }

    /// Gives no lane a turn before that: the receiver takes nothing.
    pub fn hold(&mut self, until: Instant) {
        self.held_until = self.held_until.max(Some(until));
    }

    /// Notes that the first of a lane failed, and is to be tried again, not before `at_least` from now.
    pub fn retry(&mut self, key: LaneKey, now: Instant, at_least: Duration) {
        let Some(lane) = self.lanes.get_mut(&key) else { return };
        lane.failures += 1;
        let pause = at_least.max(pause(lane.failures));
        self.retries.push(Reverse((now + pause, key)));
    }

    /// Takes the first of a lane out: it is done. The lane still has no other turn.
    pub fn done(&mut self, key: &LaneKey) -> Option<Pending> {
        let lane = self.lanes.get_mut(key)?;
        lane.failures = 0;
        lane.queue.pop_front()
    }

    /// Gives a lane its next turn, or removes it if it is empty.
    pub fn release(&mut self, key: LaneKey) {
        match self.lanes.get(&key) {
            Some(lane) if lane.queue.is_empty() => drop(self.lanes.remove(&key)),
            Some(_) => self.ready.push_back(key),
            None => {}
        }
    }

    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// Whether the first of a lane has failed, and was not given up yet.
    pub fn is_failing(&self) -> bool {
        self.lanes.values().any(|lane| lane.failures > 0)
    }

    /// The time of the oldest event that waits. Within a lane the first is the oldest.
    pub fn oldest(&self) -> Option<u64> {
        self.lanes.values().filter_map(|lane| lane.queue.front()).map(|pending| pending.time).min()
    }
}

/// The pause after so many failures in a row.
fn pause(failures: u32) -> Duration {
    let most = FIRST_PAUSE.saturating_mul(2u32.saturating_pow(failures.saturating_sub(1))).min(LAST_PAUSE);
    most.mul_f64(rand::random())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(offset: u64) -> Pending {
        let what = What::Event(Position::new("a".parse().unwrap(), offset));
        Pending { what, message: Message { id: "1".into(), body: "{}".into() }, time: offset }
    }

    fn offset(found: Option<(LaneKey, Pending, u32)>) -> Option<u64> {
        match found?.1.what {
            What::Event(position) => Some(position.offset),
            What::Gap(_) => None,
        }
    }

    #[test]
    fn the_events_of_a_subject_stay_in_order_and_others_pass_by() {
        let (mut lanes, now) = (Lanes::default(), Instant::now());
        let [a, b]: [LaneKey; 2] = [(0, Some("a".into())), (0, None)];
        for (key, offset) in [(&a, 1), (&a, 2), (&b, 3)] {
            lanes.push(key.clone(), pending(offset));
        }
        assert_eq!(offset(lanes.next(now)), Some(1));
        assert_eq!(offset(lanes.next(now)), Some(3));
        assert_eq!(offset(lanes.next(now)), None, "each lane is busy");
        lanes.retry(a.clone(), now, Duration::from_secs(5));
        lanes.done(&b);
        lanes.release(b);
        assert_eq!((offset(lanes.next(now)), lanes.oldest()), (None, Some(1)));
        let later = lanes.next_turn().unwrap();
        assert!(later >= now + Duration::from_secs(5));
        let (key, _, failures) = lanes.next(later).unwrap();
        assert_eq!((&key, failures), (&a, 1));
        lanes.done(&a);
        assert_eq!(offset(lanes.next(later)), None, "the lane has no turn before it is released");
        lanes.release(a.clone());
        assert_eq!(lanes.next(later).map(|(_, _, failures)| failures), Some(0));
        lanes.done(&a);
        lanes.release(a);
        assert!(lanes.is_empty());
    }

    #[test]
    fn no_lane_has_a_turn_while_the_receiver_takes_nothing() {
        let (mut lanes, now) = (Lanes::default(), Instant::now());
        let [a, b]: [LaneKey; 2] = [(0, Some("a".into())), (0, None)];
        lanes.push(a.clone(), pending(1));
        assert_eq!(offset(lanes.next(now)), Some(1));
        let until = now + Duration::from_secs(60);
        lanes.hold(until);
        lanes.hold(now);
        lanes.retry(a, now, Duration::ZERO);
        assert_eq!(lanes.next_turn(), Some(until), "a retry waits, too");
        lanes.push(b, pending(2));
        assert_eq!((offset(lanes.next(until - Duration::from_millis(1))), lanes.next_turn()), (None, Some(until)));
        assert_eq!((offset(lanes.next(until)), offset(lanes.next(until))), (Some(2), Some(1)));
        assert_eq!(lanes.next_turn(), None);
    }

    #[test]
    fn pauses_are_jittered_up_to_a_bound_that_doubles_to_an_hour() {
        for (failures, most) in [(1, 1), (2, 2), (5, 16), (12, 2048), (13, 3600), (100, 3600)] {
            let pauses: Vec<_> = (0..200).map(|_| pause(failures)).collect();
            let most = Duration::from_secs(most);
            assert!(pauses.iter().all(|pause| *pause <= most), "{failures}");
            assert!(pauses.iter().any(|pause| *pause > most / 2) && pauses.iter().any(|pause| *pause < most / 2));
        }
    }
}
