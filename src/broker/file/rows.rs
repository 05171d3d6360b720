//! The statements on channels, events and ids.
//!
//! Each function runs one or two SQL statements in a transaction of its caller. `schema.sql` describes the tables.

use std::ops::RangeInclusive;

use rusqlite::{CachedStatement, Connection, OptionalExtension, Params, Row, params};

use super::clock::LogTime;
use super::database::Failure;
use crate::broker::{Entry, PAGE_BYTES};
use crate::event::Epoch;

/// A channel's number in the database.
pub(super) type ChannelNumber = u16;

/// A channel and the bounds of its events in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ChannelRow {
    pub number: ChannelNumber,
    pub epoch: Epoch,
    /// The offset of the newest event, 0 before the first.
    pub head: u64,
    /// The log time of the newest event.
    pub head_time: LogTime,
    /// The offset of the oldest event in the database, which may be no longer retained.
    pub first: u64,
    /// The newest event that was deleted; zero if none was.
    pub deleted: EventTime,
}

/// The offset and the log time of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct EventTime {
    pub offset: u64,
    pub time: LogTime,
}

const OFFSET_BITS: u32 = 48;

type Result<T> = std::result::Result<T, Failure>;

/// The channel of this name.
pub(super) fn channel(from: &Connection, name: &str) -> Result<ChannelRow> {
    find_channel(from, name)?.ok_or_else(|| Failure::Damaged(format!("the row of {name}")))
}

/// The channel of this name, if there is one.
pub(super) fn find_channel(from: &Connection, name: &str) -> Result<Option<ChannelRow>> {
    let mut select = cached(from, "SELECT number, epoch, deleted, deleted_time FROM channels WHERE name = ?")?;
    let row = |row: &Row| Ok((row.get(0)?, row.get::<_, String>(1)?, event_time(row.get(2)?, row.get(3)?)));
    let Some((number, epoch, deleted)) = select.query_row([name], row).optional()? else { return Ok(None) };
    let damaged = |what: &str| Failure::Damaged(format!("{what} of {name}"));
    let number = number_of(number).ok_or_else(|| damaged("the number"))?;
    let epoch = epoch.parse().map_err(|_| damaged("the epoch"))?;
    let first = first_from(from, number, 0..=u64::MAX)?.map_or(1, |first| first.offset);
    let EventTime { offset: head, time: head_time } = newest_before(from, number, u64::MAX)?.unwrap_or_default();
    Ok(Some(ChannelRow { number, epoch, head, head_time, first, deleted }))
}

/// The channel of this name, created if it is missing.
pub(super) fn create_channel(to: &Connection, name: &str, epoch: &Epoch) -> Result<ChannelRow> {
    let insert = "INSERT INTO channels (name, epoch) VALUES (?, ?) ON CONFLICT DO NOTHING";
    to.execute(insert, params![name, epoch.as_str()])?;
    channel(to, name)
}

/// How many events were ever appended, over all channels, including those that the catalogue no longer has.
pub(super) fn appended(to: &Connection) -> Result<u64> {
    let mut select = to.prepare("SELECT number FROM channels")?;
    let numbers = select.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<i64>>>()?;
    let mut appended = 0;
    for number in numbers {
        let number = number_of(number).ok_or_else(|| Failure::Damaged("a channel's number".into()))?;
        let newest = "SELECT max(key) FROM events WHERE key BETWEEN ? AND ?";
        let newest: Option<i64> = to.query_row(newest, [key(number, 0), key(number, u64::MAX)], |row| row.get(0))?;
        appended += newest.map_or(0, offset);
    }
    Ok(appended)
}

/// Inserts an event.
pub(super) fn insert_event(
    to: &Connection,
    number: ChannelNumber,
    offset: u64,
    time: LogTime,
    json: &str,
) -> Result<()> {
    let key = key(number, offset);
    run(to, "INSERT INTO events VALUES (?, ?, ?, ?)", params![key, time as i64, sum(key, time as i64, json), json])?;
    Ok(())
}

