//! What is known of each channel's log without asking the disk: its bounds, and its newest events, for the relay, which
//! reads each event as soon as it is written.
//!
//! The writer changes it after each commit, so nothing is told here that is not in the store. One lock for all channels:
//! what happens under it are moves of memory.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::clock::{Clock, LogTime, millis};
use super::rows::{self, Number, Seen};
use super::store::{Failure, Readers};
use crate::broker::{Entry, Limits, PAGE_BYTES, Page};
use crate::event::{ChannelId, Epoch, Moment, Position};

/// The bytes of newest events that are kept of each channel: what the relay is behind of under load.
const RECENT_BYTES: usize = 2 * PAGE_BYTES;
/// When the newest events are dropped of a channel in which nothing happens.
const AT_REST: LogTime = 10_000;

pub(super) struct Logs {
    limits: Limits,
    state: Mutex<State>,
}

/// What a store is read with.
#[derive(Clone)]
pub(super) struct Disk {
    pub readers: Arc<Readers>,
    pub clock: Clock,
}

struct State {
    /// Or why there is none.
    disk: Result<Disk, String>,
    logs: Vec<Log>,
}

#[derive(Debug)]
struct Log {
    number: Number,
    epoch: Epoch,
    /// The offset before the epoch's first.
    base: u64,
    head: u64,
    /// When the head was appended.
    newest: LogTime,
    /// The lowest offset in the store, of whatever epoch.
    stored: u64,
    /// No event before this one is retained.
    low: u64,
    /// No event at `low` or later was appended before this.
    oldest: LogTime,
    /// The newest events; the last is the head.
    recent: VecDeque<Arc<str>>,
    recent_bytes: usize,
}

/// Where a channel stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub number: Number,
    pub epoch: Epoch,
    pub base: u64,
    pub head: u64,
}

/// What the answer to a read takes.
pub(super) enum Look {
    /// Nothing.
    Page(Page),
    /// The disk.
    Disk(Disk, Search),
    /// A new epoch: this position is known, and the log does not have it.
    Behind(Position),
}

/// A read of the store.
#[derive(Debug)]
pub(super) struct Search {
    channel: ChannelId,
    number: Number,
    epoch: Epoch,
    low: u64,
    head: u64,
    /// What was appended before is not retained.
    since: LogTime,
    /// The first offset that is asked for.
    first: u64,
    limit: usize,
}

/// What a [`Search`] found: the page, and where the retained events begin, with the time of the first.
#[derive(Debug)]
pub(super) struct Found {
    page: Page,
    low: u64,
    oldest: LogTime,
}

impl Logs {
    /// Nothing can be read yet.
    pub fn new(limits: Limits) -> Self {
        let state = State { disk: Err("it is not open yet".into()), logs: Vec::new() };
        Self { limits, state: Mutex::new(state) }
    }

    /// From now on it is this store, with these channels, in the catalogue's order; or none, for a reason.
    pub fn replace(&self, disk: Result<Disk, String>, channels: Vec<rows::Channel>) {
        let logs = channels.into_iter().map(Log::new).collect();
        let before = std::mem::replace(&mut *self.lock(), State { disk, logs });
        // Files are closed without the lock.
        drop(before);
    }

    pub fn look(&self, channel: ChannelId, known: Option<&Position>, limit: usize) -> Result<Look, String> {
        let mut state = self.lock();
        let State { disk, logs } = &mut *state;
        let disk = disk.as_ref().map_err(Clone::clone)?;
        let log = &mut logs[channel.0 as usize];
        let (first, limit) = match known {
            Some(known) if known.epoch == log.epoch && known.offset > log.head => {
                return Ok(Look::Behind(known.clone()));
            }
            Some(known) if known.epoch == log.epoch => (known.offset + 1, limit),
            Some(_) => (0, limit),
            None => (log.head + 1, 0),
        };
        let (now, age) = (disk.clock.now(), millis(self.limits.log_max_age));
        log.low = log.low.max(log.base + 1).max((log.head + 1).saturating_sub(self.limits.log_max_events));
        // To the hundredth, since else a log that loses its oldest all the time is always asked of the disk.
        let too_old = log.low <= log.head && now > log.oldest + age + age / 100;
        if !too_old && let Some(page) = log.page(first, limit) {
            return Ok(Look::Page(page));
        }
        let (number, epoch, low, head) = (log.number, log.epoch.clone(), log.low, log.head);
        let since = now.saturating_sub(age);
        Ok(Look::Disk(disk.clone(), Search { channel, number, epoch, low, head, since, first, limit }))
    }

