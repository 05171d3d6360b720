//! One commit: the events of all who came meanwhile, their ids, and the deletion of about as much as is too old.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::clock::millis;
use super::database::Failure;
use super::opened::Opened;
use super::reading::Retention;
use super::rows::{self, Channel, Seen};
use crate::broker::{Appended, Limits};
use crate::event::{Event, Position};

/// How many events a channel takes between two deletions of old ones.
const TRIM_EVERY: u64 = 64;
/// What is deleted at once, at least: more than comes in between.
const TRIM_LEAST: u64 = 2 * TRIM_EVERY;
/// What is deleted at once where nobody waits.
const TRIM_IDLE: u64 = 4_096;

/// What was committed.
pub(super) struct Committed {
    /// For each publisher, for each of its events.
    pub answers: Vec<Vec<Appended>>,
    /// Events that were new.
    pub new: u64,
}

/// Appends the events of several publishers, all or none.
pub(super) fn commit(opened: &mut Opened, limits: &Limits, group: &[&[Event]]) -> Result<Committed, Failure> {
    let Opened { database, clock, channels, .. } = opened;
    let time = clock.now();
    let window = millis(limits.dedup_window);
    let retention = Retention::now(limits, clock);
    // Each channel that is written to, as it will be, and how many events are new in it.
    let mut written: BTreeMap<usize, (Channel, u64)> = BTreeMap::new();
    let answers = database.write(|to| {
        let mut answers = Vec::with_capacity(group.len());
        for events in group {
            let mut answer = Vec::with_capacity(events.len());
            for event in *events {
                let index = event.channel.0 as usize;
                let (channel, new) = written.entry(index).or_insert_with(|| (channels[index].clone(), 0));
                let here = Seen { offset: channel.head + 1, time };
                if let Some(before) = rows::take_id(to, channel.number, &event.id, here)? {
                    // What is in the store was not lost, and of what was lost the store has no ids.
                    if time <= before.time + window {
                        let position = Position::new(channel.epoch.clone(), before.offset);
                        answer.push(Appended { position, duplicate: true });
                        continue;
                    }
                    rows::take_id_again(to, channel.number, &event.id, here)?;
                }
                rows::add(to, channel.number, here.offset, time, &event.json)?;
                (channel.head, *new) = (here.offset, *new + 1);
                answer.push(Appended { position: Position::new(channel.epoch.clone(), here.offset), duplicate: false });
            }
            answers.push(answer);
        }
        for (channel, new) in written.values_mut().filter(|(channel, new)| channel.head % TRIM_EVERY < *new) {
            let most = TRIM_LEAST.max(2 * *new);
            rows::forget_ids(to, time.saturating_sub(window), most)?;
            forget(to, channel, retention, most)?;
        }
        Ok(answers)
    })?;
    let new = written.values().map(|(_, new)| new).sum();
    written.into_iter().for_each(|(index, (channel, _))| channels[index] = channel);
    Ok(Committed { answers, new })
}

/// Deletes what is too old in channels to which nothing comes.
pub(super) fn trim(opened: &mut Opened, limits: &Limits) -> Result<(), Failure> {
    let Opened { database, clock, channels, .. } = opened;
    let before = clock.now().saturating_sub(millis(limits.dedup_window));
    let retention = Retention::now(limits, clock);
    let old = database.read(|from| {
        let mut old = rows::has_old_ids(from, before)?;
        for channel in channels.iter() {
            old |= last_leftover(from, channel, retention, TRIM_IDLE)?.is_some();
        }
        Ok(old)
    })?;
    if !old {
        return Ok(());
    }
    let mut after = channels.clone();
    database.write(|to| {
        for channel in &mut after {
            forget(to, channel, retention, TRIM_IDLE)?;
        }
        rows::forget_ids(to, before, TRIM_IDLE)
    })?;
    *channels = after;
    Ok(())
}

/// Deletes what is in the store but no part of the log any more, the oldest first, at most so many.
fn forget(to: &Connection, channel: &mut Channel, retention: Retention, most: u64) -> Result<(), Failure> {
    if let Some(last) = last_leftover(to, channel, retention, most)? {
        rows::forget_events(to, channel.number, channel.first..=last)?;
        channel.first = last + 1;
    }
    Ok(())
}

/// The last offset to delete, if there is any. Never the newest event's: it says how far the channel has come.
fn last_leftover(
    from: &Connection,
    channel: &Channel,
    retention: Retention,
    most: u64,
) -> Result<Option<u64>, Failure> {
    let oldest = retention.oldest(from, channel)?;
    let last = (oldest - 1).min(channel.head.saturating_sub(1)).min((channel.first + most).saturating_sub(1));
    Ok((channel.first <= last).then_some(last))
}
