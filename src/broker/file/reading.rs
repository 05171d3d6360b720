//! Reading one channel's log: pages, bounds and positions.
//!
//! Each read uses one snapshot of the database, so that its bounds and its events belong together.

use std::sync::Arc;

use rusqlite::Connection;

use super::clock::{LogClock, LogTime, millis};
use super::database::Failure;
use super::epoch_rows;
use super::latest_rows;
use super::rows::{self, ChannelRow};
use crate::broker::{Bounds, LatestOf, LatestPage, Located, Page, Retention};
use crate::event::Position;

/// Which events are retained, at one time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retained {
    max_events: u64,
    /// The log time of the oldest retained event.
    since: LogTime,
    /// The same of the newest events of subjects; in the future if the type keeps none.
    latest_since: LogTime,
}

/// Reads the log of one channel.
#[derive(Debug)]
pub(super) struct ChannelReader {
    pub name: Arc<str>,
    pub retained: Retained,
}

/// The outcome of reading after a position.
#[derive(Debug)]
pub(super) enum ReadOutcome {
    Page(Page),
    /// The position is ahead of the log in its own epoch: the log lost events, and a new epoch must begin.
    AheadOfLog(Position),
}

impl Retained {
    pub fn now(retention: Retention, clock: &LogClock) -> Self {
        let now = clock.now();
        let since = now.saturating_sub(millis(retention.max_age));
        // The database counts in 63 bits.
        let latest_since =
            retention.latest.map_or(i64::MAX as LogTime, |kept| now.saturating_sub(millis(kept.max_age)));
        Self { max_events: retention.max_events, since, latest_since }
    }

    /// The first retained offset; `head + 1` if there is none.
    pub fn oldest(self, from: &Connection, channel: &ChannelRow) -> Result<u64, Failure> {
        let &ChannelRow { number, head, first, .. } = channel;
        let low = first.max((head + 1).saturating_sub(self.max_events));
        let oldest = rows::first_since(from, number, low..=head, self.since)?;
        Ok(oldest.unwrap_or(head + 1))
    }
}

impl ChannelReader {
    /// Reads a page, as [`Log::read`](crate::broker::Log::read) describes it.
    pub fn page(&self, from: &Connection, known: Option<Position>, limit: usize) -> Result<ReadOutcome, Failure> {
        let channel = rows::channel(from, &self.name)?;
        let mut oldest = self.retained.oldest(from, &channel)?;
        let (first, limit) = match known {
            Some(known) if known.epoch == channel.epoch && known.offset > channel.head => {
                return Ok(ReadOutcome::AheadOfLog(known));
            }
            Some(known) if known.epoch == channel.epoch => (oldest.max(known.offset + 1), limit),
            Some(known) => {
                let shared = epoch_rows::shared_with(from, channel.number, &known.epoch)?;
                oldest = oldest.max(shared.min(known.offset) + 1);
                (oldest, limit)
            }
            None => (oldest, 0),
        };
        let ChannelRow { number, epoch, head, .. } = channel;
        let mut entries = Vec::new();
        if first <= head && limit > 0 {
            entries = rows::page(from, number, first..=head, limit)?;
            match entries.first() {
                // Events are missing before this one: the first available offset comes after them.
                Some(entry) if entry.offset > first => oldest = entry.offset,
                Some(_) => {}
                None => oldest = head + 1,
            }
        }
        Ok(ReadOutcome::Page(Page { bounds: Bounds { epoch, head, oldest }, entries }))
    }

    /// The newest event of a subject.
    pub fn latest(&self, from: &Connection, subject: &str) -> Result<LatestOf, Failure> {
        let ChannelRow { number, epoch, head, .. } = rows::channel(from, &self.name)?;
        let entry = latest_rows::find(from, number, subject, self.retained.latest_since)?;
        Ok(LatestOf { head: Position::new(epoch, head), entry })
    }

    /// A page of the newest events of subjects.
    pub fn latest_page(&self, from: &Connection, after: u64, limit: usize) -> Result<LatestPage, Failure> {
        let ChannelRow { number, epoch, head, .. } = rows::channel(from, &self.name)?;
        let (entries, more) = latest_rows::page(from, number, after, self.retained.latest_since, limit)?;
        Ok(LatestPage { head: Position::new(epoch, head), entries, more })
    }

    /// Finds a log time, as [`Log::position_at`](crate::broker::Log::position_at) describes it.
    pub fn position_at(&self, from: &Connection, time: LogTime) -> Result<Located, Failure> {
        let channel = rows::channel(from, &self.name)?;
        let oldest = self.retained.oldest(from, &channel)?;
        let ChannelRow { number, epoch, head, first, deleted, .. } = channel;
        let later = rows::first_since(from, number, first..=head, time)?.unwrap_or(head + 1);
        // The newest event that was appended before the time: in the database, or deleted from it.
        let offset = match rows::newest_before(from, number, later)? {
            Some(event) => event.offset,
            None if deleted.time < time => deleted.offset,
            None => 0,
        };
        let position = match epoch_rows::first_ended_since(from, number, time)? {
            Some((past, shared)) => Position::new(past, offset.min(shared)),
            None => Position::new(epoch.clone(), offset),
        };
        Ok(Located { position, bounds: Bounds { epoch, head, oldest: oldest.max(later) } })
    }
}
