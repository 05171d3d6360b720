//! The rows of the store: what is written to them, and what they say.
//!
//! Each function is one statement or two, within a transaction of the caller's. `schema.sql` describes the tables.

use std::ops::RangeInclusive;

use rusqlite::{CachedStatement, Connection, OptionalExtension, Params, Row, params};

use super::clock::LogTime;
use super::database::Failure;
use crate::broker::{Entry, PAGE_BYTES};
use crate::event::Epoch;

/// A channel's number in the store.
pub(super) type Number = u16;

/// A channel as it stands in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Channel {
    pub number: Number,
    pub epoch: Epoch,
    /// The newest event's offset and time.
    pub head: u64,
    pub newest: LogTime,
    /// The offset of the oldest event in the store.
    pub first: u64,
}

/// Where an id was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub offset: u64,
    pub time: LogTime,
}

const OFFSET_BITS: u32 = 48;

type Result<T> = std::result::Result<T, Failure>;

/// The channel of this name.
pub(super) fn channel(from: &Connection, name: &str) -> Result<Channel> {
    find_channel(from, name)?.ok_or_else(|| Failure::Damaged(format!("the row of {name}")))
}

/// The channel of this name, where there is one.
pub(super) fn find_channel(from: &Connection, name: &str) -> Result<Option<Channel>> {
    let mut select = cached(from, "SELECT number, epoch FROM channels WHERE name = ?")?;
    let row = |row: &Row| Ok((row.get(0)?, row.get::<_, String>(1)?));
    let Some((number, epoch)) = select.query_row([name], row).optional()? else { return Ok(None) };
    let damaged = |what: &str| Failure::Damaged(format!("{what} of {name}"));
    let number = number_of(number).ok_or_else(|| damaged("the number"))?;
    let epoch = epoch.parse().map_err(|_| damaged("the epoch"))?;
    let end = |order: &str| -> Result<Option<(u64, LogTime)>> {
        let select = format!("SELECT key, time FROM events WHERE key BETWEEN ? AND ? ORDER BY key {order} LIMIT 1");
        Ok(cached(from, &select)?.query_row([key(number, 0), key(number, u64::MAX)], place).optional()?)
    };
    let first = end("ASC")?.map_or(1, |(offset, _)| offset);
    let (head, newest) = end("DESC")?.unwrap_or_default();
    Ok(Some(Channel { number, epoch, head, newest, first }))
}

/// The channel of this name, made where there is none.
pub(super) fn make_channel(to: &Connection, name: &str, epoch: &Epoch) -> Result<Channel> {
    let insert = "INSERT INTO channels (name, epoch) VALUES (?, ?) ON CONFLICT DO NOTHING";
    to.execute(insert, params![name, epoch.as_str()])?;
    channel(to, name)
}

/// The events that were ever appended, over all channels, also those that nobody knows any more.
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

/// Begins a new epoch in every channel, known or not. What stands in the logs now stays where it is. Where it is `whole`,
/// all of it is what it was in the epochs before; otherwise nobody knows.
pub(super) fn renew_all(to: &Connection, epoch: &Epoch, whole: bool) -> Result<()> {
    if whole {
        let all = key(0, u64::MAX);
        let newest = "SELECT max(key) FROM events WHERE key BETWEEN channel << 48 AND (channel << 48) + ?1";
        let same = format!("UPDATE past SET same = min(same, coalesce(({newest}) & ?1, 0))");
        to.execute("INSERT INTO past SELECT number, epoch, ? FROM channels", [all])?;
        to.execute(&same, [all])?;
    } else {
        to.execute("DELETE FROM past", [])?;
    }
    to.execute("UPDATE channels SET epoch = ?", [epoch.as_str()])?;
    Ok(())
}

/// Begins a new epoch of one channel, of which nobody knows what of it is as it was.
pub(super) fn renew(to: &Connection, number: Number, epoch: &Epoch) -> Result<()> {
    to.execute("DELETE FROM past WHERE channel = ?", [number])?;
    to.execute("UPDATE channels SET epoch = ? WHERE number = ?", params![epoch.as_str(), number])?;
    Ok(())
}

/// Up to which offset the log is what it was in an epoch that is over.
pub(super) fn same_as_in(from: &Connection, number: Number, epoch: &Epoch) -> Result<u64> {
    let mut select = cached(from, "SELECT same FROM past WHERE channel = ? AND epoch = ?")?;
    let same: Option<i64> = select.query_row(params![number, epoch.as_str()], |row| row.get(0)).optional()?;
    Ok(same.unwrap_or_default() as u64)
}

