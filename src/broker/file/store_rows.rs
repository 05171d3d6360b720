//! The statements on the store's values and leases, whose rows have checksums.
//!
//! The writer thread makes every change ([`PendingChange`]), several in one transaction, and answers once that is
//! committed. Readers get values without waiting for the writer.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::Answer;
use super::clock::LogTime;
use super::database::Failure;
use super::rows::{cached, run};
use crate::broker::BrokerError;
use crate::broker::store::next_token;

type Result<T> = std::result::Result<T, Failure>;

/// A change of the store that waits for its commit.
pub(super) trait Change: Send {
    /// Makes the change in a transaction, at this time.
    fn apply(&mut self, to: &Connection, now: LogTime) -> Result<()>;

    /// Tells the caller the outcome, once the transaction has ended.
    fn answer(self: Box<Self>, committed: std::result::Result<(), BrokerError>);

    /// Whether the caller gave up waiting.
    fn is_abandoned(&self) -> bool;

    /// How many bytes it writes, about.
    fn bytes(&self) -> usize;
}

/// A change, made by a function that answers a `T`.
pub(super) struct PendingChange<T, F> {
    change: Option<F>,
    outcome: Option<T>,
    bytes: usize,
    answer: Answer<T>,
}

impl<T, F: FnOnce(&Connection, LogTime) -> Result<T>> PendingChange<T, F> {
    /// A change that writes about so many bytes.
    pub fn new(bytes: usize, change: F, answer: Answer<T>) -> Self {
        Self { change: Some(change), outcome: None, bytes, answer }
    }
}

impl<T: Send, F: FnOnce(&Connection, LogTime) -> Result<T> + Send> Change for PendingChange<T, F> {
    fn apply(&mut self, to: &Connection, now: LogTime) -> Result<()> {
        if let Some(change) = self.change.take() {
            self.outcome = Some(change(to, now)?);
        }
        Ok(())
    }

    fn answer(self: Box<Self>, committed: std::result::Result<(), BrokerError>) {
        let Self { outcome, answer, .. } = *self;
        let _ = answer.send(committed.and_then(|()| outcome.ok_or_else(BrokerError::closed)));
    }

    fn is_abandoned(&self) -> bool {
        self.answer.is_closed()
    }

    fn bytes(&self) -> usize {
        self.bytes
    }
}

/// The value of a key as the database has it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum StoredValue {
    None,
    Some(Vec<u8>),
    /// A row whose checksum is wrong. Only a new value repairs it.
    Damaged,
}

/// The value of a key.
pub(super) fn get(from: &Connection, key: &str) -> Result<StoredValue> {
    let mut select = cached(from, "SELECT value, sum FROM store WHERE key = ?")?;
    let row = |row: &Row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, i64>(1)?));
    Ok(match select.query_row([key], row).optional()? {
        None => StoredValue::None,
        Some((value, expected)) if sum(&[key.as_bytes(), &value]) == expected => StoredValue::Some(value),
        Some(_) => {
            tracing::error!(key, "a value of the store is damaged on the disk");
            StoredValue::Damaged
        }
    })
}

/// Sets the value of a key.
pub(super) fn put(to: &Connection, key: &str, value: &[u8]) -> Result<()> {
    let insert = "INSERT OR REPLACE INTO store (key, value, sum) VALUES (?, ?, ?)";
    run(to, insert, params![key, value, sum(&[key.as_bytes(), value])]).map(drop)
}

/// Sets or deletes the value of a key if it is the expected one; whether it was. A damaged value is never the expected one.
pub(super) fn compare_and_set(to: &Connection, key: &str, expected: Option<&[u8]>, new: Option<&[u8]>) -> Result<bool> {
    let equal = match (get(to, key)?, expected) {
        (StoredValue::None, None) => true,
        (StoredValue::Some(value), Some(expected)) => value == expected,
        _ => false,
    };
    if equal {
        match new {
            Some(new) => put(to, key, new)?,
            None => drop(run(to, "DELETE FROM store WHERE key = ?", [key])?),
        }
    }
    Ok(equal)
}

struct Lease {
    holder: String,
    token: u64,
    end: LogTime,
}

/// Takes or renews a lease until `now + ttl` (ms); its token, unless another holder has it.
pub(super) fn lease(to: &Connection, name: &str, holder: &str, ttl: u64, now: LogTime) -> Result<Option<u64>> {
    // A damaged row counts as a free lease, because its end may be any time. The clock raises the next token.
    let last = find_lease(to, name)?.unwrap_or(Lease { holder: String::new(), token: 0, end: 0 });
    let held = now < last.end;
    if held && last.holder != holder {
        return Ok(None);
    }
    let token = if held { last.token } else { next_token(last.token, now) };
    set_lease(to, name, &Lease { holder: holder.into(), token, end: now + ttl })?;
    Ok(Some(token))
}

