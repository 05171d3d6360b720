//! Reports on stderr what happens to a subscriber's connection, and gaps.
//!
//! A lost log is a gap in every channel. The reporter collects these gaps and reports them in one line.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::failure::say;
use super::output::{DIM, human};
use crate::client::Update;
use crate::event::Position;

/// How long the reporter waits for the gaps of further channels after a gap of a lost log.
const COLLECT: Duration = Duration::from_millis(300);

/// Reports updates that are no events.
#[derive(Default)]
pub struct ConnectionReporter {
    disconnected: bool,
    /// The gaps of a lost log that are not reported yet.
    lost: Vec<LostLog>,
    /// When to report them.
    due: Option<Instant>,
}

/// A gap between two epochs.
struct LostLog {
    channel: Arc<str>,
    from: Position,
    position: Position,
}

impl ConnectionReporter {
    /// Reports an update, or collects it.
    pub fn report(&mut self, update: &Update) {
        match update {
            Update::Disconnected { reason, retry_in } => {
                self.disconnected = true;
                say(&format!("{DIM}disconnected: {reason}; reconnecting {}{DIM:#}", after(*retry_in)));
            }
            Update::Delayed { channel, reason, retry_in } => {
                say(&format!("{DIM}{channel}: {reason}; subscribing again {}{DIM:#}", after(*retry_in)));
            }
            Update::Connected { node } if self.disconnected => {
                self.disconnected = false;
                say(&format!("{DIM}connected again, to node {node}{DIM:#}"));
            }
            Update::NotRenewed { reason } => {
                say(&format!("the token was not renewed: {reason}; the former one goes on until it expires"));
            }
            Update::Gap { channel, from, position } if from.epoch == position.epoch => {
                say(&format!("{channel}: the events after {from}, up to and including {position}, are lost"));
            }
            Update::Gap { channel, from, position } => {
                let (channel, from, position) = (channel.clone(), from.clone(), position.clone());
                self.lost.push(LostLog { channel, from, position });
                self.due = Some(Instant::now() + COLLECT);
            }
            _ => {}
        }
    }

    /// Whether a gap of this channel is not reported yet. It must be, before the events that follow it.
    pub fn has_gap(&self, channel: &str) -> bool {
        self.lost.iter().any(|lost| *lost.channel == *channel)
    }

    /// Waits until the collected gaps are to be reported; for ever if there are none.
    pub async fn due(&self) {
        match self.due {
            Some(due) => sleep_until(due).await,
            None => std::future::pending().await,
        }
    }

    /// Reports the collected gaps.
    pub fn flush(&mut self) {
        self.due = None;
        if let Some(line) = summary(&std::mem::take(&mut self.lost)) {
            say(&line);
        }
    }
}

/// When the next attempt comes, for people.
fn after(pause: Duration) -> String {
    if pause < Duration::from_millis(1) { "at once".to_owned() } else { format!("in {}", human(pause)) }
}

/// The gaps of a lost log in one sentence.
fn summary(lost: &[LostLog]) -> Option<String> {
    if let [LostLog { channel, from, position }] = lost {
        return Some(format!(
            "{channel}: the events after {from}, up to and including {position}, are lost: the log began anew"
        ));
    }
    // A channel at the offset 0 had no event that the user saw.
    let (seen, unseen): (Vec<_>, Vec<_>) = lost.iter().partition(|lost| lost.from.offset > 0);
    let after = seen.iter().map(|lost| format!("{} {}", lost.channel, lost.from)).collect::<Vec<_>>().join(", ");
    let what = match (seen.len(), unseen.len()) {
        (0, 0) => return None,
        (0, unseen) => format!("in {unseen} channels"),
        (_, 0) => format!("after {after}"),
        (_, 1) => format!("after {after}, and in 1 channel that had none"),
        (_, unseen) => format!("after {after}, and in {unseen} channels that had none"),
    };
    Some(format!("the log was lost and began anew: events may be missing {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(channel: &str, from: &str) -> LostLog {
        LostLog { channel: channel.into(), from: from.parse().unwrap(), position: "new:0".parse().unwrap() }
    }

    #[test]
    fn no_pause_is_no_number() {
        assert_eq!(
            [0, 1, 30].map(|millis| after(Duration::from_millis(millis))),
            ["at once", "in 1.0 ms", "in 30.0 ms"]
        );
    }

    #[test]
    fn a_lost_log_is_one_sentence() {
        let line = |lost: &[LostLog]| summary(lost).unwrap_or_default();
        assert_eq!(line(&[]), "");
        let one = "a: the events after old:0, up to and including new:0, are lost: the log began anew";
        assert_eq!(line(&[lost("a", "old:0")]), one);
        let [a, b, c] = ["a", "b", "c"].map(|channel| lost(channel, "old:0"));
        let anew = "the log was lost and began anew: events may be missing";
        assert_eq!(line(&[a, b]), format!("{anew} in 2 channels"));
        let all = [lost("d", "old:7"), c, lost("e", "older:1")];
        assert_eq!(line(&all), format!("{anew} after d old:7, e older:1, and in 1 channel that had none"));
        assert_eq!(line(&[lost("a", "b:2"), lost("c", "d:4")]), format!("{anew} after a b:2, c d:4"));
    }
}
