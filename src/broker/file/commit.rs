//! Commits of events: appends those of several publishers at once, and deletes expired events and ids.
//!
//! An append deletes about as many expired rows as it inserts, so that the database does not grow under load.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::clock::millis;
use super::database::Failure;
use super::reading::Retained;
use super::recovery::OpenLog;
use super::rows::{self, ChannelRow, EventTime};
use crate::broker::{Appended, Limits};
use crate::event::{ChannelId, Event, Position};

/// A channel deletes expired rows once in this many events.
const TRIM_INTERVAL: u64 = 64;
/// The rows that an append deletes at least: more than were inserted in the interval.
const MIN_TRIM: u64 = 2 * TRIM_INTERVAL;
/// The most rows of a channel that one maintenance deletes, because publishers wait meanwhile.
const MAX_IDLE_TRIM: u64 = 4_096;

/// The outcome of a commit.
pub(super) struct Committed {
    /// The outcome of each event, for each batch.
    pub outcomes: Vec<Vec<Appended>>,
    /// How many events were no duplicates.
    pub new_events: u64,
}

/// Appends the batches of several publishers in one transaction.
pub(super) fn append(log: &mut OpenLog, limits: &Limits, batches: &[&[Event]]) -> Result<Committed, Failure> {
    let OpenLog { database, clock, channels, .. } = log;
    let time = clock.now();
    let window = millis(limits.dedup_window);
    // Each channel that gets events, as it is after the commit, and how many it gets.
    let mut written: BTreeMap<ChannelId, (ChannelRow, u64)> = BTreeMap::new();
    let outcomes = database.write(|to| {
        let mut outcomes = Vec::with_capacity(batches.len());
        for events in batches {
            let mut outcome = Vec::with_capacity(events.len());
            for event in *events {
                let row = || (channels[event.channel.index()].clone(), 0);
                let (channel, new) = written.entry(event.channel).or_insert_with(row);
                let new_entry = EventTime { offset: channel.head + 1, time };
                if let Some(first) = rows::insert_id(to, channel.number, &event.id, new_entry)? {
                    // The offset is valid in the current epoch too: a loss takes an event and its id together.
                    if time <= first.time + window {
                        let position = Position::new(channel.epoch.clone(), first.offset);
                        outcome.push(Appended { position, duplicate: true });
                        continue;
                    }
                    rows::replace_id(to, channel.number, &event.id, new_entry)?;
                }
                rows::insert_event(to, channel.number, new_entry.offset, time, &event.json)?;
                (channel.head, *new) = (new_entry.offset, *new + 1);
                let position = Position::new(channel.epoch.clone(), new_entry.offset);
                outcome.push(Appended { position, duplicate: false });
            }
            outcomes.push(outcome);
        }
        for (id, (channel, new)) in written.iter_mut().filter(|(_, (row, new))| row.head % TRIM_INTERVAL < *new) {
            let most = MIN_TRIM.max(2 * *new);
            rows::delete_ids(to, time.saturating_sub(window), most)?;
            delete_expired(to, channel, Retained::now(limits.retention(*id), clock), most)?;
        }
        Ok(outcomes)
    })?;
    let new_events = written.values().map(|(_, new)| new).sum();
    written.into_iter().for_each(|(id, (channel, _))| channels[id.index()] = channel);
    Ok(Committed { outcomes, new_events })
}

/// Deletes expired events and ids of channels that get no events.
pub(super) fn trim(log: &mut OpenLog, limits: &Limits) -> Result<(), Failure> {
    let OpenLog { database, clock, channels, .. } = log;
    let before = clock.now().saturating_sub(millis(limits.dedup_window));
    let retained: Vec<_> = limits.each().map(|retention| Retained::now(retention, clock)).collect();
    let has_expired = database.read(|from| {
        let mut has_expired = rows::has_old_ids(from, before)?;
        for (channel, retained) in channels.iter().zip(&retained) {
            has_expired |= last_expired(from, channel, *retained, MAX_IDLE_TRIM)?.is_some();
        }
        Ok(has_expired)
    })?;
    if !has_expired {
        return Ok(());
    }
    let mut after = channels.clone();
    database.write(|to| {
        for (channel, retained) in after.iter_mut().zip(&retained) {
            delete_expired(to, channel, *retained, MAX_IDLE_TRIM)?;
        }
        rows::delete_ids(to, before, MAX_IDLE_TRIM)
    })?;
    *channels = after;
    Ok(())
}

/// Deletes events that are no longer retained, the oldest first, at most so many.
fn delete_expired(to: &Connection, channel: &mut ChannelRow, retained: Retained, most: u64) -> Result<(), Failure> {
    if let Some(last) = last_expired(to, channel, retained, most)? {
        rows::delete_events(to, channel, channel.first..=last)?;
    }
    Ok(())
}

/// The last offset to delete, if there is any. The newest event is never deleted, because its offset is the head.
fn last_expired(
    from: &Connection,
    channel: &ChannelRow,
    retained: Retained,
    most: u64,
) -> Result<Option<u64>, Failure> {
    let oldest = retained.oldest(from, channel)?;
    let last = (oldest - 1).min(channel.head.saturating_sub(1)).min((channel.first + most).saturating_sub(1));
    Ok((channel.first <= last).then_some(last))
}
