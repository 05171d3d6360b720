//! The pace of publishers: how many events of a channel may be on their way to its subscribers.
//!
//! A publisher that posts again when it is answered goes as fast as it is answered. So the answer is what paces it. Events
//! that are in the log and not yet read by the subscribers are in flight. While more are in flight than the channel's
//! window, answers wait, first come, first served. The window follows the measured delay, as CoDel does (RFC 8289): it
//! shrinks while events take longer than the target from the relay to the subscribers, and grows while they take less.
//!
//! Only a subscriber knows what it has read; the kernel takes seconds of events into its buffers. So under load a shard
//! samples: it sends a few random subscribers a Ping behind an event (RFC 6455, section 5.5.2). Their Pongs say that they
//! have read everything before. Most of a sample must answer, so that a few stalled subscribers do not count. Until a
//! channel's subscribers have answered once, and after they fell silent, what the sockets took counts as read.
//!
//! This module does not know sockets, brokers or requests.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use smallvec::SmallVec;
use tokio::sync::oneshot;

use crate::event::{Catalog, ChannelId, Epoch, PerChannel, Position};
use crate::metrics::Metrics;

/// How long an answer is held back at most. A sample that nobody answers counts for as long.
const MAX_HOLD: Duration = Duration::from_secs(2);
/// The delay that a channel with few subscribers is kept at.
const TARGET: Duration = Duration::from_millis(50);
/// What each subscriber adds to it. A single event costs a system call for each, some 10 µs: with many subscribers, only
/// events that wait for each other can share these calls.
const TARGET_PER_SUBSCRIBER: Duration = Duration::from_micros(15);
/// The first window of a channel, in events.
const FIRST_WINDOW: f64 = 32.0;
/// The largest window, in events. It bounds how far a publisher may be ahead while nobody reads.
const MAX_WINDOW: f64 = 2_000.0;
/// How much one delay may change the window.
const CHANGE: (f64, f64) = (0.7, 1.2);
/// A shard takes a sample of so many in a window of events, and of no fewer than this. Fewer count as read when they are
/// written: a channel without a queue takes no samples.
const SAMPLES_IN_WINDOW: f64 = 4.0;
const MIN_SAMPLE: f64 = 4.0;
/// Between two samples while no subscriber has answered.
const TRIAL_INTERVAL: Duration = Duration::from_millis(100);
/// The subscribers of a sample.
pub const SAMPLE_SIZE: usize = 4;
/// The samples of a shard without an answer. A later one that is answered stands for the earlier ones.
const MAX_SAMPLES: usize = 64;
/// How long an answered publisher is expected to publish again.
const GRANT: Duration = Duration::from_millis(20);

/// The pace of each channel of a namespace.
#[derive(Debug)]
pub struct Pace {
    channels: PerChannel<Mutex<ChannelPace>>,
    /// The channels by their number in a Ping.
    ids: Vec<ChannelId>,
    /// Connections that are subscribed to each channel.
    subscribers: Arc<PerChannel<AtomicU64>>,
    metrics: Arc<Metrics>,
}

/// The payload of a Ping: the channel and the shard of its sample, and the number of the Ping.
pub type Payload = [u8; 14];

/// The numbers of a sample's Pings: random, so that no client can answer for another.
type Nonces = SmallVec<[u64; SAMPLE_SIZE]>;

#[derive(Debug, Default)]
struct ChannelPace {
    /// The epoch of all offsets here; `None` until the relay has read the log.
    epoch: Option<Epoch>,
    /// The newest offset that a publisher was told.
    head: u64,
    shards: Vec<ShardPace>,
    window: Window,
    /// Events that answered publishers are expected to publish next, and until when.
    granted: (u64, Option<Instant>),
    held: VecDeque<Held>,
}

/// An answer that is held back.
#[derive(Debug)]
struct Held {
    events: u64,
    go: oneshot::Sender<()>,
}

/// How far one shard's subscribers have come.
#[derive(Debug, Default)]
struct ShardPace {
    /// The last offset that was written to sockets.
    written: u64,
    /// The last offset that a sample was taken of.
    sampled: u64,
    /// The last offset that counts as read.
    read: u64,
    /// When the first event after `sampled` came from the relay.
    since: Option<Instant>,
    last_sample: Option<Instant>,
    /// The subscribers answer: their answers decide what counts as read.
    answers: bool,
    /// The samples without an answer, the oldest first.
    samples: VecDeque<Sample>,
}

#[derive(Debug)]
struct Sample {
    offset: u64,
    /// When the oldest event that it stands for came from the relay.
    since: Instant,
    taken: Instant,
    nonces: Nonces,
    /// The answers that are still needed.
    needed: usize,
}

#[derive(Debug)]
struct Window {
    events: f64,
    /// A publisher was held back since the last change.
    limits: bool,
    /// No change before: what changed last must have had its effect.
    next_change: Option<Instant>,
}