/// Inserts an id, or returns its entry if the channel has it already.
pub(super) fn insert_id(to: &Connection, number: ChannelNumber, id: &str, new: EventTime) -> Result<Option<EventTime>> {
    let insert = "INSERT INTO ids (channel, id, offset, time) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING";
    if run(to, insert, params![number, id, new.offset as i64, new.time as i64])? == 1 {
        return Ok(None);
    }
    let mut select = cached(to, "SELECT offset, time FROM ids WHERE channel = ? AND id = ?")?;
    let entry = |row: &Row| Ok(event_time(row.get(0)?, row.get(1)?));
    Ok(Some(select.query_row(params![number, id], entry)?))
}

/// Replaces the entry of an id whose deduplication window is over.
pub(super) fn replace_id(to: &Connection, number: ChannelNumber, id: &str, new: EventTime) -> Result<()> {
    // A new `seq` keeps the rows in the order of their times.
    let replace = "INSERT OR REPLACE INTO ids (channel, id, offset, time) VALUES (?, ?, ?, ?)";
    run(to, replace, params![number, id, new.offset as i64, new.time as i64])?;
    Ok(())
}

/// Deletes events of a channel, and records the newest of them.
pub(super) fn delete_events(to: &Connection, channel: &mut ChannelRow, offsets: RangeInclusive<u64>) -> Result<()> {
    let number = channel.number;
    if let Some(newest) = newest_before(to, number, offsets.end() + 1)? {
        let record = "UPDATE channels SET deleted = ?, deleted_time = ? WHERE number = ?";
        run(to, record, params![newest.offset as i64, newest.time as i64, number])?;
        channel.deleted = newest;
    }
    let delete = "DELETE FROM events WHERE key BETWEEN ? AND ?";
    run(to, delete, [key(number, *offsets.start()), key(number, *offsets.end())])?;
    channel.first = offsets.end() + 1;
    Ok(())
}

/// The newest event with a lower offset, if the database has one.
pub(super) fn newest_before(from: &Connection, number: ChannelNumber, before: u64) -> Result<Option<EventTime>> {
    let select = "SELECT key, time FROM events WHERE key >= ? AND key < ? ORDER BY key DESC LIMIT 1";
    Ok(cached(from, select)?.query_row([key(number, 0), key(number, before)], offset_and_time).optional()?)
}

/// The first of these offsets that has an event.
fn first_from(from: &Connection, number: ChannelNumber, offsets: RangeInclusive<u64>) -> Result<Option<EventTime>> {
    let select = "SELECT key, time FROM events WHERE key BETWEEN ? AND ? ORDER BY key LIMIT 1";
    let keys = [key(number, *offsets.start()), key(number, *offsets.end())];
    Ok(cached(from, select)?.query_row(keys, offset_and_time).optional()?)
}

/// Whether there is an id that was inserted before this time.
pub(super) fn has_old_ids(to: &Connection, before: LogTime) -> Result<bool> {
    let mut select = cached(to, "SELECT time FROM ids ORDER BY seq LIMIT 1")?;
    let oldest: Option<i64> = select.query_row([], |row| row.get(0)).optional()?;
    Ok(oldest.is_some_and(|oldest| (oldest as u64) < before))
}

/// Deletes ids that were inserted before this time, at most so many.
pub(super) fn delete_ids(to: &Connection, before: LogTime, most: u64) -> Result<()> {
    let delete = "DELETE FROM ids WHERE seq IN (SELECT seq FROM ids ORDER BY seq LIMIT ?) AND time < ?";
    run(to, delete, [most as i64, before as i64])?;
    Ok(())
}

/// Writes so many bytes to the probe's table, in place of the last probe.
pub(super) fn write_probe(to: &Connection, bytes: usize) -> Result<()> {
    to.execute("DELETE FROM probe", [])?;
    to.execute("INSERT INTO probe VALUES (zeroblob(?))", [bytes as i64])?;
    Ok(())
}

/// The first of these offsets whose event was appended at this time or later.
///
/// Times rise with offsets, so that a binary search finds it. Offsets may be missing.
pub(super) fn first_since(
    from: &Connection,
    number: ChannelNumber,
    offsets: RangeInclusive<u64>,
    since: LogTime,
) -> Result<Option<u64>> {
    let last = *offsets.end();
    let (mut low, mut high) = (*offsets.start(), last.saturating_add(1));
    let (mut found, mut probe) = (None, low);
    while low < high {
        match first_from(from, number, probe..=last)? {
            Some(event) if event.time < since => low = event.offset + 1,
            Some(event) => (found, high) = (Some(event.offset), probe),
            None => high = probe,
        }
        probe = low + (high.saturating_sub(low)) / 2;
    }
    Ok(found)
}

