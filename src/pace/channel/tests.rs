//! Tests of a channel's pace, with a clock of their own.

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
    assert!(fixture.pace.tick(true, fixture.now) && !is_answered(&mut second));
    fixture.wait(GRANT);
    assert!(!fixture.pace.tick(true, fixture.now) && is_answered(&mut second));
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
    assert!(fixture.pace.tick(true, fixture.now) && !is_answered(&mut held));
    fixture.wait(PATIENCE);
    assert!(!fixture.pace.tick(true, fixture.now) && is_answered(&mut held));
    // They no longer count: they run out of their send buffers and are closed.
    fixture.write(fixture.head);
    assert_eq!(fixture.pace.read(), fixture.head);
}

#[test]
fn when_the_last_subscriber_has_left_nobody_is_held_back_for_it() {
    let mut fixture = Fixture::answering();
    fixture.publish_and_sample(20);
    let (_, mut held) = fixture.fill();
    fixture.write(fixture.head);
    assert!(fixture.pace.tick(true, fixture.now) && !is_answered(&mut held));
    assert!(!fixture.pace.tick(false, fixture.now) && is_answered(&mut held));
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
    fixture.pace.tick(true, fixture.now);
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