impl Default for Window {
    fn default() -> Self {
        Self { events: FIRST_WINDOW, limits: false, next_change: None }
    }
}

impl Pace {
    pub fn new(catalog: &Catalog, subscribers: Arc<PerChannel<AtomicU64>>, metrics: Arc<Metrics>) -> Self {
        let channels = PerChannel::new(catalog, |_| Mutex::default());
        Self { channels, ids: catalog.channels().collect(), subscribers, metrics }
    }

    /// Holds a publisher back that has appended `events` events to a channel, the last at this position.
    pub async fn hold(&self, channel: ChannelId, position: &Position, events: u64) {
        let Some(go) = self.lock(channel).appended(position, events, Instant::now()) else { return };
        let held = Instant::now();
        if tokio::time::timeout(MAX_HOLD, go).await.is_err() {
            self.lock(channel).give_up(Instant::now());
        }
        self.metrics.held_seconds.observe(held.elapsed().as_secs_f64());
    }

    /// A shard has written everything of a channel up to this position. `since` is when the first of it came from the relay.
    ///
    /// Returns whether the shard is to take a sample: then it calls [`sample`](Self::sample).
    pub fn written(&self, shard: u16, channel: ChannelId, position: &Position, since: Instant, now: Instant) -> bool {
        let target = self.target(channel);
        self.lock(channel).written(shard.into(), position, since, now, target)
    }

    /// Takes a sample of `size` subscribers. Each is to be sent a Ping with one of the payloads.
    pub fn sample(&self, shard: u16, channel: ChannelId, size: usize, now: Instant) -> impl Iterator<Item = Payload> {
        let target = self.target(channel);
        let nonces = self.lock(channel).sample(shard.into(), size, now, target);
        nonces.into_iter().map(move |nonce| {
            let mut payload = Payload::default();
            payload[..4].copy_from_slice(&(channel.index() as u32).to_be_bytes());
            payload[4..6].copy_from_slice(&shard.to_be_bytes());
            payload[6..].copy_from_slice(&nonce.to_be_bytes());
            payload
        })
    }

    /// A subscriber has answered a Ping. One that was not sent by [`sample`](Self::sample) is ignored.
    pub fn answered(&self, payload: &[u8], now: Instant) {
        let Ok([a, b, c, d, e, f, nonce @ ..]) = <Payload>::try_from(payload) else { return };
        let (channel, shard) = (u32::from_be_bytes([a, b, c, d]), u16::from_be_bytes([e, f]));
        let Some(channel) = self.ids.get(channel as usize).copied() else { return };
        let target = self.target(channel);
        let delay = self.lock(channel).answered(shard.into(), u64::from_be_bytes(nonce), now, target);
        if let Some(delay) = delay {
            self.metrics.delivery_seconds.observe(delay.as_secs_f64());
        }
    }

    /// The delay that a channel is kept at.
    fn target(&self, channel: ChannelId) -> Duration {
        let subscribers = self.subscribers[channel].load(Ordering::Relaxed);
        TARGET + TARGET_PER_SUBSCRIBER * u32::try_from(subscribers).unwrap_or(u32::MAX)
    }

