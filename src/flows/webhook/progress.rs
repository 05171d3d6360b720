//! How far a webhook came in one channel: a position behind which everything was delivered, and what was delivered beyond it.
//!
//! Subjects are delivered side by side, so that an event that is tried again and again stays behind others. The position
//! moves only past what is done. What is done beyond it is kept too, so that the next holder of the lease does not deliver it
//! again.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::event::Position;

/// The progress in one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Everything up to here is done.
    at: Position,
    /// What is done beyond `at`: the last offset of each range by its first. Ranges do not touch.
    beyond: BTreeMap<u64, u64>,
}

/// How it is stored: ranges as pairs of the distance from what is before, and the length. So the text stays short.
#[derive(Serialize, Deserialize)]
struct Stored {
    at: Position,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    done: Vec<(u64, u64)>,
}

impl Progress {
    /// Nothing is done after this position.
    pub fn new(at: Position) -> Self {
        Self { at, beyond: BTreeMap::new() }
    }

    /// Everything up to here is done.
    pub fn position(&self) -> &Position {
        &self.at
    }

    /// How many events beyond the position are done.
    pub fn done_beyond(&self) -> u64 {
        self.beyond.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// Whether the event at this offset of the position's epoch is done.
    pub fn is_done(&self, offset: u64) -> bool {
        offset <= self.at.offset || self.beyond.range(..=offset).next_back().is_some_and(|(_, last)| *last >= offset)
    }

    /// Notes that the event at this offset of the position's epoch is done.
    pub fn done(&mut self, offset: u64) {
        if self.is_done(offset) {
            return;
        }
        let (mut first, mut last) = (offset, offset);
        if let Some((before, end)) = self.beyond.range(..offset).next_back().map(|(first, last)| (*first, *last))
            && end + 1 == offset
        {
            self.beyond.remove(&before);
            first = before;
        }
        if let Some(end) = self.beyond.remove(&(offset + 1)) {
            last = end;
        }
        match first == self.at.offset + 1 {
            true => self.at.offset = last,
            false => drop(self.beyond.insert(first, last)),
        }
    }

    /// Notes that the events up to this position are lost. In the same epoch, what is done beyond it stays done.
    pub fn pass(&mut self, to: Position) {
        if !to.same_epoch(&self.at) {
            *self = Self::new(to);
            return;
        }
        self.at.offset = self.at.offset.max(to.offset);
        while let Some(first) = self.beyond.first_entry()
            && *first.key() <= self.at.offset + 1
        {
            self.at.offset = self.at.offset.max(first.remove());
        }
    }
}

impl Serialize for Progress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut before = self.at.offset;
        let done = self.beyond.iter().map(|(first, last)| {
            let pair = (first - before, last - first + 1);
            before = *last;
            pair
        });
        Stored { at: self.at.clone(), done: done.collect() }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Progress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Stored { at, done } = Stored::deserialize(deserializer)?;
        let (mut before, mut beyond) = (at.offset, BTreeMap::new());
        for (distance, length) in done {
            let range = before.checked_add(distance).and_then(|first| Some((first, first.checked_add(length)?)));
            // Ranges that touch would be one.
            let (first, end) =
                range.filter(|_| distance > 1 && length > 0).ok_or_else(|| de::Error::custom("a range"))?;
            before = end - 1;
            beyond.insert(first, before);
        }
        Ok(Self { at, beyond })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(offset: u64) -> Position {
        Position::new("a".parse().unwrap(), offset)
    }

    #[test]
    fn the_position_stays_behind_what_is_not_done() {
        let mut progress = Progress::new(at(10));
        for offset in [12, 14, 13, 20] {
            progress.done(offset);
        }
        assert_eq!((progress.position(), progress.done_beyond()), (&at(10), 4));
        assert_eq!(serde_json::to_string(&progress).unwrap(), r#"{"at":"a:10","done":[[2,3],[6,1]]}"#);
        progress.done(11);
        assert_eq!(progress.position(), &at(14));
        assert_eq!([10, 14, 15, 20].map(|offset| progress.is_done(offset)), [true, true, false, true]);
        assert!(serde_json::from_str::<Progress>(r#"{"at":"a:10","done":[[1,3]]}"#).is_err());
    }

    #[test]
    fn what_is_done_beyond_a_gap_stays_done_in_the_same_epoch() {
        let done = |offsets: &[u64]| {
            let mut progress = Progress::new(at(10));
            offsets.iter().for_each(|offset| progress.done(*offset));
            progress
        };
        for (gap, position, beyond) in [(15, 15, 2), (16, 18, 0), (17, 18, 0), (18, 18, 0), (20, 20, 0)] {
            let mut progress = done(&[12, 13, 17, 18]);
            progress.pass(at(gap));
            assert_eq!((progress.position(), progress.done_beyond()), (&at(position), beyond), "a gap up to {gap}");
        }
        let mut progress = done(&[12]);
        progress.pass("b:3".parse().unwrap());
        assert_eq!(progress, Progress::new("b:3".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn it_is_a_set_of_offsets_and_is_read_as_it_was_written(offsets in prop::collection::vec(1u64..60, 0..80)) {
            let mut progress = Progress::new(at(0));
            for offset in &offsets {
                progress.done(*offset);
            }
            for offset in 1..60 {
                prop_assert_eq!(progress.is_done(offset), offsets.contains(&offset));
            }
            let first_missing = (1..).find(|offset| !offsets.contains(offset)).unwrap();
            prop_assert_eq!(progress.position().offset, first_missing - 1);
            let text = serde_json::to_string(&progress).unwrap();
            prop_assert_eq!(serde_json::from_str::<Progress>(&text).unwrap(), progress);
        }
    }
}
