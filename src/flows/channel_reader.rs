//! Reads one channel for a flow: every event after a position, in order, and every gap.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::access::Caller;
use crate::bus::{Bus, LogReader};
use crate::event::{ChannelId, Json, Position};

/// Pause after the first read of the log that failed. It doubles up to [`MAX_RETRY`].
const RETRY: Duration = Duration::from_millis(200);
const MAX_RETRY: Duration = Duration::from_secs(3);
/// How long a look for the oldest event may take.
const LOOK: Duration = Duration::from_secs(2);

/// A channel, and how far a flow has read it.
pub struct ChannelReader {
    reader: LogReader,
    at: Position,
}

/// The time of an event of the log, in milliseconds since 1970.
pub fn event_time(json: &str) -> Option<u64> {
    let event = Json::parse(json).ok()?;
    let time = event.get("time").and_then(Json::as_str)?.parse::<jiff::Timestamp>().ok()?;
    u64::try_from(time.as_millisecond()).ok()
}

/// What comes next in a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// An event: its position, and the CloudEvent's JSON.
    Event { position: Position, json: Arc<str> },
    /// The events after `from` up to and including `to` are lost.
    Gap { from: Position, to: Position },
}

impl ChannelReader {
    /// A reader that begins after `at`, which may be of an earlier epoch.
    pub fn new(bus: &Bus, caller: &Caller, channel: ChannelId, at: Position) -> Self {
        Self { reader: bus.reader(caller, channel), at }
    }

    /// Where this node saw a channel begin, if that was in another epoch than `now`: the broker has lost the log, and perhaps how
    /// far a flow came with it. A reader that begins there meets the gap.
    pub fn lost_before(bus: &Bus, caller: &Caller, channel: ChannelId, now: &Position) -> Option<Position> {
        bus.reader(caller, channel).first().filter(|first| !first.same_epoch(now))
    }

    /// The next steps, at most `limit` and at least one: waits until there is one. A gap comes alone.
    ///
    /// Cancel safe: a call that is dropped has read nothing.
    pub async fn next(&mut self, limit: usize) -> Vec<Step> {
        let mut retry = RETRY;
        loop {
            let page = match self.reader.read(&self.at, limit.max(1)).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::debug!(%error, "a flow cannot read the log; it tries again");
                    sleep(retry).await;
                    retry = (retry * 2).min(MAX_RETRY);
                    continue;
                }
            };
            retry = RETRY;
            if let Some(to) = page.bounds.gap_after(&self.at) {
                let from = std::mem::replace(&mut self.at, to.clone());
                return vec![Step::Gap { from, to }];
            }
            let mut steps = Vec::with_capacity(page.entries.len());
            for entry in page.entries {
                if entry.offset == self.at.offset + 1 {
                    self.at.offset = entry.offset;
                    steps.push(Step::Event { position: self.at.clone(), json: entry.json });
                }
            }
            if !steps.is_empty() {
                return steps;
            }
            self.reader.grown(&self.at).await;
        }
    }

    /// The time of the first event after `position` that the log has, in milliseconds since 1970. `None` where there is none, or
    /// the broker does not answer in time.
    pub async fn oldest_after(&self, position: &Position) -> Option<u64> {
        let page = timeout(LOOK, self.reader.read(position, 1)).await.ok()?.ok()?;
        page.entries.first().and_then(|entry| event_time(&entry.json))
    }

    /// How many events the log has after `position`, as far as this node knows. Of a position of an earlier epoch, as many as
    /// the newest has offsets.
    pub fn behind(&self, position: &Position) -> u64 {
        match self.reader.head() {
            Some(head) if head.same_epoch(position) => head.offset.saturating_sub(position.offset),
            Some(head) => head.offset,
            None => 0,
        }
    }
}
