//! What a sink has read and not written: the newest event of each key.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::cloudflare::Pair;
use crate::event::{Json, Position};

/// Pairs of one write. Cloudflare takes 10,000.
const MAX_PAIRS: usize = 10_000;
/// The bytes of their values. Cloudflare takes 100 MB; a slow line must send them within the time that a write may take.
const MAX_BYTES: usize = 8 << 20;

#[derive(Debug, Default)]
pub struct Pending {
    pairs: BTreeMap<String, Pair>,
    bytes: usize,
    /// How far each channel was read.
    positions: BTreeMap<String, Position>,
    /// When the oldest of these events happened.
    oldest: Option<Timestamp>,
}

impl Pending {
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    pub fn is_full(&self) -> bool {
        self.pairs.len() >= MAX_PAIRS || self.bytes >= MAX_BYTES
    }

    /// Notes an event. One without a subject has no key, and is passed over.
    pub fn note(&mut self, channel: &str, position: Position, json: &str, prefix: &str) {
        self.skip(channel, position.clone());
        // The daemon has made this text, so it can be read.
        let Ok(event) = Json::parse(json) else { return };
        let text = |name: &str| event.get(name).and_then(Json::as_str);
        let Some(subject) = text("subject") else { return };
        let time = text("time").and_then(|time| time.parse::<Timestamp>().ok());
        self.oldest = [self.oldest, time].into_iter().flatten().min();
        let key = format!("{prefix}{channel}/{subject}");
        let position = position.to_string();
        let value = format!(r#"{{"position":"{position}","event":{json}}}"#);
        self.bytes += value.len();
        if let Some(before) = self.pairs.insert(key.clone(), Pair { key, value, position }) {
            self.bytes -= before.value.len();
        }
    }

    /// Notes that a channel was read up to here.
    pub fn skip(&mut self, channel: &str, position: Position) {
        self.positions.insert(channel.to_owned(), position);
    }

    /// The pairs, to be written. They count for [`age`](Self::age) until their positions are taken.
    pub fn take_pairs(&mut self) -> Vec<Pair> {
        self.bytes = 0;
        std::mem::take(&mut self.pairs).into_values().collect()
    }

    /// How far the channels were read when the pairs were taken. All of it is written.
    pub fn take_positions(&mut self) -> BTreeMap<String, Position> {
        self.oldest = None;
        std::mem::take(&mut self.positions)
    }

    /// The age of the oldest event, in seconds.
    pub fn age(&self) -> f64 {
        self.oldest.map_or(0.0, |oldest| (Timestamp::now() - oldest).total(jiff::Unit::Second).unwrap_or(0.0).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_an_age_until_it_is_written() {
        let mut pending = Pending::default();
        let event = r#"{"subject":"o1","time":"2020-01-01T00:00:00Z"}"#;
        pending.note("order-status", "a:1".parse().unwrap(), event, "");
        assert_eq!(pending.take_pairs().len(), 1);
        assert!(pending.age() > 1e6, "it is being written");
        pending.take_positions();
        assert_eq!(pending.age(), 0.0);
    }

    #[test]
    fn the_newest_event_of_each_subject_is_pending() {
        let mut pending = Pending::default();
        for (offset, subject) in [(1, "a"), (2, "b"), (3, "a")] {
            let json =
                format!(r#"{{"id":"{offset}","subject":"{subject}","time":"2026-01-31T12:00:00Z","data":{{}}}}"#);
            pending.note("order-status", format!("k:{offset}").parse().unwrap(), &json, "t/");
        }
        pending.note("order-status", "k:4".parse().unwrap(), r#"{"id":"4","data":{}}"#, "t/");
        assert!(pending.age() > 1000.0);
        let pairs = pending.take_pairs();
        let keys: Vec<_> = pairs.iter().map(|pair| (&*pair.key, &*pair.position)).collect();
        assert_eq!(keys, [("t/order-status/a", "k:3"), ("t/order-status/b", "k:2")]);
        assert!(pairs[0].value.starts_with(r#"{"position":"k:3","event":{"id":"3","#), "{}", pairs[0].value);
        assert_eq!(pending.take_positions()["order-status"].to_string(), "k:4");
        assert!(pending.is_empty() && pending.bytes == 0 && pending.age() == 0.0);
    }
}
