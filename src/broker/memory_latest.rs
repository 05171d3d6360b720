//! The newest event of each subject in memory: one channel's values.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Entry, PAGE_BYTES};

/// The values of one channel.
#[derive(Default)]
pub(super) struct LatestValues {
    /// The offset of each subject's newest event.
    offsets: HashMap<Arc<str>, u64>,
    /// The same events by their offsets: the first has not changed for the longest time.
    values: BTreeMap<u64, Value>,
}

struct Value {
    subject: Arc<str>,
    appended: Instant,
    json: Arc<str>,
}

impl LatestValues {
    pub fn len(&self) -> u64 {
        self.values.len() as u64
    }

    /// Makes an event the newest of its subject. Returns how many subjects leave, so that there are `most`.
    pub fn keep(&mut self, subject: &Arc<str>, offset: u64, json: &Arc<str>, now: Instant, most: u64) -> u64 {
        if let Some(before) = self.offsets.insert(subject.clone(), offset) {
            self.values.remove(&before);
        }
        self.values.insert(offset, Value { subject: subject.clone(), appended: now, json: json.clone() });
        let mut evicted = 0;
        while self.len() > most {
            self.remove_first();
            evicted += 1;
        }
        evicted
    }

    /// Removes the values that are too old.
    pub fn expire(&mut self, max_age: Duration, now: Instant) {
        while self.values.first_key_value().is_some_and(|(_, oldest)| now - oldest.appended > max_age) {
            self.remove_first();
        }
    }

    pub fn get(&self, subject: &str) -> Option<Entry> {
        let offset = *self.offsets.get(subject)?;
        Some(Entry { offset, json: self.values.get(&offset)?.json.clone() })
    }

    /// Up to `limit` values above an offset, and whether there are more.
    pub fn page(&self, after: u64, limit: usize) -> (Vec<Entry>, bool) {
        let mut rest = self.values.range(after.saturating_add(1)..);
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while entries.len() < limit && bytes < PAGE_BYTES {
            let Some((offset, value)) = rest.next() else { return (entries, false) };
            bytes += value.json.len();
            entries.push(Entry { offset: *offset, json: value.json.clone() });
        }
        (entries, rest.next().is_some())
    }

    fn remove_first(&mut self) {
        if let Some((_, first)) = self.values.pop_first() {
            self.offsets.remove(&first.subject);
        }
    }
}