    /// A search for the first event that was taken from a moment on.
    pub fn taken(&self, channel: ChannelId, from: Moment) -> Result<(Disk, Search), String> {
        let state = self.lock();
        let disk = state.disk.as_ref().map_err(Clone::clone)?;
        let log = &state.logs[channel.0 as usize];
        let (now, age) = (disk.clock.now(), millis(self.limits.log_max_age));
        let since = disk.clock.when(from).max(now.saturating_sub(age));
        let low = log.low.max(log.base + 1).max((log.head + 1).saturating_sub(self.limits.log_max_events));
        let (number, epoch, head) = (log.number, log.epoch.clone(), log.head);
        Ok((disk.clone(), Search { channel, number, epoch, low, head, since, first: head + 1, limit: 0 }))
    }

    /// The answer to a search, whose findings about the log's bounds are kept; none where the store was replaced meanwhile:
    /// then it may have been either that was read.
    pub fn answer(&self, channel: ChannelId, readers: &Arc<Readers>, found: Found) -> Option<Page> {
        let mut state = self.lock();
        let State { disk, logs } = &mut *state;
        if !disk.as_ref().is_ok_and(|disk| Arc::ptr_eq(&disk.readers, readers)) {
            return None;
        }
        logs[channel.0 as usize].learn(&found);
        Some(found.page)
    }

    /// What a search found out about the log's bounds; only the writer can be sure that it is of this store.
    pub fn learn(&self, channel: ChannelId, found: &Found) {
        self.lock().logs[channel.0 as usize].learn(found);
    }

    /// Where a channel stands; the writer alone changes it.
    pub fn head(&self, channel: ChannelId) -> Head {
        let log = &self.lock().logs[channel.0 as usize];
        Head { number: log.number, epoch: log.epoch.clone(), base: log.base, head: log.head }
    }

    /// All channels that there are.
    pub fn channels(&self) -> impl Iterator<Item = ChannelId> + use<> {
        (0..self.lock().logs.len() as u32).map(ChannelId)
    }

    /// Events were appended.
    pub fn grow(&self, time: LogTime, events: impl IntoIterator<Item = (ChannelId, u64, Arc<str>)>) {
        let mut state = self.lock();
        for (channel, offset, json) in events {
            state.logs[channel.0 as usize].grow(time, offset, json);
        }
    }

    /// A new epoch has begun.
    pub fn renew(&self, channel: ChannelId, epoch: Epoch, base: u64) {
        let log = &mut self.lock().logs[channel.0 as usize];
        (log.epoch, log.base) = (epoch, base);
        log.forget();
    }

    /// Channels whose oldest event may have become too old: what to search for, to find out.
    pub fn ageing(&self) -> Vec<Search> {
        let state = self.lock();
        let Ok(disk) = &state.disk else { return Vec::new() };
        let since = disk.clock.now().saturating_sub(millis(self.limits.log_max_age));
        let old = (0..).map(ChannelId).zip(&state.logs).filter(|(_, log)| log.low <= log.head && log.oldest < since);
        let search = |(channel, log): (ChannelId, &Log)| {
            let (number, epoch, low, head) = (log.number, log.epoch.clone(), log.low, log.head);
            Search { channel, number, epoch, low, head, since, first: head + 1, limit: 0 }
        };
        old.map(search).collect()
    }

