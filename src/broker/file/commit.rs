//! One commit: the events of all who came meanwhile, their ids, and the deletion of about as much as is too old.

use std::collections::BTreeMap;

use super::clock::{LogTime, millis};
use super::logs::{Head, Logs};
use super::opened::Opened;
use super::rows::{self, Seen};
use super::store::Failure;
use crate::broker::{Appended, Limits};
use crate::event::{ChannelId, Event, Position};

/// How many events a channel takes between two deletions of old ones.
const TRIM_EVERY: u64 = 64;
/// What is deleted at once, at least: more than comes in between.
const TRIM_LEAST: u64 = 2 * TRIM_EVERY;
/// What is deleted at once where nobody waits.
const TRIM_IDLE: u64 = 4_096;

/// What was committed.
pub(super) struct Committed {
    pub time: LogTime,
    /// For each publisher, for each of its events.
    pub answers: Vec<Vec<Appended>>,
    /// Events that were new.
    pub new: u64,
}

/// Appends the events of several publishers, all or none.
pub(super) fn commit(
    opened: &mut Opened,
    logs: &Logs,
    limits: &Limits,
    group: &[&[Event]],
) -> Result<Committed, Failure> {
    let time = opened.clock.now();
    let window = millis(limits.dedup_window);
    let mut heads: BTreeMap<ChannelId, (Head, u64)> = BTreeMap::new();
    let mut deleted = Vec::new();
    let answers = opened.store.write(|to| {
        let mut answers = Vec::with_capacity(group.len());
        for events in group {
            let mut answer = Vec::with_capacity(events.len());
            for event in *events {
                let (head, new) = heads.entry(event.channel).or_insert_with(|| (logs.head(event.channel), 0));
                let here = Seen { offset: head.head + 1, time };
                let before = rows::take_id(to, head.number, &event.id, here)?;
                if let Some(before) = before {
                    // One of an epoch that is lost is new here.
                    if (head.base + 1..=head.head).contains(&before.offset) && time <= before.time + window {
                        let position = Position::new(head.epoch.clone(), before.offset);
                        answer.push(Appended { position, duplicate: true });
                        continue;
                    }
                    rows::take_id_again(to, head.number, &event.id, here)?;
                }
                rows::add(to, head.number, here.offset, time, &event.json)?;
                (head.head, *new) = (here.offset, *new + 1);
                answer.push(Appended { position: Position::new(head.epoch.clone(), here.offset), duplicate: false });
            }
            answers.push(answer);
        }
        for (&channel, &(ref head, new)) in heads.iter().filter(|(_, (head, new))| head.head % TRIM_EVERY < *new) {
            let most = TRIM_LEAST.max(2 * new);
            rows::forget_ids(to, time.saturating_sub(window), most)?;
            if let Some(offsets) = logs.leftover(channel, most) {
                deleted.push((channel, *offsets.end()));
                rows::forget_events(to, head.number, offsets)?;
            }
        }
        Ok(answers)
    })?;
    deleted.into_iter().for_each(|(channel, last)| logs.deleted(channel, last));
    Ok(Committed { time, answers, new: heads.values().map(|(_, new)| new).sum() })
}

/// Deletes what is too old in channels to which nothing comes.
pub(super) fn trim(opened: &mut Opened, logs: &Logs, limits: &Limits) -> Result<(), Failure> {
    for search in logs.ageing() {
        let channel = search.channel();
        let found = opened.store.read(|from| search.run(from))?;
        logs.learn(channel, &found);
    }
    let before = opened.clock.now().saturating_sub(millis(limits.dedup_window));
    let leftover: Vec<_> =
        logs.channels().filter_map(|channel| Some((channel, logs.leftover(channel, TRIM_IDLE)?))).collect();
    if leftover.is_empty() && !opened.store.read(|from| rows::has_old_ids(from, before))? {
        return Ok(());
    }
    opened.store.write(|to| {
        for (channel, offsets) in &leftover {
            rows::forget_events(to, logs.head(*channel).number, offsets.clone())?;
        }
        rows::forget_ids(to, before, TRIM_IDLE)
    })?;
    leftover.into_iter().for_each(|(channel, offsets)| logs.deleted(channel, *offsets.end()));
    Ok(())
}
