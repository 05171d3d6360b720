//! The log fingerprint: what this node knows of a channel's log, so that the scripts detect a log that lost events.
//!
//! A node sends the fingerprint with every script that works on the log. If the log does not match it, because Redis was
//! restored from an older state or a failover lost events, the script begins a new epoch. So no position is given to two
//! events. The usual fingerprint is short. A script that detects a loss asks for all [`Nonces`], which show exactly which
//! events are left.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::commands::Sending;
use super::nonces::{Nonce, Nonces};
use crate::event::{Epoch, Position};

/// Past epochs that are remembered. A restored log is hardly ever older than the last few epochs.
const MAX_PAST_EPOCHS: usize = 8;
/// The most events of a log whose nonces are remembered: 80 KB.
const MAX_NONCES: u64 = 10_000;

/// What this node knows of one log. Calls share it.
pub(super) struct LogFingerprint {
    /// Held for a comparison or a copy.
    known: Mutex<KnownLog>,
    /// The number of events whose nonces are remembered.
    capacity: usize,
    /// Notified when a log is found in an epoch that was not known.
    unlearned: Arc<Notify>,
}

#[derive(Default)]
struct KnownLog {
    /// The newest position that Redis reported.
    newest: Option<Position>,
    /// The nonces of the newest epoch's events. A log with another nonce at an offset is another log.
    nonces: Nonces,
    /// Epochs that ended, the last at the end. A log that is in one of them again was restored.
    past_epochs: VecDeque<PastEpoch>,
    /// The connection on which a script accepted the newest nonce and the past epochs last.
    confirmed_connection: u64,
    /// The attempt whose reply reported the newest epoch first.
    epoch_attempt: u64,
    /// The offset from which on this node has to learn the nonces of events that it did not see. `None` if it knows all.
    learn_from: Option<u64>,
}

/// An epoch that ended.
struct PastEpoch {
    epoch: Epoch,
    /// The nonces that this node knew in it, until the relay has left the epoch.
    nonces: Nonces,
    /// These are all that the log had.
    learned: bool,
}

impl LogFingerprint {
    /// A log of which nothing is known. `max_events` is the number of events that it retains. `unlearned` is notified when
    /// [`learn_from`](Self::learn_from) changes.
    pub fn new(max_events: u64, unlearned: Arc<Notify>) -> Self {
        let capacity = max_events.clamp(1, MAX_NONCES) as usize;
        Self { known: Mutex::default(), capacity, unlearned }
    }

