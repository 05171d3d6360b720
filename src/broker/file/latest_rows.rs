//! The statements on the newest event of each subject.
//!
//! The rows of a channel are deleted when a new epoch begins, and when its type keeps no such values any more. So every row
//! belongs to the current epoch, and is the newest event of its subject.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::clock::LogTime;
use super::database::Failure;
use super::rows::{ChannelNumber, EventTime, cached, key, offset, run};
use crate::broker::{Entry, PAGE_BYTES};

type Result<T> = std::result::Result<T, Failure>;

/// Makes an event the newest of its subject; whether the subject had none.
pub(super) fn keep(to: &Connection, number: ChannelNumber, subject: &str, new: EventTime, json: &str) -> Result<bool> {
    let replaced = run(to, "DELETE FROM latest WHERE channel = ? AND subject = ?", params![number, subject])?;
    let (key, time) = (key(number, new.offset), new.time as i64);
    let insert = "INSERT INTO latest (key, channel, subject, time, sum, json) VALUES (?, ?, ?, ?, ?, ?)";
    run(to, insert, params![key, number, subject, time, sum(key, time, subject, json), json])?;
    Ok(replaced == 0)
}

/// How many subjects a channel has.
pub(super) fn count(from: &Connection, number: ChannelNumber) -> Result<u64> {
    let count: i64 = from.query_row("SELECT count(*) FROM latest WHERE channel = ?", [number], |row| row.get(0))?;
    Ok(count as u64)
}

/// Deletes the `most` subjects that have not changed for the longest time; how many there were.
pub(super) fn evict(to: &Connection, number: ChannelNumber, most: u64) -> Result<u64> {
    let delete =
        "DELETE FROM latest WHERE key IN (SELECT key FROM latest WHERE key BETWEEN ? AND ? ORDER BY key LIMIT ?)";
    Ok(run(to, delete, params![key(number, 0), key(number, u64::MAX), most as i64])? as u64)
}

/// Deletes the values that are older than this time, at most so many; how many there were.
pub(super) fn expire(to: &Connection, number: ChannelNumber, before: LogTime, most: u64) -> Result<u64> {
    let delete = "DELETE FROM latest WHERE key IN (SELECT key FROM latest WHERE key BETWEEN ? AND ? ORDER BY key LIMIT ?) \
                  AND time < ?";
    let expired = run(to, delete, params![key(number, 0), key(number, u64::MAX), most as i64, before as i64])?;
    Ok(expired as u64)
}

/// Whether a channel has a value that is older than this time.
pub(super) fn has_old(from: &Connection, number: ChannelNumber, before: LogTime) -> Result<bool> {
    let select = "SELECT time FROM latest WHERE key BETWEEN ? AND ? ORDER BY key LIMIT 1";
    let keys = [key(number, 0), key(number, u64::MAX)];
    let oldest: Option<i64> = cached(from, select)?.query_row(keys, |row| row.get(0)).optional()?;
    Ok(oldest.is_some_and(|oldest| (oldest as u64) < before))
}

/// Deletes all values of a channel.
pub(super) fn forget(to: &Connection, number: ChannelNumber) -> Result<()> {
    run(to, "DELETE FROM latest WHERE key BETWEEN ? AND ?", [key(number, 0), key(number, u64::MAX)])?;
    Ok(())
}

/// Deletes all values of all channels.
pub(super) fn forget_all(to: &Connection) -> Result<()> {
    to.execute("DELETE FROM latest", [])?;
    Ok(())
}

/// The newest event of a subject, unless it is older than `since`.
pub(super) fn find(from: &Connection, number: ChannelNumber, subject: &str, since: LogTime) -> Result<Option<Entry>> {
    let select = "SELECT key, time, sum, json, subject FROM latest WHERE channel = ? AND subject = ? AND time >= ?";
    let mut select = cached(from, select)?;
    let mut rows = select.query(params![number, subject, since as i64])?;
    rows.next()?.map_or(Ok(None), entry)
}

/// Up to `limit` values above an offset that are not older than `since`, and whether there are more.
pub(super) fn page(
    from: &Connection,
    number: ChannelNumber,
    after: u64,
    since: LogTime,
    limit: usize,
) -> Result<(Vec<Entry>, bool)> {
    let select =
        "SELECT key, time, sum, json, subject FROM latest WHERE key > ? AND key <= ? AND time >= ? ORDER BY key";
    let mut select = cached(from, select)?;
    let mut rows = select.query(params![key(number, after), key(number, u64::MAX), since as i64])?;
    let (mut entries, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        if entries.len() >= limit || bytes >= PAGE_BYTES {
            return Ok((entries, true));
        }
        if let Some(entry) = entry(row)? {
            bytes += entry.json.len();
            entries.push(entry);
        }
    }
    Ok((entries, false))
}

/// Reads a row. A damaged one counts as missing.
fn entry(row: &Row) -> Result<Option<Entry>> {
    let (key, time, expected): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let text = |column| row.get_ref(column).ok()?.as_bytes().ok().and_then(|text| std::str::from_utf8(text).ok());
    match (text(3), text(4)) {
        (Some(json), Some(subject)) if sum(key, time, subject, json) == expected => {
            Ok(Some(Entry { offset: offset(key), json: json.into() }))
        }
        _ => {
            tracing::error!(
                offset = offset(key),
                "the newest event of a subject is damaged on the disk: it is left out"
            );
            Ok(None)
        }
    }
}

fn sum(key: i64, time: i64, subject: &str, json: &str) -> i64 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&key.to_le_bytes());
    sum.update(&time.to_le_bytes());
    sum.update(subject.as_bytes());
    sum.update(json.as_bytes());
    i64::from(sum.finalize())
}