/// Appends an event.
pub(super) fn add(to: &Connection, number: Number, offset: u64, time: LogTime, json: &str) -> Result<()> {
    let key = key(number, offset);
    run(to, "INSERT INTO events VALUES (?, ?, ?, ?)", params![key, time as i64, sum(key, time as i64, json), json])?;
    Ok(())
}

/// Takes an id, or says where it was seen.
pub(super) fn take_id(to: &Connection, number: Number, id: &str, seen: Seen) -> Result<Option<Seen>> {
    let take = "INSERT INTO ids (channel, id, offset, time) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING";
    if run(to, take, params![number, id, seen.offset as i64, seen.time as i64])? == 1 {
        return Ok(None);
    }
    let mut select = cached(to, "SELECT offset, time FROM ids WHERE channel = ? AND id = ?")?;
    let seen = |row: &Row| Ok(Seen { offset: row.get::<_, i64>(0)? as u64, time: row.get::<_, i64>(1)? as u64 });
    Ok(Some(select.query_row(params![number, id], seen)?))
}

/// Takes an id that was seen too long ago.
pub(super) fn take_id_again(to: &Connection, number: Number, id: &str, seen: Seen) -> Result<()> {
    // Behind all others, so that they stay in the order of their times.
    let take = "INSERT OR REPLACE INTO ids (channel, id, offset, time) VALUES (?, ?, ?, ?)";
    run(to, take, params![number, id, seen.offset as i64, seen.time as i64])?;
    Ok(())
}

/// Deletes events of a channel.
pub(super) fn forget_events(to: &Connection, number: Number, offsets: RangeInclusive<u64>) -> Result<()> {
    let delete = "DELETE FROM events WHERE key BETWEEN ? AND ?";
    run(to, delete, [key(number, *offsets.start()), key(number, *offsets.end())])?;
    Ok(())
}

/// Whether there is an id that was seen before this time.
pub(super) fn has_old_ids(to: &Connection, before: LogTime) -> Result<bool> {
    let mut select = cached(to, "SELECT time FROM ids ORDER BY seq LIMIT 1")?;
    let oldest: Option<i64> = select.query_row([], |row| row.get(0)).optional()?;
    Ok(oldest.is_some_and(|oldest| (oldest as u64) < before))
}

/// Forgets the ids that were seen before this time, at most so many.
pub(super) fn forget_ids(to: &Connection, before: LogTime, most: u64) -> Result<()> {
    let delete = "DELETE FROM ids WHERE seq IN (SELECT seq FROM ids ORDER BY seq LIMIT ?) AND time < ?";
    run(to, delete, [most as i64, before as i64])?;
    Ok(())
}

/// Writes so many bytes, over those that were written here before.
pub(super) fn probe(to: &Connection, bytes: usize) -> Result<()> {
    to.execute("DELETE FROM probe", [])?;
    to.execute("INSERT INTO probe VALUES (zeroblob(?))", [bytes as i64])?;
    Ok(())
}

/// The offset of the first event among these that was appended at this time or later. Times are in the order of offsets, so it is found
/// by halving.
pub(super) fn first_since(
    from: &Connection,
    number: Number,
    offsets: RangeInclusive<u64>,
    since: LogTime,
) -> Result<Option<u64>> {
    let mut select = cached(from, "SELECT key, time FROM events WHERE key BETWEEN ? AND ? ORDER BY key LIMIT 1")?;
    let last = *offsets.end();
    let (mut low, mut high) = (*offsets.start(), last.saturating_add(1));
    let (mut found, mut probe) = (None, low);
    while low < high {
        match select.query_row([key(number, probe), key(number, last)], place).optional()? {
            Some((offset, time)) if time < since => low = offset + 1,
            Some((offset, _)) => (found, high) = (Some(offset), probe),
            None => high = probe,
        }
        probe = low + (high.saturating_sub(low)) / 2;
    }
    Ok(found)
}

/// The events from the first of these offsets that is there, up to so many, or [`PAGE_BYTES`], or a hole. An event that is
/// damaged is not there.
pub(super) fn page(
    from: &Connection,
    number: Number,
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
        tracing::error!(offset = offset(key), "an event is damaged on the disk: the log goes on after it");
        return Ok(None);
    };
    Ok(Some(Entry { offset: offset(key), json: json.into() }))
}

fn place(row: &Row) -> rusqlite::Result<(u64, LogTime)> {
    Ok((offset(row.get(0)?), row.get::<_, i64>(1)? as u64))
}