/// Consecutive events from the first of these offsets that has one: up to `limit`, or [`PAGE_BYTES`], or the first missing
/// event. A damaged event counts as missing.
pub(super) fn page(
    from: &Connection,
    number: ChannelNumber,
    offsets: RangeInclusive<u64>,
    limit: usize,
) -> Result<Vec<Entry>> {
    let select = "SELECT key, time, sum, json FROM events WHERE key BETWEEN ? AND ? ORDER BY key";
    let mut select = cached(from, select)?;
    let mut rows = select.query([key(number, *offsets.start()), key(number, *offsets.end())])?;
    let (mut entries, mut bytes) = (Vec::<Entry>::new(), 0);
    while entries.len() < limit && bytes < PAGE_BYTES {
        let Some(row) = rows.next()? else { break };
        let Some(entry) = entry(row)? else { continue };
        if entries.last().is_some_and(|last| last.offset + 1 != entry.offset) {
            break;
        }
        bytes += entry.json.len();
        entries.push(entry);
    }
    Ok(entries)
}

fn entry(row: &Row) -> Result<Option<Entry>> {
    let (key, time, expected): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let json = row.get_ref(3)?.as_bytes().ok().and_then(|json| std::str::from_utf8(json).ok());
    let Some(json) = json.filter(|json| sum(key, time, json) == expected) else {
        tracing::error!(offset = offset(key), "an event is damaged on the disk; readers get a gap");
        return Ok(None);
    };
    Ok(Some(Entry { offset: offset(key), json: json.into() }))
}

fn offset_and_time(row: &Row) -> rusqlite::Result<EventTime> {
    Ok(EventTime { offset: offset(row.get(0)?), time: row.get::<_, i64>(1)? as u64 })
}

fn event_time(offset: i64, time: i64) -> EventTime {
    EventTime { offset: offset as u64, time: time as u64 }
}

fn number_of(number: i64) -> Option<ChannelNumber> {
    // 15 bits, because a key is signed.
    ChannelNumber::try_from(number).ok().filter(|number| (1..=i16::MAX as u16).contains(number))
}

pub(super) fn key(number: ChannelNumber, offset: u64) -> i64 {
    (i64::from(number) << OFFSET_BITS) | offset.min((1 << OFFSET_BITS) - 1) as i64
}

pub(super) fn offset(key: i64) -> u64 {
    key as u64 & ((1 << OFFSET_BITS) - 1)
}

fn sum(key: i64, time: i64, json: &str) -> i64 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&key.to_le_bytes());
    sum.update(&time.to_le_bytes());
    sum.update(json.as_bytes());
    i64::from(sum.finalize())
}

pub(super) fn cached<'a>(to: &'a Connection, sql: &str) -> Result<CachedStatement<'a>> {
    Ok(to.prepare_cached(sql)?)
}

pub(super) fn run(to: &Connection, sql: &str, params: impl Params) -> Result<usize> {
    Ok(cached(to, sql)?.execute(params)?)
}

#[cfg(test)]
mod tests {
    use super::super::database::{Database, FILE};
    use super::*;
    use crate::config::FileSync;

    /// A database with a channel that has events at these offsets and times.
    fn database(events: &[(u64, LogTime)]) -> (tempfile::TempDir, Database, ChannelNumber) {
        let folder = tempfile::tempdir().unwrap();
        let mut database = Database::open(&folder.path().join(FILE), FileSync::Os).unwrap();
        let number = database
            .write(|to| {
                create_channel(to, "before", &Epoch::random())?;
                let number = create_channel(to, "channel", &Epoch::random())?.number;
                create_channel(to, "after", &Epoch::random())?;
                for (neighbour, offset) in [(number - 1, 7), (number + 1, 1)] {
                    insert_event(to, neighbour, offset, 1, "\"a neighbour's\"")?;
                }
                for (offset, time) in events {
                    insert_event(to, number, *offset, *time, &offset.to_string())?;
                }
                Ok(number)
            })
            .unwrap();
        (folder, database, number)
    }

