//! The log fingerprint: what this node knows of a channel's log, so that the scripts detect a log that lost events.
//!
//! A node sends the fingerprint with every script that works on the log. If the log does not match it, because Redis was
//! restored from an older state or a failover lost events, the script begins a new epoch. So no position is given to two
//! events.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::event::{Epoch, Position};

/// Past epochs that are remembered. A restored log is hardly ever older than the last few epochs.
const MAX_PAST_EPOCHS: usize = 8;
/// How far back every event is remembered. A loss of fewer events is detected exactly.
const DENSE: u64 = 64;
/// How far back one event of each [`SPARSE_STEP`] is remembered. For a larger loss, up to so many surviving events count
/// as lost.
const SPARSE: u64 = 4096;
const SPARSE_STEP: u64 = 64;

/// What this node knows of one log. Calls share it.
#[derive(Default)]
pub(super) struct LogFingerprint {
    /// Held for a comparison or a copy.
    known: Mutex<KnownLog>,
}

#[derive(Clone, Default)]
struct KnownLog {
    /// The newest position that Redis reported.
    newest: Option<Position>,
    /// Events of the newest epoch, by offset. A log with other events at these offsets is another log.
    events: BTreeMap<u64, Arc<str>>,
    /// Epochs that ended, the last at the end. A log that is in one of them again was restored.
    past_epochs: VecDeque<Epoch>,
    /// The connection on which a script accepted the whole fingerprint last.
    confirmed_connection: u64,
    /// The attempt whose reply reported the newest epoch first.
    epoch_attempt: u64,
}

impl LogFingerprint {
    /// Records a reply of Redis: the log has this position, and perhaps these events up to it. `attempt` is the number of
    /// the attempt that was answered. Returns whether the log has begun another epoch than the one that was known.
    pub fn record<'a>(
        &self,
        attempt: u64,
        position: &Position,
        events: impl IntoIterator<Item = (u64, &'a Arc<str>)>,
    ) -> bool {
        let mut known = self.lock();
        if known.past_epochs.contains(&position.epoch) {
            return false;
        }
        let mut new_epoch = false;
        match known.newest.clone() {
            Some(newest) if newest.same_epoch(position) => {
                let offset = newest.offset.max(position.offset);
                known.newest = Some(Position { offset, ..newest });
            }
            // A late reply: its epoch ended before the newest epoch began.
            Some(_) if attempt < known.epoch_attempt => {
                known.end_epoch(position.epoch.clone());
                return false;
            }
            before => {
                new_epoch = before.is_some();
                before.into_iter().for_each(|before| known.end_epoch(before.epoch));
                known.newest = Some(position.clone());
                known.epoch_attempt = attempt;
                known.events.clear();
            }
        }
        let newest = known.newest.as_ref().map_or(0, |newest| newest.offset);
        let remembered = events.into_iter().filter(|(offset, _)| is_remembered(*offset, newest));
        known.events.extend(remembered.map(|(offset, json)| (offset, json.clone())));
        // The bound allows twice the dense part, so that a removal pays for many calls.
        if known.events.len() as u64 > 2 * DENSE + SPARSE / SPARSE_STEP {
            known.events.retain(|offset, _| is_remembered(*offset, newest));
        }
        new_epoch
    }

    /// The whole fingerprint as a script argument: the newest epoch and offset, then the events (`OFFSET:SHA-1`, the
    /// newest first, or `-`), then the past epochs. Empty if nothing is known. `log.lua` parses it.
    pub fn full(&self) -> String {
        let KnownLog { newest, events, past_epochs, .. } = self.lock().clone();
        let Some(Position { epoch, offset }) = newest else { return String::new() };
        let events = events.iter().rev().map(|(at, json)| format!("{at}:{}", fred::util::sha1_hash(json)));
        let events = events.collect::<Vec<_>>().join(",");
        let mut argument = format!("{epoch} {offset} {}", if events.is_empty() { "-" } else { &events });
        for epoch in past_epochs {
            // Writing to a string does not fail.
            let _ = write!(argument, " {epoch}");
        }
        argument
    }

