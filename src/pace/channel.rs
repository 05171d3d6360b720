//! The pace of one channel: what is in flight, who waits for an answer, and what other nodes have announced.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::announcement::Announcement;
use super::samples::{Numbers, Samples, Written};
use super::window::Window;
use crate::event::{Epoch, Position};

/// A sample is taken of each such part of a window, and of no fewer events than this. Fewer count as read when they are
/// written: a channel without a queue takes no samples.
const SAMPLES_IN_WINDOW: f64 = 4.0;
const MIN_SPACING: f64 = 4.0;
/// How long an answered publisher is expected to publish again.
const GRANT: Duration = Duration::from_millis(20);
/// How long an announcement holds, and how long a node goes on with announcements after a late sample.
const ANNOUNCEMENT_LIFETIME: Duration = Duration::from_millis(500);
/// The most nodes whose announcements are kept.
const MAX_NODES: usize = 256;

/// The pace of one channel. All offsets are of the newest epoch.
#[derive(Debug, Default)]
pub struct ChannelPace {
    /// `None` until the relay has read the log.
    epoch: Option<Epoch>,
    /// The newest offset that an answer has named or a shard has written.
    head: u64,
    /// By the shards' numbers.
    shards: Vec<Samples>,
    window: Window,
    /// The events that answered publishers are expected to publish next, and until when.
    granted: (u64, Option<Instant>),
    /// The answers that are held back, in the order in which they came.
    held: VecDeque<Held>,
    /// How far the subscribers of other nodes are, and until when that holds.
    others: Vec<(Announcement, Instant)>,
    /// A sample was late: the other nodes are told each change until then, and after that once that all is well.
    behind_until: Option<Instant>,
    /// There is something to announce.
    announce: bool,
}

/// An answer that is held back.
#[derive(Debug)]
struct Held {
    events: u64,
    go: oneshot::Sender<()>,
}

impl ChannelPace {
    /// A publisher has appended events, the last of them at this position. Returns what its answer waits for, if it waits.
    pub fn appended(&mut self, position: &Position, events: u64, now: Instant) -> Option<oneshot::Receiver<()>> {
        if self.epoch.as_ref() != Some(&position.epoch) {
            return None;
        }
        self.head = self.head.max(position.offset);
        self.granted.0 = self.granted.0.saturating_sub(events);
        if self.held.is_empty() && self.room(now) >= 0.0 {
            return None;
        }
        let (go, receiver) = oneshot::channel();
        self.held.push_back(Held { events, go });
        Some(receiver)
    }

    /// A shard has written everything up to this position; see [`Pace::written`](super::Pace::written).
    pub fn written(
        &mut self,
        shard: usize,
        position: &Position,
        since: Instant,
        now: Instant,
        target: Duration,
    ) -> bool {
        if self.epoch.as_ref() != Some(&position.epoch) {
            self.begin(position);
        }
        self.head = self.head.max(position.offset);
        self.window.in_flight(self.head.saturating_sub(self.read()));
        let spacing = self.spacing();
        let Written { sample, delay } = self.shard(shard).written(position.offset, since, now, spacing);
        if let Some(delay) = delay {
            self.observe(shard, delay, target, now);
        }
        sample
    }

    /// Takes a sample; see [`Pace::sample`](super::Pace::sample).
    pub fn sample(&mut self, shard: usize, size: usize, now: Instant) -> Numbers {
        let numbers = self.shard(shard).take(size, now);
        if size == 0 {
            self.release(now);
        }
        numbers
    }

    /// A subscriber has answered a Ping. Returns the delay of the sample that this completes.
    pub fn answered(&mut self, shard: usize, number: u64, now: Instant, target: Duration) -> Option<Duration> {
        let spacing = self.spacing();
        let delay = self.shards.get_mut(shard)?.answer(number, now, spacing)?;
        if delay > target / 2 {
            // Early enough that publishers at other nodes slow down before the target is reached.
            self.behind_until = Some(now + ANNOUNCEMENT_LIFETIME);
        }
        self.observe(shard, delay, target, now);
        Some(delay)
    }

    /// Answers publishers for whom there is room because time has passed: an answered publisher has not published again,
    /// subscribers have not answered for long, another node has been silent. Returns whether some are still held back.
    pub fn tick(&mut self, now: Instant) -> bool {
        if self.held.is_empty() {
            return false;
        }
        self.shards.iter_mut().for_each(|shard| shard.give_up(now));
        self.held.retain(|held| !held.go.is_closed());
        self.release(now);
        !self.held.is_empty()
    }

