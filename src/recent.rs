//! The newest events of each channel that the relay has delivered, for the long-polls that wait for them.
//!
//! Without this, each of a thousand long-polls that wait for one channel would read the same event from the log, and encode
//! it, by itself. The relay adds an event before it notes its progress, so a long-poll that is woken finds the event here.
//! A channel keeps events only while long-polls ask for it. What is not here is read from the log.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::event::{Catalog, ChannelId, PerChannel, Position};

/// The most bytes of a channel's events, of which there is at least one: what a thousand long-polls may be behind.
const MAX_BYTES: usize = 128 * 1024;
/// How long after the last long-poll a channel keeps events.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// The newest events of each channel of a namespace.
#[derive(Debug)]
pub struct RecentEvents(PerChannel<Channel>);

#[derive(Debug, Default)]
struct Channel {
    /// Whether the channel keeps events. The relay reads this for each event, without the lock.
    is_polled: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Consecutive events, the newest last.
    events: VecDeque<RecentEvent>,
    /// The position of the newest event.
    newest: Option<Position>,
    bytes: usize,
    last_poll: Option<Instant>,
}

/// An event that the relay has delivered.
#[derive(Debug, Clone)]
pub struct RecentEvent {
    /// The event's offset, in the epoch that was asked for.
    pub offset: u64,
    /// The event as an entry of history, without its first brace: `"position":…,"event":…}`.
    pub entry: Bytes,
    /// Where the CloudEvent begins in `entry`; it ends before the last byte.
    json: usize,
}

impl RecentEvent {
    /// The CloudEvent.
    pub fn json(&self) -> &str {
        std::str::from_utf8(&self.entry[self.json..self.entry.len() - 1]).unwrap_or_default()
    }
}

impl RecentEvents {
    /// No events, on the catalogue's channels.
    pub fn new(catalog: &Catalog) -> Self {
        Self(PerChannel::new(catalog, |_| Channel::default()))
    }

    /// Adds the event at this position of a channel. `entry` makes its [`RecentEvent::entry`]; it is called only if the
    /// channel keeps events.
    pub fn add(&self, channel: ChannelId, position: &Position, json: &str, entry: impl FnOnce() -> Bytes) {
        let channel = &self.0[channel];
        if !channel.is_polled.load(Ordering::Relaxed) {
            return;
        }
        let mut state = channel.lock();
        if state.last_poll.is_none_or(|last| last.elapsed() > KEPT_FOR) {
            channel.is_polled.store(false, Ordering::Relaxed);
            state.clear();
            return;
        }
        let is_next =
            state.newest.as_ref().is_some_and(|at| at.same_epoch(position) && at.offset + 1 == position.offset);
        if !is_next {
            state.clear();
        }
        // Another program may have written it into the log. A call that reads it there is refused.
        if serde_json::from_str::<&RawValue>(json).is_err() {
            state.clear();
            return;
        }
        let entry = entry();
        let json = entry.len() - 1 - json.len();
        state.bytes += entry.len();
        state.newest = Some(position.clone());
        state.events.push_back(RecentEvent { offset: position.offset, entry, json });
        while state.bytes > MAX_BYTES && state.events.len() > 1 {
            let removed = state.events.pop_front().map_or(0, |oldest| oldest.entry.len());
            state.bytes -= removed;
        }
    }

    /// Drops the events of a channel that has lost some.
    pub fn clear(&self, channel: ChannelId) {
        self.0[channel].lock().clear();
    }

    /// Notes that a long-poll asks for a channel: the channel keeps events for a while.
    pub fn polled(&self, channel: ChannelId) {
        let channel = &self.0[channel];
        channel.lock().last_poll = Some(Instant::now());
        channel.is_polled.store(true, Ordering::Relaxed);
    }

    /// Up to `limit` events after a position, if all events after it that the relay has delivered are here.
    pub fn after(&self, channel: ChannelId, position: &Position, limit: usize) -> Option<Vec<RecentEvent>> {
        let state = self.0[channel].lock();
        let newest = state.newest.as_ref().filter(|newest| newest.same_epoch(position))?;
        let oldest = newest.offset + 1 - state.events.len() as u64;
        let from = position.offset.checked_add(1)?.checked_sub(oldest)? as usize;
        // A client can make up a position that is ahead of the log.
        (from <= state.events.len()).then(|| state.events.range(from..).take(limit).cloned().collect())
    }
}

impl Channel {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn clear(&mut self) {
        *self = Self { last_poll: self.last_poll, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANNEL: ChannelId = ChannelId::for_test(0);

    fn at(text: &str) -> Position {
        text.parse().unwrap()
    }

    fn add(recent: &RecentEvents, position: &str, json: &str) {
        let entry = format!(r#""position":"{position}","event":{json}}}"#);
        recent.add(CHANNEL, &at(position), json, || entry.into());
    }

    /// The offsets after a position.
    fn after(recent: &RecentEvents, position: &str) -> Option<Vec<u64>> {
        Some(recent.after(CHANNEL, &at(position), 10)?.iter().map(|event| event.offset).collect())
    }

    #[test]
    fn a_channel_keeps_consecutive_events_once_it_is_polled() {
        let recent = RecentEvents::new(&Catalog::builtin());
        add(&recent, "a:4", "{}");
        assert_eq!(after(&recent, "a:3"), None, "nobody polls");
        recent.polled(CHANNEL);
        for position in ["a:5", "a:6", "a:7"] {
            add(&recent, position, r#"{"id":"1"}"#);
        }
        assert_eq!(after(&recent, "a:3"), None, "the event 4 is not here");
        assert_eq!(after(&recent, "a:4"), Some(vec![5, 6, 7]));
        assert_eq!(after(&recent, "a:7"), Some(vec![]));
        assert_eq!(after(&recent, "a:8"), None, "ahead of the log");
        assert_eq!(after(&recent, "b:5"), None);
        let found = recent.after(CHANNEL, &at("a:5"), 1).unwrap();
        assert_eq!((found.len(), found[0].json()), (1, r#"{"id":"1"}"#));
        add(&recent, "a:9", "{}");
        assert_eq!(after(&recent, "a:7"), None, "the event 8 is missing");
        assert_eq!(after(&recent, "a:8"), Some(vec![9]));
        add(&recent, "a:10", "{");
        assert_eq!(after(&recent, "a:9"), None, "a call that reads the log is refused");
        add(&recent, "a:11", "{}");
        recent.clear(CHANNEL);
        assert_eq!(after(&recent, "a:10"), None);
    }

    #[test]
    fn a_channel_keeps_a_bounded_number_of_bytes_and_at_least_one_event() {
        let recent = RecentEvents::new(&Catalog::builtin());
        recent.polled(CHANNEL);
        let json = format!(r#""{}""#, "x".repeat(MAX_BYTES / 3));
        for position in ["a:1", "a:2", "a:3", "a:4"] {
            add(&recent, position, &json);
        }
        assert_eq!((after(&recent, "a:1"), after(&recent, "a:2")), (None, Some(vec![3, 4])));
        add(&recent, "a:5", &format!(r#""{}""#, "x".repeat(MAX_BYTES * 2)));
        assert_eq!((after(&recent, "a:3"), after(&recent, "a:4")), (None, Some(vec![5])));
    }
}
