//! What this node knows of a channel's log, to be told to every script: a log that lost events, or that is another than it
//! was, is found out by that before it gives a position twice.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::event::{Epoch, Position};

/// Epochs that are remembered after their end. Logs that are restored are hardly ever older than the last few.
const OVER: usize = 8;
/// Of the newest events so many are remembered, then one of each [`STEP`] as far back as [`FAR`]. A loss within the first
/// is known exactly, and of a larger one that many survivors at the most are taken for lost.
const NEAR: u64 = 64;
const STEP: u64 = 64;
const FAR: u64 = 4096;

#[derive(Default)]
pub(super) struct LogFingerprint {
    /// Held for a comparison.
    state: Mutex<State>,
}

#[derive(Clone, Default)]
struct State {
    /// The newest position that Redis has told this node.
    newest: Option<Position>,
    /// Events of its epoch that this node has. Where the log has another one there, it is another log.
    events: BTreeMap<u64, Arc<str>>,
    /// Epochs that came to their end: a log that is back in one of them was restored.
    over: VecDeque<Epoch>,
    /// The connection on which Redis was last told all of it and had nothing against it.
    stood: u64,
    /// The number of the call that taught the newest epoch.
    taught: u64,
}

impl LogFingerprint {
    /// To the call of this number Redis said that the log has this position, and perhaps what stands at it or before it.
    /// Answers whether another epoch has begun than was known.
    pub fn learn<'a>(
        &self,
        call: u64,
        position: &Position,
        events: impl IntoIterator<Item = (u64, &'a Arc<str>)>,
    ) -> bool {
        let mut state = self.lock();
        if state.over.contains(&position.epoch) {
            return false;
        }
        let mut begun = false;
        match state.newest.clone() {
            Some(newest) if newest.same_epoch(position) => {
                let offset = newest.offset.max(position.offset);
                state.newest = Some(Position { offset, ..newest });
            }
            // Answers may overtake each other: this epoch was over before the newest began.
            Some(_) if call < state.taught => {
                state.end(position.epoch.clone());
                return false;
            }
            before => {
                begun = before.is_some();
                before.into_iter().for_each(|before| state.end(before.epoch));
                state.newest = Some(position.clone());
                state.taught = call;
                state.events.clear();
            }
        }
        let newest = state.newest.as_ref().map_or(0, |newest| newest.offset);
        state.events.extend(
            events.into_iter().filter(|(offset, _)| kept(*offset, newest)).map(|(offset, json)| (offset, json.clone())),
        );
        // Now and then is often enough.
        if state.events.len() as u64 > 2 * NEAR + FAR / STEP {
            state.events.retain(|offset, _| kept(*offset, newest));
        }
        begun
    }

    /// As `log.lua` reads it: the newest epoch and offset, events by offset and SHA-1, and the epochs that are over.
    pub fn told(&self) -> String {
        let State { newest, events, over, .. } = self.lock().clone();
        let Some(Position { epoch, offset }) = newest else { return String::new() };
        let events = events.iter().rev().map(|(at, json)| format!("{at}:{}", fred::util::sha1_hash(json)));
        let events = events.collect::<Vec<_>>().join(",");
        let mut told = format!("{epoch} {offset} {}", if events.is_empty() { "-" } else { &events });
        for epoch in over {
            // Writing to a string does not fail.
            let _ = write!(told, " {epoch}");
        }
        told
    }

    /// The same, without what costs Redis time where that stood on this connection before: behind a connection that
    /// lasts, no log becomes another.
    pub fn told_once(&self, connection: u64) -> String {
        let state = self.lock();
        match &state.newest {
            Some(Position { epoch, offset }) if state.stood == connection => format!("{epoch} {offset}"),
            _ => {
                drop(state);
                self.told()
            }
        }
    }

    /// A script that was [told](Self::told_once) has run on this connection.
    pub fn stood(&self, connection: u64) {
        self.lock().stood = connection;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn end(&mut self, epoch: Epoch) {
        self.over.push_back(epoch);
        if self.over.len() > OVER {
            self.over.pop_front();
        }
    }
}

fn kept(offset: u64, newest: u64) -> bool {
    let age = newest.saturating_sub(offset);
    age < NEAR || (age < FAR && offset.is_multiple_of(STEP))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Position {
        text.parse().unwrap()
    }

    #[test]
    fn the_newest_counts_in_whatever_order_it_is_told() {
        let fingerprint = LogFingerprint::default();
        assert_eq!(fingerprint.told(), "");
        fingerprint.learn(1, &at("a:7"), None);
        assert_eq!(fingerprint.told(), "a 7 -");
        let [one, two] = ["{1}", "{2}"].map(Arc::from);
        fingerprint.learn(1, &at("a:5"), Some((5, &one)));
        fingerprint.learn(1, &at("a:4"), Some((4, &two)));
        let [one, two] = [one, two].map(|json| fred::util::sha1_hash(&json));
        assert_eq!(fingerprint.told(), format!("a 7 5:{one},4:{two}"));
    }

    #[test]
    fn of_the_events_the_newest_are_remembered_and_fewer_further_back() {
        let fingerprint = LogFingerprint::default();
        for offset in 1..=10_000 {
            fingerprint.learn(1, &at(&format!("a:{offset}")), Some((offset, &"{}".into())));
        }
        let events = fingerprint.lock().events.clone();
        assert!(events.len() < 200, "{}", events.len());
        assert!((9_937..=10_000).all(|offset| events.contains_key(&offset)));
        assert!((6_016..9_936).step_by(64).all(|offset| events.contains_key(&offset)));
        assert!(*events.keys().next().unwrap() > 5_700);
    }

    #[test]
    fn an_answer_that_was_overtaken_ends_nothing() {
        let fingerprint = LogFingerprint::default();
        assert!(!fingerprint.learn(1, &at("a:7"), None));
        // Two losses, and the second is heard of first.
        assert!(fingerprint.learn(3, &at("c:5"), None));
        assert!(!fingerprint.learn(2, &at("b:6"), None));
        assert_eq!(fingerprint.told(), "c 5 - a b");
        assert!(fingerprint.learn(4, &at("d:1"), None));
    }

    #[test]
    fn all_is_told_once_on_each_connection() {
        let fingerprint = LogFingerprint::default();
        fingerprint.learn(1, &at("a:7"), Some((7, &"{}".into())));
        assert_eq!(fingerprint.told_once(1), fingerprint.told());
        fingerprint.stood(1);
        assert_eq!(fingerprint.told_once(1), "a 7");
        assert_eq!(fingerprint.told_once(2), fingerprint.told());
    }

    #[test]
    fn an_epoch_that_is_over_stays_so() {
        let fingerprint = LogFingerprint::default();
        fingerprint.learn(1, &at("a:7"), Some((7, &"{}".into())));
        fingerprint.learn(1, &at("b:1"), None);
        assert_eq!(fingerprint.told(), "b 1 - a");
        fingerprint.learn(1, &at("a:9"), Some((9, &"{}".into())));
        assert_eq!(fingerprint.told(), "b 1 - a");
        for epoch in 0..20 {
            fingerprint.learn(1, &at(&format!("c{epoch}:1")), None);
        }
        assert_eq!(fingerprint.told(), "c19 1 - c11 c12 c13 c14 c15 c16 c17 c18");
    }
}