    /// What the other nodes must know, if anything is new.
    pub fn announcement(&mut self, node: u64, now: Instant) -> Option<Announcement> {
        if !std::mem::take(&mut self.announce) {
            return None;
        }
        let read = Position::new(self.epoch.clone()?, self.read());
        let behind = self.behind_until.is_some_and(|until| now < until);
        if !behind {
            self.behind_until = None;
        }
        Some(Announcement { read, window: behind.then_some(self.window.events() as u64), node })
    }

    /// Whether there is something to announce.
    pub fn must_announce(&self) -> bool {
        self.announce
    }

    /// Another node's subscribers have come this far.
    pub fn announced(&mut self, announcement: Announcement, now: Instant) {
        let until = now + ANNOUNCEMENT_LIFETIME;
        self.others.retain(|(other, _)| other.node != announcement.node);
        if announcement.window.is_some() && self.others.len() < MAX_NODES {
            self.others.push((announcement, until));
        }
        self.release(now);
    }

    /// Begins an epoch: nothing of it is in flight.
    fn begin(&mut self, position: &Position) {
        self.epoch = Some(position.epoch.clone());
        self.head = position.offset;
        for shard in &mut self.shards {
            *shard = Samples::starting_at(position.offset, shard.are_answered());
        }
        self.granted = (0, None);
        // This drops the senders, which answers the publishers.
        self.held.clear();
    }

    fn shard(&mut self, shard: usize) -> &mut Samples {
        let read = self.head;
        if self.shards.len() <= shard {
            self.shards.resize_with(shard + 1, || Samples::starting_at(read, false));
        }
        &mut self.shards[shard]
    }

    /// Events between two samples.
    fn spacing(&self) -> u64 {
        (self.window.events() / SAMPLES_IN_WINDOW).max(MIN_SPACING) as u64
    }

    /// The last offset that the subscribers of all shards have read.
    fn read(&self) -> u64 {
        self.shards.iter().map(Samples::read).min().unwrap_or(self.head)
    }

    /// A shard's subscribers have read more, after this delay.
    fn observe(&mut self, shard: usize, delay: Duration, target: Duration, now: Instant) {
        let slowest = self.shards[shard].read() <= self.read();
        self.window.observe(delay, slowest, target, now);
        self.announce |= self.behind_until.is_some();
        self.release(now);
    }

    /// The events for which there is room in the windows of all nodes.
    fn room(&mut self, now: Instant) -> f64 {
        if self.granted.1.is_some_and(|until| now >= until) {
            self.granted = (0, None);
        }
        self.others.retain(|(_, until)| now < *until);
        let in_flight = |read: u64| self.head.saturating_sub(read) + self.granted.0;
        let here = in_flight(self.read());
        let others = self.others.iter().map(|(other, _)| other);
        let others = others.filter(|other| self.epoch.as_ref() == Some(&other.read.epoch));
        let others = others.filter_map(|other| Some(other.window? as f64 - in_flight(other.read.offset) as f64));
        let room = others.fold(self.window.events() - here as f64, f64::min);
        self.window.in_flight(here);
        room
    }