    /// The fingerprint as a script argument for this connection. It is the [full](Self::full) one until a script
    /// [accepted](Self::confirm) it there, and then only the newest epoch and offset, which costs Redis less. While a
    /// connection lasts, Redis is not restored behind it.
    pub fn argument(&self, connection: u64) -> String {
        let known = self.lock();
        match &known.newest {
            Some(Position { epoch, offset }) if known.confirmed_connection == connection => format!("{epoch} {offset}"),
            _ => {
                drop(known);
                self.full()
            }
        }
    }

    /// Records that a script with this fingerprint has run on this connection.
    pub fn confirm(&self, connection: u64) {
        self.lock().confirmed_connection = connection;
    }

    fn lock(&self) -> MutexGuard<'_, KnownLog> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KnownLog {
    fn end_epoch(&mut self, epoch: Epoch) {
        self.past_epochs.push_back(epoch);
        if self.past_epochs.len() > MAX_PAST_EPOCHS {
            self.past_epochs.pop_front();
        }
    }
}

/// Whether the event at `offset` is remembered while `newest` is the newest offset.
fn is_remembered(offset: u64, newest: u64) -> bool {
    let age = newest.saturating_sub(offset);
    age < DENSE || (age < SPARSE && offset.is_multiple_of(SPARSE_STEP))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Position {
        text.parse().unwrap()
    }

    #[test]
    fn late_replies_do_not_move_the_newest_position_back() {
        let fingerprint = LogFingerprint::default();
        assert_eq!(fingerprint.full(), "");
        fingerprint.record(1, &at("a:7"), None);
        assert_eq!(fingerprint.full(), "a 7 -");
        let [one, two] = ["{1}", "{2}"].map(Arc::from);
        fingerprint.record(1, &at("a:5"), Some((5, &one)));
        fingerprint.record(1, &at("a:4"), Some((4, &two)));
        let [one, two] = [one, two].map(|json| fred::util::sha1_hash(&json));
        assert_eq!(fingerprint.full(), format!("a 7 5:{one},4:{two}"));
    }

    #[test]
    fn recent_events_are_remembered_densely_and_older_ones_sparsely() {
        let fingerprint = LogFingerprint::default();
        for offset in 1..=10_000 {
            fingerprint.record(1, &at(&format!("a:{offset}")), Some((offset, &"{}".into())));
        }
        let events = fingerprint.lock().events.clone();
        assert!(events.len() < 200, "{}", events.len());
        assert!((9_937..=10_000).all(|offset| events.contains_key(&offset)));
        assert!((6_016..9_936).step_by(64).all(|offset| events.contains_key(&offset)));
        assert!(*events.keys().next().unwrap() > 5_700);
    }

    #[test]
    fn a_late_reply_from_a_past_epoch_does_not_end_the_newest_epoch() {
        let fingerprint = LogFingerprint::default();
        assert!(!fingerprint.record(1, &at("a:7"), None));
        // Two losses; the reply about the second one arrives first.
        assert!(fingerprint.record(3, &at("c:5"), None));
        assert!(!fingerprint.record(2, &at("b:6"), None));
        assert_eq!(fingerprint.full(), "c 5 - a b");
        assert!(fingerprint.record(4, &at("d:1"), None));
    }

    #[test]
    fn the_full_fingerprint_is_sent_once_on_each_connection() {
        let fingerprint = LogFingerprint::default();
        fingerprint.record(1, &at("a:7"), Some((7, &"{}".into())));
        assert_eq!(fingerprint.argument(1), fingerprint.full());
        fingerprint.confirm(1);
        assert_eq!(fingerprint.argument(1), "a 7");
        assert_eq!(fingerprint.argument(2), fingerprint.full());
    }

    #[test]
    fn a_past_epoch_does_not_become_the_newest_again() {
        let fingerprint = LogFingerprint::default();
        fingerprint.record(1, &at("a:7"), Some((7, &"{}".into())));
        fingerprint.record(1, &at("b:1"), None);
        assert_eq!(fingerprint.full(), "b 1 - a");
        fingerprint.record(1, &at("a:9"), Some((9, &"{}".into())));
        assert_eq!(fingerprint.full(), "b 1 - a");
        for epoch in 0..20 {
            fingerprint.record(1, &at(&format!("c{epoch}:1")), None);
        }
        assert_eq!(fingerprint.full(), "c19 1 - c11 c12 c13 c14 c15 c16 c17 c18");
    }
}
