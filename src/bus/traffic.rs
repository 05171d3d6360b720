//! What this node saw of each channel since it started, for `GET /v1/channels`: events published, duplicates, refused
//! events, and the rate at which events come out of the log.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::event::{Catalog, ChannelId, PerChannel};

/// The time over which a rate is averaged, in seconds.
const WINDOW: u64 = 10;
/// A second more than the window: the current one.
const SECONDS: usize = WINDOW as usize + 1;

/// The counts of one namespace.
#[derive(Debug)]
pub struct Traffic {
    started: Instant,
    channels: PerChannel<ChannelTraffic>,
}

/// The counts of one channel.
#[derive(Debug, Default)]
pub struct ChannelTraffic {
    /// Events that were appended through this node and are no duplicates.
    pub(super) published: AtomicU64,
    /// Events whose `id` had been published before.
    pub(super) duplicates: AtomicU64,
    /// Events with a mistake, or outside of their publisher's grants.
    pub(super) refused: AtomicU64,
    /// How many events the relay delivered in each of the last seconds.
    seconds: [Second; SECONDS],
}

/// The events of one second. Only the relay writes it, so that a reader at worst sees the end of a second too early.
#[derive(Debug, Default)]
struct Second {
    /// Seconds since the node started, from 1 on.
    number: AtomicU64,
    events: AtomicU64,
}

impl Traffic {
    /// No traffic yet.
    pub fn new(catalog: &Catalog) -> Self {
        Self { started: Instant::now(), channels: PerChannel::new(catalog, |_| ChannelTraffic::default()) }
    }

    /// Counts an event that the relay delivers.
    pub fn delivered(&self, channel: ChannelId) {
        self.channels[channel].delivered(self.started.elapsed());
    }

    /// Events of a channel per second, of all nodes, over the last ten seconds.
    pub(super) fn rate(&self, channel: ChannelId) -> f64 {
        self.channels[channel].rate(self.started.elapsed())
    }

    pub(super) fn of(&self, channel: ChannelId) -> &ChannelTraffic {
        &self.channels[channel]
    }
}

impl ChannelTraffic {
    fn delivered(&self, age: Duration) {
        let number = age.as_secs() + 1;
        let second = &self.seconds[number as usize % SECONDS];
        if second.number.load(Ordering::Relaxed) != number {
            second.events.store(0, Ordering::Relaxed);
            second.number.store(number, Ordering::Relaxed);
        }
        second.events.fetch_add(1, Ordering::Relaxed);
    }

    /// The current second is left out: it is not over. In the first seconds of the node it is all there is.
    fn rate(&self, age: Duration) -> f64 {
        let now = age.as_secs() + 1;
        let (from, time) = match now {
            1 => (1, age.as_secs_f64().max(0.1)),
            now => (now.saturating_sub(WINDOW).max(1), (now - 1).min(WINDOW) as f64),
        };
        let counted = if now == 1 { 1..2 } else { from..now };
        let is_counted = |second: &&Second| counted.contains(&second.number.load(Ordering::Relaxed));
        let events: u64 =
            self.seconds.iter().filter(is_counted).map(|second| second.events.load(Ordering::Relaxed)).sum();
        events as f64 / time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_the_average_of_the_last_ten_seconds() {
        let channel = ChannelTraffic::default();
        let at = Duration::from_millis;
        assert_eq!(channel.rate(at(0)), 0.0);
        for number in 0..100 {
            channel.delivered(at(number * 10));
        }
        assert_eq!(channel.rate(at(500)), 200.0);
        assert_eq!(channel.rate(at(1_000)), 100.0);
        assert_eq!(channel.rate(at(4_999)), 25.0);
        channel.delivered(at(10_000));
        assert_eq!(channel.rate(at(10_500)), 10.0);
        assert_eq!(channel.rate(at(11_000)), 0.1, "the first second has left the window");
        assert_eq!(channel.rate(at(60_000)), 0.0);
        // The same slot again, eleven seconds later.
        channel.delivered(at(21_000));
        assert_eq!(channel.rate(at(22_000)), 0.1);
    }
}