    /// What is in the store but no part of the log any more, the oldest first, at most so many: the offsets to delete.
    /// Never the newest event: it says how far the channel has come.
    pub fn leftover(&self, channel: ChannelId, most: u64) -> Option<RangeInclusive<u64>> {
        let log = &self.lock().logs[channel.0 as usize];
        let low = log.low.max(log.base + 1).max((log.head + 1).saturating_sub(self.limits.log_max_events));
        let last = (low - 1).min(log.head.saturating_sub(1)).min((log.stored + most).saturating_sub(1));
        (log.stored <= last).then_some(log.stored..=last)
    }

    /// These were deleted.
    pub fn deleted(&self, channel: ChannelId, last: u64) {
        self.lock().logs[channel.0 as usize].stored = last + 1;
    }

    /// Gives back the memory of channels in which nothing happens.
    pub fn rest(&self, now: LogTime) {
        let mut state = self.lock();
        state.logs.iter_mut().filter(|log| now > log.newest + AT_REST).for_each(Log::forget);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    fn new(channel: rows::Channel) -> Self {
        let rows::Channel { number, epoch, base, head, newest, first, oldest } = channel;
        let (recent, recent_bytes) = (VecDeque::new(), 0);
        Self {
            number,
            epoch,
            base,
            head,
            newest,
            stored: first,
            low: first.max(base + 1),
            oldest,
            recent,
            recent_bytes,
        }
    }

    /// A page without the disk, where that can be.
    fn page(&self, first: u64, limit: usize) -> Option<Page> {
        let first = first.max(self.low);
        let kept = self.head + 1 - self.recent.len() as u64;
        let mut entries = Vec::new();
        if first <= self.head && limit > 0 {
            let mut bytes = 0;
            for (offset, json) in (first..).zip(self.recent.range(first.checked_sub(kept)? as usize..)).take(limit) {
                bytes += json.len();
                entries.push(Entry { offset, json: json.clone() });
                if bytes >= PAGE_BYTES {
                    break;
                }
            }
        }
        Some(Page { epoch: self.epoch.clone(), head: self.head, oldest: self.low, entries })
    }

    fn learn(&mut self, found: &Found) {
        // It may have come further meanwhile.
        if self.epoch == found.page.epoch && self.low <= found.low {
            (self.low, self.oldest) = (found.low, found.oldest.max(self.oldest));
        }
    }

    fn grow(&mut self, time: LogTime, offset: u64, json: Arc<str>) {
        if self.low > self.head {
            (self.low, self.oldest) = (offset, time);
        }
        if self.stored > self.head {
            self.stored = offset;
        }
        (self.head, self.newest) = (offset, time);
        self.recent_bytes += json.len();
        self.recent.push_back(json);
        while self.recent_bytes > RECENT_BYTES && self.recent.len() > 1 {
            self.recent_bytes -= self.recent.pop_front().map_or(0, |json| json.len());
        }
    }

    fn forget(&mut self) {
        (self.recent, self.recent_bytes) = (VecDeque::new(), 0);
    }
}

impl Found {
    /// The position before the first event that was found.
    pub fn before(self) -> Position {
        Position::new(self.page.epoch, self.low - 1)
    }
}

impl Search {
    pub fn channel(&self) -> ChannelId {
        self.channel
    }

    /// Does it.
    pub fn run(self, from: &rusqlite::Connection) -> Result<Found, Failure> {
        let Self { number, epoch, low, head, since, first, limit, .. } = self;
        let retained = match low <= head {
            true => rows::first_since(from, number, low..=head, since)?,
            false => None,
        };
        let retained = retained.unwrap_or(Seen { offset: head + 1, time: since });
        let (first, mut oldest) = (first.max(retained.offset), retained.offset);
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
        Ok(Found { page: Page { epoch, head, oldest, entries }, low: retained.offset, oldest: retained.time })
    }
}