fn number_of(number: i64) -> Option<Number> {
    // One bit less than its type has: a key has a sign.
    Number::try_from(number).ok().filter(|number| (1..=i16::MAX as u16).contains(number))
}

fn key(number: Number, offset: u64) -> i64 {
    (i64::from(number) << OFFSET_BITS) | offset.min((1 << OFFSET_BITS) - 1) as i64
}

fn offset(key: i64) -> u64 {
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
    fn database(events: &[(u64, LogTime)]) -> (tempfile::TempDir, Database, Number) {
        let folder = tempfile::tempdir().unwrap();
        let mut database = Database::open(&folder.path().join(FILE), FileSync::Os).unwrap();
        let number = database
            .write(|to| {
                make_channel(to, "before", &Epoch::random())?;
                let number = make_channel(to, "channel", &Epoch::random())?.number;
                make_channel(to, "after", &Epoch::random())?;
                for (neighbour, offset) in [(number - 1, 7), (number + 1, 1)] {
                    add(to, neighbour, offset, 1, "\"a neighbour's\"")?;
                }
                for (offset, time) in events {
                    add(to, number, *offset, *time, &offset.to_string())?;
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
    fn a_page_ends_at_a_hole() {
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
    fn an_id_is_taken_once() {
        let (_folder, mut database, number) = database(&[]);
        let (first, second) = (Seen { offset: 1, time: 10 }, Seen { offset: 2, time: 20 });
        let mut take = |number, id: &str, seen| database.write(|to| take_id(to, number, id, seen)).unwrap();
        assert_eq!(take(number, "id", first), None);
        assert_eq!(take(number, "id", second), Some(first));
        assert_eq!(take(number + 1, "id", second), None);
        assert_eq!(take(number, "ID\u{0}", second), None);
        database.write(|to| take_id_again(to, number, "id", second)).unwrap();
        assert_eq!(database.write(|to| take_id(to, number, "id", first)).unwrap(), Some(second));
        // The oldest are forgotten first, and only those.
        database.write(|to| forget_ids(to, 20, 1_000)).unwrap();
        assert!(
            !database.read(|from| has_old_ids(from, 20)).unwrap()
                && database.read(|from| has_old_ids(from, 21)).unwrap()
        );
        database.write(|to| forget_ids(to, 21, 2)).unwrap();
        assert_eq!(database.write(|to| take_id(to, number, "id", first)).unwrap(), Some(second));
    }

    #[test]
    fn what_is_there_is_of_the_new_epoch_too() {
        let (_folder, mut database, number) = database(&[(1, 1), (9, 1)]);
        assert_eq!(database.read(appended).unwrap(), 7 + 9 + 1);
        let names = ["before", "channel", "after"];
        let channels = |database: &mut Database| names.map(|name| database.read(|from| channel(from, name)).unwrap());
        let same =
            |database: &mut Database, epoch: &Epoch| database.read(|from| same_as_in(from, number, epoch)).unwrap();
        let before = channels(&mut database);
        let [second, third, fourth, own] = [(); 4].map(|()| Epoch::random());
        database.write(|to| renew_all(to, &second, true)).unwrap();
        let heads = channels(&mut database).map(|channel| (channel.epoch == second, channel.head));
        assert_eq!(heads, [(true, 7), (true, 9), (true, 1)]);
        assert_eq!([&before[1].epoch, &second].map(|epoch| same(&mut database, epoch)), [9, 0]);
        // What is lost later is lost of all epochs before.
        database.write(|to| add(to, number, 10, 1, "{}")).unwrap();
        database.write(|to| renew_all(to, &third, true)).unwrap();
        database.write(|to| forget_events(to, number, 2..=10)).unwrap();
        assert_eq!([&before[1].epoch, &second].map(|epoch| same(&mut database, epoch)), [9, 10]);
        database.write(|to| renew_all(to, &fourth, true)).unwrap();
        assert_eq!([&before[1].epoch, &second, &third].map(|epoch| same(&mut database, epoch)), [1, 1, 1]);
        database.write(|to| renew(to, number, &own)).unwrap();
        assert_eq!([&before[1].epoch, &fourth].map(|epoch| same(&mut database, epoch)), [0, 0]);
        assert_eq!(channels(&mut database).map(|channel| channel.epoch), [fourth.clone(), own, fourth]);
        assert_eq!(database.read(|from| find_channel(from, "unknown")).unwrap(), None);
    }
}
