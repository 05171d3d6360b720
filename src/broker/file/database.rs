//! The store: one SQLite database, how it is opened, and how it fails.
//!
//! SQLite writes ahead to a log of its own: a transaction that ends badly, for a full disk or a `kill -9`, leaves
//! everything as it was, and what was written before can be read all the time. Here is one connection that writes, and
//! [`Readers`] that do not wait for it. What the rows mean is said in [`rows`](super::rows).

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, Error, ErrorCode, OpenFlags, Transaction, TransactionBehavior};
use tokio::sync::Semaphore;

use crate::config::FileSync;

/// The database's file.
pub(super) const FILE: &str = "log.sqlite";

/// What says that a database is one of ours: "tidi".
const APPLICATION: i32 = 0x7469_6469;
/// The version of the schema.
const VERSION: i32 = 3;
/// Reads that go on at a time.
const READERS: usize = 4;
/// Pages of 4 KiB that SQLite's log takes before they are moved to their places: the fewer times, the fewer waits for the
/// disk; the more pages, the longer an opening after a kill.
const CHECKPOINT: i32 = 4_000;
/// How long the writer waits for somebody who is in the way: a `sqlite3` that writes, which nobody should.
const BUSY: Duration = Duration::from_millis(100);
/// Pages that may be empty.
const SPARE: i64 = 1_024;
/// Statements that a connection keeps prepared: all that there are.
const STATEMENTS: usize = 64;

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// What stands in the files is not what was written to them.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// Nothing has changed: the disk is full, perhaps, or does not answer.
    #[error("{0}")]
    Refused(String),
}

/// The connection that writes.
#[derive(Debug)]
pub(super) struct Database {
    connection: Connection,
}

/// Connections that read, each an instant of the log.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    turns: Arc<Semaphore>,
}

/// The names of the files that a store has.
pub(super) fn files() -> [String; 3] {
    ["", "-wal", "-shm"].map(|end| format!("{FILE}{end}"))
}

impl Database {
    /// Opens the database, and makes it where it is not there.
    pub fn open(path: &Path, sync: FileSync) -> Result<Self, Failure> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        connection.busy_timeout(BUSY)?;
        let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
        let (application, version) = (number("application_id")?, number("user_version")?);
        let empty: bool =
            connection.query_row("SELECT NOT EXISTS (SELECT * FROM sqlite_schema)", [], |row| row.get(0))?;
        match (application, version) {
            (APPLICATION, VERSION) => {}
            (0, 0) if empty => {}
            (APPLICATION, other) => {
                return Err(Failure::Refused(format!(
                    "{} has version {other} of the format, and this tidings reads version {VERSION}: \
                     use the tidings that wrote it, or move the file away",
                    path.display()
                )));
            }
            _ => return Err(Failure::Refused(format!("{} is no log of tidings", path.display()))),
        }
        // The order matters: the first can only be set in an empty database.
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
        if mode != "wal" {
            // A network's, most likely: it must be able to share memory.
            return Err(Failure::Refused(format!("the file system of {} cannot be used", path.display())));
        }
        let synchronous = match sync {
            // At each transaction.
            FileSync::Always => "FULL",
            // Only where pages are moved to their places, so that a loss of power takes the newest and nothing else.
            FileSync::Os => "NORMAL",
        };
        connection.pragma_update(None, "synchronous", synchronous)?;
        // Where the system's plain sync does not reach the disk (macOS).
        connection.pragma_update(None, "fullfsync", true)?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT)?;
        connection.pragma_update(None, "journal_size_limit", CHECKPOINT * 4096)?;
        connection.pragma_update(None, "cell_size_check", true)?;
        connection.pragma_update(None, "cache_size", -4096)?;
        let mut database = Self { connection };
        if empty {
            database.write(|transaction| {
                transaction.execute_batch(include_str!("schema.sql"))?;
                transaction.pragma_update(None, "application_id", APPLICATION)?;
                Ok(transaction.pragma_update(None, "user_version", VERSION)?)
            })?;
        }
        Ok(database)
    }

    /// Does all of `work` or nothing.
    pub fn write<T>(&mut self, work: impl FnOnce(&Transaction<'_>) -> Result<T, Failure>) -> Result<T, Failure> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = work(&transaction)?;
        transaction.commit()?;
        Ok(done)
    }

    pub fn read<T>(&mut self, work: impl FnOnce(&Connection) -> Result<T, Failure>) -> Result<T, Failure> {
        work(&*self.connection.transaction()?)
    }

    /// Writes everything to its place on the disk; whether nobody was in the way.
    pub fn settle(&self) -> Result<bool, Failure> {
        let busy: bool = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        Ok(!busy)
    }

    /// Gives a few megabytes back to the disk, where the log was much larger once.
    pub fn shrink(&self) -> Result<(), Failure> {
        let number = |name: &str| self.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let (free, all) = (number("freelist_count")?, number("page_count")?);
        if free > SPARE && free > all / 2 {
            let mut vacuum = self.connection.prepare(&format!("PRAGMA incremental_vacuum({SPARE})"))?;
            let mut pages = vacuum.query([])?;
            while pages.next()?.is_some() {}
            // As far as nobody reads what would be moved: the file becomes shorter when all is in its place.
            self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
        }
        Ok(())
    }
}

impl Readers {
    pub fn new(path: PathBuf) -> Self {
        Self { path, idle: Mutex::default(), turns: Arc::new(Semaphore::new(READERS)) }
    }

    /// Reads at one instant of the log, on a thread that may wait for the disk.
    pub async fn read<T: Send + 'static>(
        self: Arc<Self>,
        work: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let gone = |_| Failure::Refused("it is closed".into());
        let turn = self.turns.clone().acquire_owned().await.map_err(gone)?;
        let read = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let mut connection = match self.idle().pop() {
                Some(connection) => connection,
                None => self.connect()?,
            };
            let done = work(&*connection.transaction()?)?;
            self.idle().push(connection);
            Ok(done)
        });
        read.await.map_err(|error| Failure::Refused(error.to_string()))?
    }

    fn connect(&self) -> Result<Connection, Failure> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        connection.pragma_update(None, "cell_size_check", true)?;
        connection.pragma_update(None, "cache_size", -1024)?;
        Ok(connection)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Refused(error.to_string())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let damaged = match &error {
            Error::SqliteFailure(failure, _) => matches!(
                failure.code,
                // The last: a row where there was none.
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::ConstraintViolation
            ),
            // A value that cannot have been written, or none where there must be one.
            Error::FromSqlConversionFailure(..)
            | Error::IntegralValueOutOfRange(..)
            | Error::InvalidColumnType(..)
            | Error::QueryReturnedNoRows
            | Error::Utf8Error(..) => true,
            _ => false,
        };
        match damaged {
            true => Self::Damaged(error.to_string()),
            false => Self::Refused(error.to_string()),
        }
    }
}
