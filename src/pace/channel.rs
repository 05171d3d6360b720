//! The pace of one channel: which events are in flight, which publishers are held back, and what other nodes announced.

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
    /// subscribers have left or have not answered for long, another node has been silent. `anybody`: this node still has
    /// subscribers. Returns whether some publishers are still held back.
    pub fn tick(&mut self, anybody: bool, now: Instant) -> bool {
        if self.held.is_empty() {
            return false;
        }
        for shard in &mut self.shards {
            if anybody { shard.give_up(now) } else { shard.stop_waiting(now) }
        }
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
mod tests;