    /// Records a reply of Redis: the log has this position, and perhaps these events up to it. `attempt` is the number of
    /// the attempt that was answered. Returns whether the log has begun another epoch than the one that was known.
    pub fn record(&self, attempt: u64, position: &Position, events: impl IntoIterator<Item = (u64, Nonce)>) -> bool {
        let mut known = self.lock();
        if let Some(past) = known.past(&position.epoch) {
            // The relay may still deliver these events.
            past.nonces.insert_all(events, self.capacity);
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
                let mut nonces = Nonces::default();
                nonces.insert_all(events, self.capacity);
                known.end_epoch(PastEpoch { epoch: position.epoch.clone(), nonces, learned: false });
                return false;
            }
            before => {
                new_epoch = before.is_some();
                let nonces = std::mem::take(&mut known.nonces);
                if let Some(Position { epoch, .. }) = before {
                    let learned = known.learn_from.is_none();
                    known.end_epoch(PastEpoch { epoch, nonces, learned });
                }
                known.newest = Some(position.clone());
                known.epoch_attempt = attempt;
                known.learn_from = Some((position.offset + 1).saturating_sub(self.capacity as u64).max(1));
                self.unlearned.notify_one();
            }
        }
        known.nonces.insert_all(events, self.capacity);
        new_epoch
    }

    /// The fingerprint as a script argument; `log.lua` parses it. Empty if nothing is known.
    ///
    /// It is only the newest epoch and offset on a connection where a script [accepted](Self::confirm) a longer one: while
    /// a connection lasts, Redis is not restored behind it. A longer one has the newest nonce, or all of them if the script
    /// asked for them, and the past epochs.
    pub fn argument(&self, sending: Sending) -> String {
        self.lock().argument(sending)
    }

    /// The fingerprint, and what this node knows of the epoch in which its relay has delivered events; `read.lua` describes
    /// the second. Frees what is known of the events of earlier epochs once the relay has reached the newest one.
    pub fn arguments_for_relay(&self, sending: Sending, delivered: &Position) -> (String, String) {
        let mut known = self.lock();
        let fingerprint = known.argument(sending);
        if known.newest.as_ref().is_some_and(|newest| newest.same_epoch(delivered)) {
            known.past_epochs.iter_mut().for_each(|past| past.nonces = Nonces::default());
            return (fingerprint, "=".into());
        }
        let evidence = known.past(&delivered.epoch).map(|past| past.nonces.text(usize::MAX));
        (fingerprint, evidence.unwrap_or_else(|| "-".into()))
    }

    /// Records that a script with this fingerprint has run on this connection.
    pub fn confirm(&self, connection: u64) {
        self.lock().confirmed_connection = connection;
    }

    /// The position from which on this node has to learn nonces. `None` if it knows all.
    pub fn learn_from(&self) -> Option<Position> {
        let known = self.lock();
        let newest = known.newest.as_ref()?;
        Some(Position::new(newest.epoch.clone(), known.learn_from?))
    }

    /// Records that this node learned the nonces of this epoch before the offset `next`, or all of them.
    pub fn learned(&self, epoch: &Epoch, next: Option<u64>) {
        let mut known = self.lock();
        if known.newest.as_ref().is_some_and(|newest| newest.epoch == *epoch) {
            known.learn_from = known.learn_from.and_then(|from| Some(next?.max(from)));
        }
    }

    /// Records that all events up to the offset `common` that this node knew in the epoch `before` survived in the epoch
    /// `current`. So it need not learn them.
    pub fn survived(&self, before: &Epoch, current: &Epoch, common: u64) {
        let mut known = self.lock();
        let KnownLog { newest, nonces, past_epochs, learn_from, .. } = &mut *known;
        if newest.as_ref().is_some_and(|newest| newest.epoch == *current)
            && let Some(past) = past_epochs.iter().find(|past| past.epoch == *before)
        {
            nonces.insert_all(past.nonces.up_to(common), self.capacity);
            if past.learned {
                *learn_from = learn_from.map(|from| from.max(common + 1));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, KnownLog> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KnownLog {
    fn argument(&self, Sending { connection, all_nonces }: Sending) -> String {
        let Some(Position { epoch, offset }) = &self.newest else { return String::new() };
        let mut argument = format!("{epoch} {offset}");
        if all_nonces || self.confirmed_connection != connection {
            let (which, count) = if all_nonces { ("all", usize::MAX) } else { ("newest", 1) };
            // Writing to a string does not fail.
            let _ = write!(argument, " {which} {}", self.nonces.text(count));
            for past in &self.past_epochs {
                let _ = write!(argument, " {}", past.epoch);
            }
        }
        argument
    }

    fn past(&mut self, epoch: &Epoch) -> Option<&mut PastEpoch> {
        self.past_epochs.iter_mut().find(|past| past.epoch == *epoch)
    }

    fn end_epoch(&mut self, past: PastEpoch) {
        self.past_epochs.push_back(past);
        if self.past_epochs.len() > MAX_PAST_EPOCHS {
            self.past_epochs.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Sending = Sending { connection: 0, all_nonces: true };

    fn at(text: &str) -> Position {
        text.parse().unwrap()
    }

    fn fingerprint() -> LogFingerprint {
        LogFingerprint::new(10_000, Arc::default())
    }

    /// An event at this offset, whose nonce is this character eight times.
    fn learn_from(fingerprint: &LogFingerprint) -> Option<u64> {
        fingerprint.learn_from().map(|from| from.offset)
    }

    fn event(offset: u64, nonce: char) -> Option<(u64, Nonce)> {
        Nonce::parse_each(offset, &nonce.to_string().repeat(8)).next()
    }

    #[test]
    fn late_replies_do_not_move_the_newest_position_back() {
        let fingerprint = fingerprint();
        assert_eq!(fingerprint.argument(ALL), "");
        fingerprint.record(1, &at("a:7"), None);
        assert_eq!(fingerprint.argument(ALL), "a 7 all 0 -");
        fingerprint.record(1, &at("a:5"), event(5, 'x'));
        fingerprint.record(1, &at("a:4"), event(4, 'y'));
        assert_eq!(fingerprint.argument(ALL), "a 7 all 4 yyyyyyyyxxxxxxxx");
    }

    #[test]
    fn a_late_reply_from_a_past_epoch_does_not_end_the_newest_epoch() {
        let fingerprint = fingerprint();
        assert!(!fingerprint.record(1, &at("a:7"), None));
        // Two losses; the reply about the second one arrives first.
        assert!(fingerprint.record(3, &at("c:5"), None));
        assert!(!fingerprint.record(2, &at("b:6"), None));
        assert_eq!(fingerprint.argument(ALL), "c 5 all 0 - a b");
        assert!(fingerprint.record(4, &at("d:1"), None));
    }

    #[test]
    fn a_longer_fingerprint_is_sent_once_on_each_connection() {
        let fingerprint = fingerprint();
        fingerprint.record(1, &at("a:6"), event(6, 'x'));
        fingerprint.record(1, &at("a:7"), event(7, 'y'));
        let on = |connection| fingerprint.argument(Sending { connection, all_nonces: false });
        assert_eq!(on(1), "a 7 newest 7 yyyyyyyy");
        fingerprint.confirm(1);
        assert_eq!((on(1), on(2)), ("a 7".into(), "a 7 newest 7 yyyyyyyy".into()));
        assert_eq!(fingerprint.argument(Sending { connection: 1, all_nonces: true }), "a 7 all 6 xxxxxxxxyyyyyyyy");
    }

    #[test]
    fn a_past_epoch_does_not_become_the_newest_again() {
        let fingerprint = fingerprint();
        fingerprint.record(1, &at("a:7"), event(7, 'x'));
        fingerprint.record(1, &at("b:1"), None);
        assert_eq!(fingerprint.argument(ALL), "b 1 all 0 - a");
        fingerprint.record(1, &at("a:9"), event(9, 'x'));
        assert_eq!(fingerprint.argument(ALL), "b 1 all 0 - a");
        for epoch in 0..20 {
            fingerprint.record(1, &at(&format!("c{epoch}:1")), None);
        }
        assert_eq!(fingerprint.argument(ALL), "c19 1 all 0 - c11 c12 c13 c14 c15 c16 c17 c18");
    }

    #[test]
    fn the_nonces_of_an_epoch_are_kept_until_the_relay_has_left_it() {
        let fingerprint = fingerprint();
        fingerprint.record(1, &at("a:7"), event(7, 'x'));
        let evidence = |delivered| fingerprint.arguments_for_relay(ALL, &at(delivered)).1;
        assert_eq!(evidence("a:8"), "=");
        fingerprint.record(2, &at("b:7"), None);
        // A late reply about an event that the relay delivers.
        fingerprint.record(1, &at("a:8"), event(8, 'y'));
        assert_eq!(evidence("a:8"), "7 xxxxxxxxyyyyyyyy");
        assert_eq!(evidence("b:7"), "=");
        assert_eq!(evidence("a:8"), "0 -");
        assert_eq!(evidence("other:1"), "-");
    }

    #[test]
    fn the_events_of_each_epoch_are_learned_once() {
        let fingerprint = LogFingerprint::new(5, Arc::default());
        assert_eq!(learn_from(&fingerprint), None);
        fingerprint.record(1, &at("a:7"), None);
        assert_eq!(learn_from(&fingerprint), Some(3));
        fingerprint.learned(&at("a:7").epoch, Some(6));
        fingerprint.record(1, &at("a:8"), None);
        assert_eq!(learn_from(&fingerprint), Some(6));
        fingerprint.record(2, &at("b:2"), None);
        // A reply from the old epoch.
        fingerprint.learned(&at("a:7").epoch, None);
        assert_eq!(learn_from(&fingerprint), Some(1));
        fingerprint.learned(&at("b:2").epoch, None);
        assert_eq!(learn_from(&fingerprint), None);
    }

    #[test]
    fn events_that_survived_are_not_learned_again() {
        let fingerprint = fingerprint();
        fingerprint.record(1, &at("a:2"), event(1, 'x').into_iter().chain(event(2, 'y')));
        fingerprint.learned(&at("a:2").epoch, None);
        fingerprint.record(2, &at("b:2"), event(2, 'z'));
        fingerprint.survived(&at("a:2").epoch, &at("b:2").epoch, 1);
        assert_eq!(
            (fingerprint.argument(ALL), learn_from(&fingerprint)),
            ("b 2 all 1 xxxxxxxxzzzzzzzz a".into(), Some(2))
        );
        // This node had not learned all that the log had in the epoch b.
        fingerprint.record(3, &at("c:2"), None);
        fingerprint.survived(&at("b:2").epoch, &at("c:2").epoch, 1);
        assert_eq!((fingerprint.argument(ALL), learn_from(&fingerprint)), ("c 2 all 1 xxxxxxxx a b".into(), Some(1)));
    }
}
