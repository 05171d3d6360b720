//! What a channel's log answers: read at one instant of the store, so that its bounds and its events fit together.

use std::sync::Arc;

use rusqlite::Connection;

use super::clock::{Clock, LogTime, millis};
use super::database::Failure;
use super::rows::{self, Channel};
use crate::broker::{Bounds, Limits, Page};
use crate::event::Position;

/// What is retained, at one time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retention {
    most: u64,
    since: LogTime,
}

/// A channel's log, as far as it is retained.
#[derive(Debug)]
pub(super) struct LogSnapshot {
    pub name: Arc<str>,
    pub retention: Retention,
}

/// What the answer to a read is.
#[derive(Debug)]
pub(super) enum Found {
    Page(Page),
    /// This position is known, and the log does not have it.
    Lost(Position),
}

impl Retention {
    pub fn now(limits: &Limits, clock: &Clock) -> Self {
        let since = clock.now().saturating_sub(millis(limits.log_max_age));
        Self { most: limits.log_max_events, since }
    }

    /// The oldest offset that is retained; `head + 1` where there is none.
    pub fn oldest(self, from: &Connection, channel: &Channel) -> Result<u64, Failure> {
        let &Channel { number, head, first, .. } = channel;
        let low = first.max((head + 1).saturating_sub(self.most));
        let oldest = rows::first_since(from, number, low..=head, self.since)?;
        Ok(oldest.unwrap_or(head + 1))
    }
}

impl LogSnapshot {
    /// What [`Broker::read`](crate::broker::Broker::read) answers.
    pub fn page(&self, from: &Connection, known: Option<Position>, limit: usize) -> Result<Found, Failure> {
        let channel = rows::channel(from, &self.name)?;
        let mut oldest = self.retention.oldest(from, &channel)?;
        let (first, limit) = match known {
            Some(known) if known.epoch == channel.epoch && known.offset > channel.head => {
                return Ok(Found::Lost(known));
            }
            Some(known) if known.epoch == channel.epoch => (oldest.max(known.offset + 1), limit),
            Some(known) => {
                let same = rows::same_as_in(from, channel.number, &known.epoch)?;
                oldest = oldest.max(same.min(known.offset) + 1);
                (oldest, limit)
            }
            None => (oldest, 0),
        };
        let Channel { number, epoch, head, .. } = channel;
        let mut entries = Vec::new();
        if first <= head && limit > 0 {
            entries = rows::page(from, number, first..=head, limit)?;
            match entries.first() {
                // What is retained begins after a hole.
                Some(entry) if entry.offset > first => oldest = entry.offset,
                Some(_) => {}
                None => oldest = head + 1,
            }
        }
        Ok(Found::Page(Page { bounds: Bounds { epoch, head, oldest }, entries }))
    }

    /// The position after which stands what was taken at this time or later.
    pub fn begin(&self, from: &Connection, time: LogTime) -> Result<Position, Failure> {
        let channel = rows::channel(from, &self.name)?;
        let retention = Retention { since: self.retention.since.max(time), ..self.retention };
        let oldest = retention.oldest(from, &channel)?;
        Ok(Position::new(channel.epoch, oldest - 1))
    }
}
