//! How far the subscribers of one shard have read a channel, as far as samples of them tell.
//!
//! A sample is a few random subscribers, each of which is sent a Ping behind an event. Most of them must answer, so that the
//! few that stall do not count. Until a sample was answered, and after the subscribers fell silent, what the sockets took
//! counts as read: some clients answer no Pings, and an event stream cannot.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

/// The subscribers of a sample.
pub const SAMPLE_SIZE: usize = 4;
/// Between two samples while no subscriber has answered one.
const TRIAL_INTERVAL: Duration = Duration::from_millis(100);
/// The most samples that wait for answers. A later one that is answered stands for the earlier ones.
const MAX_WAITING: usize = 64;
/// How long a sample waits until its subscribers count as silent: shorter than an answer is held back.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// The numbers of a sample's Pings: random, so that no client can answer for another.
pub type Numbers = SmallVec<[u64; SAMPLE_SIZE]>;

/// The samples of one channel in one shard. All offsets are in the channel's epoch.
#[derive(Debug, Default)]
pub struct Samples {
    /// The last offset that was written to sockets.
    written: u64,
    /// The last offset that a sample was taken of, or that counted as read without one.
    sampled: u64,
    /// The last offset that counts as read.
    read: u64,
    /// When the first event after `sampled` came from the relay.
    since: Option<Instant>,
    last_taken: Option<Instant>,
    /// The subscribers answer, so their answers decide what counts as read.
    answered: bool,
    /// The samples that wait for answers, the oldest first.
    waiting: VecDeque<Sample>,
}

#[derive(Debug)]
struct Sample {
    offset: u64,
    /// When the oldest event that it stands for came from the relay.
    since: Instant,
    taken: Instant,
    numbers: Numbers,
    /// The answers that it still needs.
    needed: usize,
}

/// What a shard is to do after it has written events.
#[derive(Debug, PartialEq, Eq)]
pub struct Written {
    /// Take a sample.
    pub sample: bool,
    /// What was written counts as read, after this delay.
    pub delay: Option<Duration>,
}

impl Samples {
    /// The samples of a channel that was written, and read, up to `offset`. `answered`: its subscribers answer.
    pub fn starting_at(offset: u64, answered: bool) -> Self {
        Self { written: offset, sampled: offset, read: offset, answered, ..Self::default() }
    }

    /// The last offset that counts as read.
    pub fn read(&self) -> u64 {
        self.read
    }

    /// Whether the subscribers have answered a sample, and are not silent since.
    pub fn are_answered(&self) -> bool {
        self.answered
    }

    /// Events up to `offset` were written, the first of which came at `since`. A sample is taken of every `spacing` events.
    pub fn written(&mut self, offset: u64, since: Instant, now: Instant, spacing: u64) -> Written {
        self.give_up(now);
        self.written = offset;
        let since = *self.since.get_or_insert(since);
        let is_due =
            self.answered || self.last_taken.is_none_or(|last| now.saturating_duration_since(last) >= TRIAL_INTERVAL);
        let sample = is_due && self.unsampled() >= spacing;
        if self.answered && (sample || !self.waiting.is_empty()) {
            return Written { sample, delay: None };
        }
        self.read = self.written;
        if !sample {
            self.skip();
        }
        Written { sample, delay: Some(now.saturating_duration_since(since)) }
    }

    /// Takes a sample of `size` subscribers, none if there are none to ask. Returns the numbers of their Pings.
    pub fn take(&mut self, size: usize, now: Instant) -> Numbers {
        let (offset, since) = (self.written, self.since.take().unwrap_or(now));
        (self.sampled, self.last_taken) = (offset, Some(now));
        let numbers: Numbers = (0..size).map(|_| rand::random()).collect();
        if size == 0 {
            // Who was sent nothing of this has nothing to read.
            match self.waiting.back_mut() {
                Some(last) => last.offset = offset,
                None => self.read = offset,
            }
            return numbers;
        }
        if self.waiting.len() == MAX_WAITING {
            self.waiting.pop_front();
        }
        // Three of four: later than half of the subscribers, and without the few that stall.
        let needed = size - size / 4;
        self.waiting.push_back(Sample { offset, since, taken: now, numbers: numbers.clone(), needed });
        numbers
    }

    /// A subscriber has answered the Ping of this number. Returns how long the oldest event of the sample took, if this was
    /// the last answer that the sample needed.
    pub fn answer(&mut self, number: u64, now: Instant, spacing: u64) -> Option<Duration> {
        self.give_up(now);
        let at = self.waiting.iter().position(|sample| sample.numbers.contains(&number))?;
        let sample = &mut self.waiting[at];
        sample.numbers.retain(|other| *other != number);
        sample.needed -= 1;
        if sample.needed > 0 {
            return None;
        }
        let delay = now.saturating_duration_since(sample.since);
        self.read = self.read.max(sample.offset);
        self.answered = true;
        // Those who have read a later event have read the earlier ones.
        self.waiting.drain(..=at);
        if self.waiting.is_empty() && self.unsampled() < spacing {
            self.read = self.written;
            self.skip();
        }
        Some(delay)
    }

    /// Counts everything as read if the oldest sample has waited too long. Its subscribers are stuck, or answer no Pings.
    pub fn give_up(&mut self, now: Instant) {
        let is_old = |sample: &Sample| now.saturating_duration_since(sample.taken) >= PATIENCE;
        if self.waiting.front().is_some_and(is_old) {
            self.stop_waiting(now);
        }
    }

    /// Counts everything as read, and waits for no answers.
    pub fn stop_waiting(&mut self, now: Instant) {
        *self = Self { last_taken: Some(now), ..Self::starting_at(self.written, false) };
    }

    fn unsampled(&self) -> u64 {
        self.written.saturating_sub(self.sampled)
    }

    /// Takes no sample of what was written.
    fn skip(&mut self) {
        (self.sampled, self.since) = (self.written, None);
    }
}
