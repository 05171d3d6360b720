//! What this node knows of a channel's log, to be told to every script: a log that lost events, or that is another than it
//! was, is found out by that before it gives a position twice.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::event::{Epoch, Position};

/// Epochs that are remembered after their end. Logs that are restored are hardly ever older than the last few.
const OVER: usize = 8;

#[derive(Default)]
pub(super) struct Knowledge {
    /// Held for a comparison.
    state: Mutex<State>,
}

#[derive(Clone, Default)]
struct State {
    /// The newest position that Redis has told this node.
    newest: Option<Position>,
    /// The newest event of its epoch that this node has. Where the log has another one there, it is another log.
    event: Option<(u64, Arc<str>)>,
    /// Epochs that came to their end: a log that is back in one of them was restored.
    over: VecDeque<Epoch>,
    /// The connection on which Redis was last told all of it and had nothing against it.
    stood: u64,
}

impl Knowledge {
    /// Redis said that the log has this position, and perhaps what stands at it or before it.
    pub fn learn(&self, position: &Position, event: Option<(u64, &Arc<str>)>) {
        let mut state = self.lock();
        // Answers may overtake each other.
        if state.over.contains(&position.epoch) {
            return;
        }
        match &mut state.newest {
            Some(newest) if newest.same_epoch(position) => newest.offset = newest.offset.max(position.offset),
            newest => {
                let before = newest.replace(position.clone());
                state.over.extend(before.map(|before| before.epoch));
                if state.over.len() > OVER {
                    state.over.pop_front();
                }
                state.event = None;
            }
        }
        if let Some((offset, json)) = event
            && state.event.as_ref().is_none_or(|(before, _)| *before < offset)
        {
            state.event = Some((offset, json.clone()));
        }
    }

    /// As `log.lua` reads it: the newest epoch and offset, the event's offset and SHA-1, and the epochs that are over.
    pub fn told(&self) -> String {
        let State { newest, event, over, .. } = self.lock().clone();
        let Some(Position { epoch, offset }) = newest else { return String::new() };
        let (at, digest) = match event {
            Some((at, json)) => (at, fred::util::sha1_hash(&json)),
            None => (0, "-".into()),
        };
        let mut told = format!("{epoch} {offset} {at} {digest}");
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Position {
        text.parse().unwrap()
    }

    #[test]
    fn the_newest_counts_in_whatever_order_it_is_told() {
        let knowledge = Knowledge::default();
        assert_eq!(knowledge.told(), "");
        knowledge.learn(&at("a:7"), None);
        assert_eq!(knowledge.told(), "a 7 0 -");
        let [one, two] = ["{1}", "{2}"].map(Arc::from);
        knowledge.learn(&at("a:5"), Some((5, &one)));
        knowledge.learn(&at("a:4"), Some((4, &two)));
        assert_eq!(knowledge.told(), format!("a 7 5 {}", fred::util::sha1_hash("{1}")));
    }

    #[test]
    fn all_is_told_once_on_each_connection() {
        let knowledge = Knowledge::default();
        knowledge.learn(&at("a:7"), Some((7, &"{}".into())));
        assert_eq!(knowledge.told_once(1), knowledge.told());
        knowledge.stood(1);
        assert_eq!(knowledge.told_once(1), "a 7");
        assert_eq!(knowledge.told_once(2), knowledge.told());
    }

    #[test]
    fn an_epoch_that_is_over_stays_so() {
        let knowledge = Knowledge::default();
        knowledge.learn(&at("a:7"), Some((7, &"{}".into())));
        knowledge.learn(&at("b:1"), None);
        assert_eq!(knowledge.told(), "b 1 0 - a");
        knowledge.learn(&at("a:9"), Some((9, &"{}".into())));
        assert_eq!(knowledge.told(), "b 1 0 - a");
        for epoch in 0..20 {
            knowledge.learn(&at(&format!("c{epoch}:1")), None);
        }
        assert_eq!(knowledge.told(), "c19 1 0 - c11 c12 c13 c14 c15 c16 c17 c18");
    }
}