/// Gives a lease back, if this holder has it.
pub(super) fn release(to: &Connection, name: &str, holder: &str, now: LogTime) -> Result<()> {
    match find_lease(to, name)? {
        Some(lease) if now < lease.end && lease.holder == holder => set_lease(to, name, &Lease { end: 0, ..lease }),
        _ => Ok(()),
    }
}

fn find_lease(from: &Connection, name: &str) -> Result<Option<Lease>> {
    let mut select = cached(from, "SELECT holder, token, end, sum FROM leases WHERE name = ?")?;
    let row = |row: &Row| {
        let (token, end) = (row.get::<_, i64>(1)? as u64, row.get::<_, i64>(2)? as u64);
        Ok((Lease { holder: row.get(0)?, token, end }, row.get::<_, i64>(3)?))
    };
    let found = select.query_row([name], row).optional()?;
    Ok(found.filter(|(lease, expected)| lease_sum(name, lease) == *expected).map(|(lease, _)| lease))
}

fn set_lease(to: &Connection, name: &str, lease: &Lease) -> Result<()> {
    let insert = "INSERT OR REPLACE INTO leases (name, holder, token, end, sum) VALUES (?, ?, ?, ?, ?)";
    let Lease { holder, token, end } = lease;
    run(to, insert, params![name, holder, *token as i64, *end as i64, lease_sum(name, lease)]).map(drop)
}

fn lease_sum(name: &str, Lease { holder, token, end }: &Lease) -> i64 {
    sum(&[name.as_bytes(), holder.as_bytes(), &token.to_le_bytes(), &end.to_le_bytes()])
}

/// The checksum of a row's parts. Each part's length is in it, so that no byte can move from one part to the next.
fn sum(parts: &[&[u8]]) -> i64 {
    let mut sum = crc32fast::Hasher::new();
    for part in parts {
        sum.update(&(part.len() as u64).to_le_bytes());
        sum.update(part);
    }
    i64::from(sum.finalize())
}

#[cfg(test)]
mod tests {
    use super::super::database::{Database, FILE};
    use super::*;
    use crate::config::FileSync;

    fn database() -> (tempfile::TempDir, Database) {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join(FILE), FileSync::Os).unwrap();
        (folder, database)
    }

    #[test]
    fn a_damaged_value_is_neither_read_nor_expected() {
        let (_folder, mut database) = database();
        let damaged = database.write(|to| {
            put(to, "key", b"value")?;
            to.execute("UPDATE store SET value = x'00'", [])?;
            let set =
                [Some(&[0][..]), Some(b"value"), None].map(|value| compare_and_set(to, "key", value, None).unwrap());
            Ok((get(to, "key")?, set))
        });
        assert_eq!(damaged.unwrap(), (StoredValue::Damaged, [false; 3]));
        let repaired = database.write(|to| {
            put(to, "key", b"new")?;
            get(to, "key")
        });
        assert_eq!(repaired.unwrap(), StoredValue::Some(b"new".into()));
    }

    #[test]
    fn a_damaged_lease_can_be_taken_with_a_higher_token() {
        let (_folder, mut database) = database();
        let tokens = database.write(|to| {
            let first = lease(to, "name", "a", 100, 1_000)?;
            let refused = lease(to, "name", "b", 100, 1_050)?;
            to.execute("UPDATE leases SET end = 1 << 60", [])?;
            Ok([first, refused, lease(to, "name", "b", 100, 1_060)?, lease(to, "name", "a", 100, 1_159)?])
        });
        assert_eq!(tokens.unwrap(), [Some(1_000), None, Some(1_060), None]);
    }

    #[test]
    fn a_token_rises_when_the_clock_stands_still() {
        let (_folder, mut database) = database();
        let tokens = database.write(|to| {
            let first = lease(to, "name", "a", 100, 7)?;
            release(to, "name", "b", 7)?;
            let refused = lease(to, "name", "b", 100, 7)?;
            release(to, "name", "a", 7)?;
            let second = lease(to, "name", "a", 100, 7)?;
            Ok([first, refused, second, lease(to, "name", "a", 100, 106)?, lease(to, "name", "a", 100, 206)?])
        });
        assert_eq!(tokens.unwrap(), [Some(7), None, Some(8), Some(8), Some(206)]);
    }
}