    #[test]
    fn a_time_is_found_as_by_looking_at_each() {
        let all: Vec<(u64, LogTime)> = (1..=100).map(|offset| (offset, 1_000 + offset / 3 * 10)).collect();
        let holes = all.iter().copied().filter(|(offset, _)| !(20..30).contains(offset) && offset % 7 != 0).collect();
        for events in [all, holes, vec![], vec![(5, 1_000)]] {
            let (_folder, mut database, number) = database(&events);
            for since in (990..=1_350).step_by(5) {
                for offsets in [1..=100, 15..=60, 25..=25, 100..=100] {
                    let expected = events.iter().find(|(offset, time)| offsets.contains(offset) && *time >= since);
                    let found = database.read(|from| first_since(from, number, offsets.clone(), since)).unwrap();
                    assert_eq!(found, expected.map(|(offset, _)| *offset), "{since} in {offsets:?}");
                }
            }
        }
    }

    #[test]
    fn the_newest_deleted_event_is_recorded() {
        let (_folder, mut database, _) = database(&[(1, 10), (2, 20), (4, 40)]);
        let mut row = database.read(|from| channel(from, "channel")).unwrap();
        assert_eq!((row.first, row.head, row.deleted), (1, 4, EventTime::default()));
        for (last, newest) in [(2, EventTime { offset: 2, time: 20 }), (3, EventTime { offset: 2, time: 20 })] {
            database.write(|to| delete_events(to, &mut row, 1..=last)).unwrap();
            assert_eq!((row.first, row.deleted), (last + 1, newest));
            assert_eq!(database.read(|from| channel(from, "channel")).unwrap().deleted, newest);
        }
    }

    #[test]
    fn the_events_of_all_channels_are_counted() {
        let (_folder, mut database, _) = database(&[(1, 1), (9, 1)]);
        assert_eq!(database.read(appended).unwrap(), 7 + 9 + 1);
        assert_eq!(database.read(|from| find_channel(from, "unknown")).unwrap(), None);
    }

    #[test]
    fn a_page_ends_before_a_missing_event() {
        let events: Vec<(u64, LogTime)> = [1, 2, 3, 6, 7].map(|offset| (offset, 1)).into();
        let (_folder, mut database, number) = database(&events);
        let mut offsets = |offsets: RangeInclusive<u64>, limit| {
            let page = database.read(|from| page(from, number, offsets, limit)).unwrap();
            assert!(page.iter().all(|entry| *entry.json == entry.offset.to_string()));
            page.iter().map(|entry| entry.offset).collect::<Vec<_>>()
        };
        assert_eq!(offsets(1..=7, 10), [1, 2, 3]);
        assert_eq!(offsets(1..=7, 2), [1, 2]);
        assert_eq!(offsets(4..=7, 10), [6, 7]);
        assert_eq!(offsets(4..=5, 10), [0; 0]);
        assert_eq!(offsets(7..=u64::MAX, 10), [7]);
    }

    #[test]
    fn an_id_is_inserted_once() {
        let (_folder, mut database, number) = database(&[]);
        let (first, second) = (EventTime { offset: 1, time: 10 }, EventTime { offset: 2, time: 20 });
        let mut insert = |number, id: &str, entry| database.write(|to| insert_id(to, number, id, entry)).unwrap();
        assert_eq!(insert(number, "id", first), None);
        assert_eq!(insert(number, "id", second), Some(first));
        assert_eq!(insert(number + 1, "id", second), None);
        assert_eq!(insert(number, "ID\u{0}", second), None);
        database.write(|to| replace_id(to, number, "id", second)).unwrap();
        assert_eq!(database.write(|to| insert_id(to, number, "id", first)).unwrap(), Some(second));
        // Only ids before the given time are deleted, the oldest first.
        database.write(|to| delete_ids(to, 20, 1_000)).unwrap();
        assert!(
            !database.read(|from| has_old_ids(from, 20)).unwrap()
                && database.read(|from| has_old_ids(from, 21)).unwrap()
        );
        database.write(|to| delete_ids(to, 21, 2)).unwrap();
        assert_eq!(database.write(|to| insert_id(to, number, "id", first)).unwrap(), Some(second));
    }
}