    fn lock(&self, channel: ChannelId) -> MutexGuard<'_, ChannelPace> {
        self.channels[channel].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ChannelPace {
    /// A publisher has appended events. Returns what to wait for, if it must wait.
    fn appended(&mut self, position: &Position, events: u64, now: Instant) -> Option<oneshot::Receiver<()>> {
        if self.epoch.as_ref() != Some(&position.epoch) {
            return None;
        }
        self.head = self.head.max(position.offset);
        self.granted.0 = self.granted.0.saturating_sub(events);
        if self.held.is_empty() && self.room(now) >= 0.0 {
            return None;
        }
        self.window.limits = true;
        let (go, receiver) = oneshot::channel();
        self.held.push_back(Held { events, go });
        Some(receiver)
    }

    fn shard(&mut self, shard: usize) -> &mut ShardPace {
        if self.shards.len() <= shard {
            self.shards.resize_with(shard + 1, ShardPace::default);
        }
        &mut self.shards[shard]
    }

    fn written(&mut self, number: usize, position: &Position, since: Instant, now: Instant, target: Duration) -> bool {
        if self.epoch.as_ref() != Some(&position.epoch) {
            self.begin(position);
        }
        let spacing = self.window.sample_spacing();
        let shard = self.shard(number);
        shard.written = position.offset;
        let since = *shard.since.get_or_insert(since);
        let due =
            shard.answers || shard.last_sample.is_none_or(|last| now.saturating_duration_since(last) >= TRIAL_INTERVAL);
        let wanted = shard.written.saturating_sub(shard.sampled) >= spacing && due;
        if !shard.answers || (!wanted && shard.samples.is_empty()) {
            shard.read = shard.written;
            if !wanted {
                (shard.sampled, shard.since) = (shard.written, None);
            }
            self.window.observe(now.saturating_duration_since(since), now, target);
            self.release(now);
        }
        wanted
    }

    /// Begins an epoch: nothing of it is in flight.
    fn begin(&mut self, position: &Position) {
        self.epoch = Some(position.epoch.clone());
        self.head = position.offset;
        for shard in &mut self.shards {
            *shard = ShardPace {
                written: position.offset,
                sampled: position.offset,
                read: position.offset,
                answers: shard.answers,
                ..ShardPace::default()
            };
        }
        self.granted = (0, None);
        // The senders are dropped, which lets their publishers go.
        self.held.clear();
    }

    fn sample(&mut self, number: usize, size: usize, now: Instant, target: Duration) -> Nonces {
        let shard = self.shard(number);
        let (offset, since) = (shard.written, shard.since.take().unwrap_or(now));
        shard.sampled = offset;
        shard.last_sample = Some(now);
        let nonces: Nonces = (0..size).map(|_| rand::random()).collect();
        if size == 0 {
            shard.read = offset;
            self.window.observe(now.saturating_duration_since(since), now, target);
            self.release(now);
            return nonces;
        }
        // Three of four: later than half of the subscribers, and without the few that stall.
        let needed = size - size / 4;
        if shard.samples.len() == MAX_SAMPLES {
            shard.samples.pop_front();
        }
        shard.samples.push_back(Sample { offset, since, taken: now, nonces: nonces.clone(), needed });
        nonces
    }

    /// Returns how long the sample's oldest event took, if this answer was the last that the sample needed.
    fn answered(&mut self, number: usize, nonce: u64, now: Instant, target: Duration) -> Option<Duration> {
        let spacing = self.window.sample_spacing();
        let shard = self.shards.get_mut(number)?;
        let at = shard.samples.iter().position(|sample| sample.nonces.contains(&nonce))?;
        let sample = &mut shard.samples[at];
        sample.nonces.retain(|other| *other != nonce);
        sample.needed -= 1;
        if sample.needed > 0 {
            return None;
        }
        let delay = now.saturating_duration_since(sample.since);
        shard.read = shard.read.max(sample.offset);
        shard.answers = true;
        // What a later event has passed was read, too.
        shard.samples.drain(..=at);
        if shard.samples.is_empty() && shard.written.saturating_sub(shard.sampled) < spacing {
            (shard.sampled, shard.since) = (shard.written, None);
            shard.read = shard.written;
        }
        self.window.observe(delay, now, target);
        self.release(now);
        Some(delay)
    }

    /// Stops waiting for subscribers that did not answer for long: they are stuck, or answer no Pings.
    fn give_up(&mut self, now: Instant) {
        for shard in &mut self.shards {
            let is_old = |sample: &Sample| now.saturating_duration_since(sample.taken) >= MAX_HOLD;
            if shard.samples.front().is_some_and(is_old) {
                *shard = ShardPace {
                    written: shard.written,
                    sampled: shard.written,
                    read: shard.written,
                    last_sample: Some(now),
                    ..ShardPace::default()
                };
            }
        }
        self.release(now);
    }

    /// Events that fit into the window.
    fn room(&mut self, now: Instant) -> f64 {
        if self.granted.1.is_some_and(|until| now >= until) {
            self.granted = (0, None);
        }
        let read = self.shards.iter().map(|shard| shard.read).min().unwrap_or(self.head);
        let in_flight = self.head.saturating_sub(read) + self.granted.0;
        self.window.events - in_flight as f64
    }

    /// Answers publishers as long as there is room for what they publish next.
    fn release(&mut self, now: Instant) {
        while !self.held.is_empty() && self.room(now) >= 1.0 {
            let Some(Held { events, go }) = self.held.pop_front() else { return };
            // A publisher that has gone publishes nothing.
            if go.send(()).is_ok() {
                self.granted = (self.granted.0 + events, Some(now + GRANT));
            }
        }
    }
}

impl Window {
    /// Events between two samples.
    fn sample_spacing(&self) -> u64 {
        (self.events / SAMPLES_IN_WINDOW).max(MIN_SAMPLE) as u64
    }

    /// Follows a measured delay.
    fn observe(&mut self, delay: Duration, now: Instant, target: Duration) {
        if self.next_change.is_some_and(|next| now < next) {
            return;
        }
        let ratio = (target.as_secs_f64() / delay.as_secs_f64().max(1e-6)).clamp(CHANGE.0, CHANGE.1);
        if ratio < 1.0 || self.limits {
            self.events = (self.events * ratio).clamp(1.0, MAX_WINDOW);
            self.next_change = Some(now + delay);
            self.limits = false;
        }
    }
}