    /// Answers publishers as long as there is room for what they publish next.
    fn release(&mut self, now: Instant) {
        while self.room(now) >= 1.0 {
            let Some(Held { events, go }) = self.held.pop_front() else { return };
            // A publisher that has gone publishes nothing.
            if go.send(()).is_ok() {
                self.granted = (self.granted.0 + events, Some(now + GRANT));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pace::samples::PATIENCE;

    const TARGET: Duration = Duration::from_millis(50);

    /// A channel of one shard, a clock, and what has been published.
    struct Fixture {
        pace: ChannelPace,
        now: Instant,
        head: u64,
    }

    impl Fixture {
        fn new() -> Self {
            let mut fixture = Self { pace: ChannelPace::default(), now: Instant::now(), head: 0 };
            fixture.write(0);
            fixture
        }

        /// A fixture whose subscribers have answered a sample.
        fn answering() -> Self {
            let mut fixture = Self::new();
            let numbers = fixture.publish_and_sample(20);
            fixture.answer(&numbers);
            fixture
        }

        fn at(&self, offset: u64) -> Position {
            Position::new("e".parse().unwrap(), offset)
        }

        /// Publishes one event; returns what its answer waits for.
        fn publish(&mut self) -> Option<oneshot::Receiver<()>> {
            self.head += 1;
            self.pace.appended(&self.at(self.head), 1, self.now)
        }

        /// Writes everything up to `offset` to the sockets; returns whether a sample is wanted.
        fn write(&mut self, offset: u64) -> bool {
            self.head = self.head.max(offset);
            self.write_in_shard(0, offset)
        }

        /// A delay as long as the target leaves the window as it is.
        fn write_in_shard(&mut self, shard: usize, offset: u64) -> bool {
            self.pace.written(shard, &self.at(offset), self.now - TARGET, self.now, TARGET)
        }

        fn publish_and_sample(&mut self, events: u64) -> Numbers {
            let held = (0..events).filter_map(|_| self.publish()).count();
            assert_eq!(held, 0);
            assert!(self.write(self.head), "a sample of {events} events");
            self.pace.sample(0, 4, self.now)
        }

        fn answer(&mut self, numbers: &[u64]) -> Option<Duration> {
            numbers.iter().fold(None, |done, number| done.or(self.pace.answered(0, *number, self.now, TARGET)))
        }

        /// Publishes until an answer is held back; returns how many were not.
        fn fill(&mut self) -> (u64, oneshot::Receiver<()>) {
            let mut answered = 0;
            loop {
                match self.publish() {
                    None => answered += 1,
                    Some(held) => return (answered, held),
                }
            }
        }

        fn wait(&mut self, time: Duration) {
            self.now += time;
        }
    }

    fn is_answered(held: &mut oneshot::Receiver<()>) -> bool {
        held.try_recv() != Err(oneshot::error::TryRecvError::Empty)
    }

    #[test]
    fn an_answer_waits_while_the_window_is_full_and_first_come_is_first_served() {
        let mut fixture = Fixture::new();
        let (answered, mut first) = fixture.fill();
        assert_eq!(answered, 32);
        let mut second = fixture.publish().unwrap();
        assert!(!is_answered(&mut first) && !is_answered(&mut second));
        fixture.write(2);
        assert!(!is_answered(&mut first), "32 events are in flight: there is no room for another");
        fixture.write(3);
        assert!(is_answered(&mut first) && !is_answered(&mut second));
        // The first publisher is expected to publish again at once. If it does not, the next one is answered.
        assert!(fixture.pace.tick(fixture.now) && !is_answered(&mut second));
        fixture.wait(GRANT);
        assert!(!fixture.pace.tick(fixture.now) && is_answered(&mut second));
    }

    #[test]
    fn a_publisher_that_has_gone_takes_no_room() {
        let mut fixture = Fixture::new();
        let (_, first) = fixture.fill();
        let mut second = fixture.publish().unwrap();
        drop(first);
        fixture.write(3);
        assert!(is_answered(&mut second));
    }

    #[test]
    fn what_is_written_counts_as_read_until_a_sample_was_answered() {
        let mut fixture = Fixture::new();
        let numbers = fixture.publish_and_sample(20);
        assert_eq!(fixture.pace.read(), 20);
        fixture.answer(&numbers);
        let numbers = fixture.publish_and_sample(20);
        assert_eq!(fixture.pace.read(), 20, "from now on the answers decide");
        fixture.answer(&numbers);
        assert_eq!(fixture.pace.read(), 40);
        // Few events are written without a sample.
        fixture.write(42);
        assert_eq!(fixture.pace.read(), 42);
    }

    #[test]
    fn one_stalled_subscriber_of_a_sample_does_not_count_and_two_do() {
        let mut fixture = Fixture::answering();
        let numbers = fixture.publish_and_sample(20);
        fixture.wait(TARGET);
        assert_eq!(fixture.answer(&numbers[..2]), None);
        assert_eq!(fixture.pace.read(), 20);
        assert_eq!(fixture.answer(&numbers[3..]), Some(2 * TARGET));
        assert_eq!(fixture.pace.read(), 40);
    }

    #[test]
    fn an_answer_counts_once_and_a_number_that_was_not_sent_never() {
        let mut fixture = Fixture::answering();
        let numbers = fixture.publish_and_sample(20);
        assert_eq!(fixture.answer(&[numbers[0], numbers[0], numbers[0], numbers[0], 7]), None);
        assert_eq!(fixture.pace.answered(9, numbers[1], fixture.now, TARGET), None, "there is no such shard");
        assert_eq!(fixture.pace.read(), 20);
    }

    #[test]
    fn a_later_sample_stands_for_an_earlier_one_without_answer() {
        let mut fixture = Fixture::answering();
        fixture.publish_and_sample(10);
        let numbers = fixture.publish_and_sample(10);
        fixture.answer(&numbers);
        assert_eq!(fixture.pace.read(), 40);
        assert!(fixture.publish().is_none());
    }

    #[test]
    fn silent_subscribers_hold_publishers_back_for_a_while_and_not_for_good() {
        let mut fixture = Fixture::answering();
        fixture.publish_and_sample(20);
        let (_, mut held) = fixture.fill();
        fixture.write(fixture.head);
        assert!(fixture.pace.tick(fixture.now) && !is_answered(&mut held));
        fixture.wait(PATIENCE);
        assert!(!fixture.pace.tick(fixture.now) && is_answered(&mut held));
        // They no longer count: they run out of their send buffers and are closed.
        fixture.write(fixture.head);
        assert_eq!(fixture.pace.read(), fixture.head);
    }

    #[test]
    fn a_new_epoch_answers_everybody() {
        let mut fixture = Fixture::answering();
        fixture.publish_and_sample(20);
        let (_, mut held) = fixture.fill();
        fixture.pace.written(0, &"f:3".parse().unwrap(), fixture.now, fixture.now, TARGET);
        assert!(is_answered(&mut held));
        assert_eq!(fixture.pace.read(), 3);
        assert!(fixture.publish().is_none(), "an answer of the old epoch waits for nothing");
    }

    #[test]
    fn the_slowest_shard_counts() {
        let mut fixture = Fixture::new();
        fixture.write_in_shard(1, 0);
        let (_, mut held) = fixture.fill();
        fixture.write(fixture.head);
        assert!(!is_answered(&mut held));
        fixture.write_in_shard(1, fixture.head);
        assert!(is_answered(&mut held));
    }

    #[test]
    fn subscribers_of_another_node_pace_publishers_here_while_it_says_so() {
        let mut fixture = Fixture::new();
        fixture.write(100);
        let behind = |offset, node| Announcement { read: fixture_at(offset), window: Some(10), node };
        fixture.pace.announced(behind(92, 1), fixture.now);
        assert!(fixture.publish().is_none() && fixture.publish().is_none());
        let mut held = fixture.publish().unwrap();
        fixture.pace.announced(behind(103, 2), fixture.now);
        assert!(!is_answered(&mut held), "the first node is still behind");
        fixture.pace.announced(behind(103, 1), fixture.now);
        assert!(is_answered(&mut held));
        fixture.pace.announced(behind(50, 1), fixture.now);
        let mut held = fixture.publish().unwrap();
        fixture.wait(ANNOUNCEMENT_LIFETIME);
        fixture.pace.tick(fixture.now);
        assert!(is_answered(&mut held), "the node says nothing any more");
        fixture.pace.announced(behind(50, 1), fixture.now);
        let mut held = fixture.publish().unwrap();
        fixture.pace.announced(Announcement { window: None, ..behind(50, 1) }, fixture.now);
        assert!(is_answered(&mut held), "the node has caught up");
    }

    #[test]
    fn a_shard_that_is_ahead_does_not_let_the_window_grow() {
        let mut fixture = Fixture::answering();
        fixture.write_in_shard(1, fixture.head);
        for _ in 0..50 {
            let numbers = fixture.publish_and_sample(16);
            // The shard without subscribers is done at once, the other one in time.
            if fixture.pace.written(1, &fixture.at(fixture.head), fixture.now, fixture.now, TARGET) {
                fixture.pace.sample(1, 0, fixture.now);
            }
            fixture.answer(&numbers);
            fixture.wait(2 * TARGET);
        }
        assert!(fixture.pace.window.events() <= 32.0, "{:?}", fixture.pace.window);
    }

    #[test]
    fn what_nobody_was_sent_does_not_count_as_read_before_what_was_sent_earlier() {
        let mut fixture = Fixture::answering();
        let numbers = fixture.publish_and_sample(10);
        fixture.write(40);
        assert_eq!(fixture.pace.sample(0, 0, fixture.now).len(), 0);
        assert_eq!(fixture.pace.read(), 20);
        fixture.answer(&numbers);
        assert_eq!(fixture.pace.read(), 40);
    }

    fn fixture_at(offset: u64) -> Position {
        Position::new("e".parse().unwrap(), offset)
    }

    #[test]
    fn a_node_announces_what_is_behind_and_only_when_it_is_new() {
        let mut fixture = Fixture::new();
        fixture.write(10);
        assert_eq!(fixture.pace.announcement(7, fixture.now), None);
        let numbers = fixture.publish_and_sample(20);
        fixture.answer(&numbers);
        let announced = fixture.pace.announcement(7, fixture.now).unwrap();
        assert_eq!((&announced.read, announced.node), (&fixture.at(30), 7));
        assert!(announced.window.is_some());
        assert_eq!(fixture.pace.announcement(7, fixture.now), None);
        // Later ones follow, although nothing is late any more. The last one says that all is well.
        fixture.write(32);
        assert!(fixture.pace.announcement(7, fixture.now).unwrap().window.is_some());
        fixture.wait(ANNOUNCEMENT_LIFETIME);
        fixture.write(34);
        assert_eq!(fixture.pace.announcement(7, fixture.now).unwrap().window, None);
        fixture.write(36);
        assert_eq!(fixture.pace.announcement(7, fixture.now), None);
    }
}
