//! Commits of events: appends those of several publishers at once, and deletes expired events and ids.
//!
//! An append deletes about as many expired rows as it inserts, so that the database does not grow under load.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::clock::{LogTime, millis};
use super::database::Failure;
use super::latest_rows;
use super::reading::Retained;
use super::recovery::OpenLog;
use super::rows::{self, ChannelNumber, ChannelRow, EventTime};
use crate::broker::{Appended, LatestRetention, Limits, Retention};
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
    /// How many subjects lost their newest event because there are too many, of each channel that got events.
    pub evicted: Vec<(ChannelId, u64)>,
}

/// A channel that gets events.
struct Written {
    /// As it is after the commit.
    row: ChannelRow,
    /// How many events it gets.
    new: u64,
    /// How many subjects have a newest event.
    subjects: u64,
    evicted: u64,
}

/// Appends the batches of several publishers in one transaction.
pub(super) fn append(log: &mut OpenLog, limits: &Limits, batches: &[&[Event]]) -> Result<Committed, Failure> {
    let OpenLog { database, clock, channels, subjects, .. } = log;
    let time = clock.now();
    let window = millis(limits.dedup_window);
    let mut written: BTreeMap<ChannelId, Written> = BTreeMap::new();
    let outcomes = database.write(|to| {
        let mut outcomes = Vec::with_capacity(batches.len());
        for events in batches {
            let mut outcome = Vec::with_capacity(events.len());
            for event in *events {
                let unchanged = || {
                    let index = event.channel.index();
                    Written { row: channels[index].clone(), new: 0, subjects: subjects[index], evicted: 0 }
                };
                let Written { row: channel, new, subjects, .. } =
                    written.entry(event.channel).or_insert_with(unchanged);
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
                if let (Some(_), Some(subject)) = (limits.retention(event.channel).latest, &event.subject) {
                    let is_new = latest_rows::keep(to, channel.number, subject, new_entry, &event.json)?;
                    *subjects += u64::from(is_new);
                }
                (channel.head, *new) = (new_entry.offset, *new + 1);
                let position = Position::new(channel.epoch.clone(), new_entry.offset);
                outcome.push(Appended { position, duplicate: false });
            }
            outcomes.push(outcome);
        }
        for (id, Written { row, new, subjects, evicted }) in &mut written {
            let (retention, most) = (limits.retention(*id), MIN_TRIM.max(2 * *new));
            if let Some(kept) = retention.latest {
                *evicted = evict(to, row.number, subjects, kept, time)?;
            }
            if row.head % TRIM_INTERVAL < *new {
                rows::delete_ids(to, time.saturating_sub(window), most)?;
                delete_expired(to, row, Retained::now(retention, clock), most)?;
                if let Some(kept) = retention.latest {
                    *subjects -= latest_rows::expire(to, row.number, time.saturating_sub(millis(kept.max_age)), most)?;
                }
            }
        }
        Ok(outcomes)
    })?;
    let new_events = written.values().map(|written| written.new).sum();
    let mut evicted = Vec::with_capacity(written.len());
    for (id, written) in written {
        (channels[id.index()], subjects[id.index()]) = (written.row, written.subjects);
        evicted.push((id, written.evicted));
    }
    Ok(Committed { outcomes, new_events, evicted })
}

/// Deletes the subjects of a channel that are too many; how many there were whose values were not too old.
fn evict(
    to: &Connection,
    number: ChannelNumber,
    subjects: &mut u64,
    kept: LatestRetention,
    time: LogTime,
) -> Result<u64, Failure> {
    // The limit may have been lowered.
    let excess = subjects.saturating_sub(kept.max_subjects).min(MAX_IDLE_TRIM);
    if excess == 0 {
        return Ok(0);
    }
    let expired = latest_rows::expire(to, number, time.saturating_sub(millis(kept.max_age)), excess)?;
    let evicted = latest_rows::evict(to, number, excess - expired)?;
    *subjects -= expired + evicted;
    Ok(evicted)
}

/// Deletes the newest events of subjects of the channels whose type does not keep them any more. Otherwise they would be wrong
/// if it kept them again later.
pub(super) fn forget_unkept(log: &mut OpenLog, limits: &Limits) -> Result<(), Failure> {
    let OpenLog { database, channels, subjects, .. } = log;
    let unkept = |((retention, subjects), _): &((Retention, &mut u64), &ChannelRow)| {
        retention.latest.is_none() && **subjects > 0
    };
    for ((_, subjects), channel) in limits.each().zip(subjects).zip(channels.iter()).filter(unkept) {
        database.write(|to| latest_rows::forget(to, channel.number))?;
        *subjects = 0;
    }
    Ok(())
}

/// Deletes expired events, ids and newest events of subjects of channels that get no events.
pub(super) fn trim(log: &mut OpenLog, limits: &Limits) -> Result<(), Failure> {
    let OpenLog { database, clock, channels, subjects, .. } = log;
    let now = clock.now();
    let before = now.saturating_sub(millis(limits.dedup_window));
    let oldest_latest = |kept: LatestRetention| now.saturating_sub(millis(kept.max_age));
    let latest: Vec<_> = limits.each().map(|retention| retention.latest.map(oldest_latest)).collect();
    let retained: Vec<_> = limits.each().map(|retention| Retained::now(retention, clock)).collect();
    let has_expired = database.read(|from| {
        let mut has_expired = rows::has_old_ids(from, before)?;
        for (channel, retained) in channels.iter().zip(&retained) {
            has_expired |= last_expired(from, channel, *retained, MAX_IDLE_TRIM)?.is_some();
        }
        for (channel, before) in channels.iter().zip(&latest) {
            has_expired |= before.map_or(Ok(false), |before| latest_rows::has_old(from, channel.number, before))?;
        }
        Ok(has_expired)
    })?;
    if !has_expired {
        return Ok(());
    }
    let (mut after, mut subjects_after) = (channels.clone(), subjects.clone());
    database.write(|to| {
        for (channel, retained) in after.iter_mut().zip(&retained) {
            delete_expired(to, channel, *retained, MAX_IDLE_TRIM)?;
        }
        for ((channel, before), subjects) in channels.iter().zip(&latest).zip(&mut subjects_after) {
            if let Some(before) = before {
                *subjects -= latest_rows::expire(to, channel.number, *before, MAX_IDLE_TRIM)?;
            }
        }
        rows::delete_ids(to, before, MAX_IDLE_TRIM)
    })?;
    (*channels, *subjects) = (after, subjects_after);
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
