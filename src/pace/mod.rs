//! The pace of publishers: how many events of a channel may be on their way to its subscribers.
//!
//! A publisher that posts again when it is answered goes as fast as it is answered. So the answer paces it. An event is in
//! flight from the moment when it is in the log until the subscribers have read it. While more events are in flight than the
//! channel's [window](window::Window), answers wait, first come, first served. The window follows the measured delay, as
//! CoDel does (RFC 8289): it shrinks while events take longer than the target, and grows while they take less.
//!
//! Only a subscriber knows what it has read; the kernel takes seconds of events into its buffers. So under load each shard
//! [samples](samples::Samples) its subscribers: it sends a few of them a Ping behind an event, and their Pongs say that they
//! have read everything before it (RFC 6455, section 5.5.2).
//!
//! Nodes that share a broker tell each other how far their subscribers have come, so that a publisher at another node is
//! paced, too. This module does not know sockets, brokers or requests.

mod announcement;
mod channel;
mod samples;
mod window;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::event::{Catalog, ChannelId, PerChannel, Position};
use crate::metrics::Metrics;
use announcement::Announcement;
use channel::ChannelPace;
pub use samples::SAMPLE_SIZE;

/// How long an answer is held back at most.
const MAX_HOLD: Duration = Duration::from_secs(2);
/// How often it is looked whether answers need to be held back no longer, while some are.
const TICK: Duration = Duration::from_millis(20);
/// The delay at which a channel with few subscribers is kept, from the relay to most of them.
const TARGET: Duration = Duration::from_millis(20);
/// What each subscriber adds to it. A `send` costs some 10 µs, and only events that wait for each other share one.
const TARGET_PER_SUBSCRIBER: Duration = Duration::from_micros(14);

/// The pace of each channel of a namespace.
#[derive(Debug)]
pub struct Pace {
    channels: PerChannel<Mutex<ChannelPace>>,
    /// The channels by their number in a Ping.
    ids: Vec<ChannelId>,
    /// This node's connections that are subscribed to each channel.
    subscribers: Arc<PerChannel<AtomicU64>>,
    metrics: Arc<Metrics>,
    /// What announcements of this node are known by.
    node: u64,
    /// Notified when a channel has something to announce.
    to_announce: Notify,
    /// Notified when an answer is held back.
    holding: Notify,
}

/// The payload of a Ping: the channel and the shard of its sample, and the number of the Ping.
pub type Payload = [u8; 14];

impl Pace {
    pub fn new(catalog: &Catalog, subscribers: Arc<PerChannel<AtomicU64>>, metrics: Arc<Metrics>) -> Self {
        Self {
            channels: PerChannel::new(catalog, |_| Mutex::default()),
            ids: catalog.channels().collect(),
            subscribers,
            metrics,
            node: rand::random(),
            to_announce: Notify::new(),
            holding: Notify::new(),
        }
    }

    /// Holds a publisher back that has appended `events` events to a channel, the last of them at this position.
    pub async fn hold(&self, channel: ChannelId, position: &Position, events: u64) {
        let held = Instant::now();
        let Some(go) = self.lock(channel).appended(position, events, held) else { return };
        self.holding.notify_one();
        // The answer goes out in any case.
        let _ = tokio::time::timeout(MAX_HOLD, go).await;
        self.metrics.held_seconds.observe(held.elapsed().as_secs_f64());
    }

    /// Answers publishers for whom there is room because time has passed. Runs for as long as the namespace.
    pub async fn run(&self) {
        loop {
            self.holding.notified().await;
            while self.ids.iter().filter(|id| self.tick(**id)).count() > 0 {
                tokio::time::sleep(TICK).await;
            }
        }
    }

    fn tick(&self, channel: ChannelId) -> bool {
        let anybody = self.subscribers[channel].load(Ordering::Relaxed) > 0;
        self.lock(channel).tick(anybody, Instant::now())
    }

    /// A shard has written everything of a channel up to this position. The first of it came from the relay at `since`.
    ///
    /// Returns whether the shard is to take a [`sample`](Self::sample) now.
    pub fn written(&self, shard: u16, channel: ChannelId, position: &Position, since: Instant, now: Instant) -> bool {
        let target = self.target(channel);
        let mut state = self.lock(channel);
        let sample = state.written(shard.into(), position, since, now, target);
        if state.must_announce() {
            self.to_announce.notify_one();
        }
        sample
    }

    /// Takes a sample of `size` subscribers. Each is to be sent a Ping with one of the payloads.
    pub fn sample(&self, shard: u16, channel: ChannelId, size: usize, now: Instant) -> impl Iterator<Item = Payload> {
        let numbers = self.lock(channel).sample(shard.into(), size, now);
        numbers.into_iter().map(move |number| {
            let mut payload = Payload::default();
            payload[..4].copy_from_slice(&(channel.index() as u32).to_be_bytes());
            payload[4..6].copy_from_slice(&shard.to_be_bytes());
            payload[6..].copy_from_slice(&number.to_be_bytes());
            payload
        })
    }

    /// A subscriber has answered a Ping. An answer that belongs to no sample is ignored.
    pub fn answered(&self, payload: &[u8], now: Instant) {
        let Ok([a, b, c, d, e, f, number @ ..]) = <Payload>::try_from(payload) else { return };
        let (channel, shard) = (u32::from_be_bytes([a, b, c, d]), u16::from_be_bytes([e, f]));
        let Some(channel) = self.ids.get(channel as usize).copied() else { return };
        let target = self.target(channel);
        let mut state = self.lock(channel);
        let Some(delay) = state.answered(shard.into(), u64::from_be_bytes(number), now, target) else { return };
        let announce = state.must_announce();
        drop(state);
        self.metrics.delivery_seconds.observe(delay.as_secs_f64());
        if announce {
            self.to_announce.notify_one();
        }
    }

    /// Waits until there is something to announce.
    pub async fn to_announce(&self) {
        self.to_announce.notified().await;
    }

    /// What the other nodes must know: for each channel whose subscribers of this node are behind, how far they are.
    pub fn announcements(&self) -> Vec<(ChannelId, String)> {
        let now = Instant::now();
        let announcement = |id| self.lock(id).announcement(self.node, now);
        self.ids.iter().filter_map(|id| Some((*id, announcement(*id)?.to_string()))).collect()
    }

    /// Another node has announced how far its subscribers of a channel are. A text that no node wrote is ignored.
    pub fn announced(&self, channel: ChannelId, text: &str, now: Instant) {
        let Ok(announcement) = text.parse::<Announcement>() else { return };
        if announcement.node != self.node {
            self.lock(channel).announced(announcement, now);
        }
    }

    /// The delay at which a channel is kept.
    fn target(&self, channel: ChannelId) -> Duration {
        let subscribers = self.subscribers[channel].load(Ordering::Relaxed);
        TARGET + TARGET_PER_SUBSCRIBER * u32::try_from(subscribers).unwrap_or(u32::MAX)
    }

    fn lock(&self, channel: ChannelId) -> MutexGuard<'_, ChannelPace> {
        self.channels[channel].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
