//! The SQLite database: how it is opened, its connections, and what its errors mean.
//!
//! SQLite runs in WAL mode. A transaction that fails, on a full disk or by a `kill -9`, changes nothing, and readers never
//! wait for the writer. There is one writing connection ([`Database`]) and a pool of reading ones ([`Readers`]). The
//! statements are in [`rows`](super::rows), [`latest_rows`](super::latest_rows) and [`store_rows`](super::store_rows).

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, Error, ErrorCode, OpenFlags, Transaction, TransactionBehavior};
use tokio::sync::Semaphore;

use crate::broker::BrokerError;
use crate::config::FileSync;

/// The database's file.
pub(super) const FILE: &str = "log.sqlite";

/// SQLite's `application_id` of our databases: "tidi".
const APPLICATION_ID: i32 = 0x7469_6469;
/// The version of the schema, SQLite's `user_version`.
const SCHEMA_VERSION: i32 = 5;
/// The most concurrent reads.
const MAX_READERS: usize = 4;
/// Pages of 4 KiB in the WAL after which SQLite checkpoints it. Fewer checkpoints are fewer syncs; a longer WAL takes
/// longer to open after a kill.
const CHECKPOINT_PAGES: i32 = 4_000;
/// How long the writer waits for a lock of another process, such as a `sqlite3` that writes.
const BUSY_TIMEOUT: Duration = Duration::from_millis(100);
/// Free pages that the file keeps, and how many are given back at a time.
const SPARE_PAGES: i64 = 1_024;
/// Prepared statements that a connection caches: more than there are.
const CACHED_STATEMENTS: usize = 64;

/// Why a database operation failed, and what is known of its effect.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Failure {
    /// The files have other bytes than were written to them. Nothing was changed.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// Nothing was changed: the disk is full, the database is locked, or a right is missing.
    #[error("{0}")]
    Rejected(String),
    /// The operating system failed to read or write. A commit may be on the disk or not.
    #[error("{0}")]
    Unknown(String),
}

/// The connection that writes.
#[derive(Debug)]
pub(super) struct Database {
    connection: Connection,
}

/// A pool of connections that read.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

/// The names of the database's files.
pub(super) fn files() -> [String; 3] {
    ["", "-wal", "-shm"].map(|end| format!("{FILE}{end}"))
}

impl Database {
    /// Opens the database, and creates it if it is missing.
    pub fn open(path: &Path, sync: FileSync) -> Result<Self, Failure> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        // Events may be confidential, and the directory may be open to others. SQLite gives the files beside it the same mode. Where
        // the file cannot be created, SQLite says why.
        let _ = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
        let connection = Connection::open_with_flags(path, flags)?;
        connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
        connection.busy_timeout(BUSY_TIMEOUT)?;
        let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
        let (application, version) = (number("application_id")?, number("user_version")?);
        let empty: bool =
            connection.query_row("SELECT NOT EXISTS (SELECT * FROM sqlite_schema)", [], |row| row.get(0))?;
        match (application, version) {
            (APPLICATION_ID, SCHEMA_VERSION) => {}
            (0, 0) if empty => {}
            (APPLICATION_ID, other) => {
                return Err(Failure::Rejected(format!(
                    "{} has version {other} of the format, and this tidings reads version {SCHEMA_VERSION}: \
                     use the tidings that wrote it, or move the file away",
                    path.display()
                )));
            }
            _ => return Err(Failure::Rejected(format!("{} is no log of tidings", path.display()))),
        }
        // This comes first: it can only be set in an empty database.
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
        if mode != "wal" {
            // Most likely a network file system: WAL mode needs shared memory.
            return Err(Failure::Rejected(format!(
                "the file system of {} cannot be used: SQLite's WAL mode does not work on it",
                path.display()
            )));
        }
        let synchronous = match sync {
            // Sync at each commit.
            FileSync::Always => "FULL",
            // Sync at checkpoints, so that a power failure loses the newest commits and damages nothing.
            FileSync::Os => "NORMAL",
        };
        connection.pragma_update(None, "synchronous", synchronous)?;
        // On macOS a plain fsync does not reach the disk.
        connection.pragma_update(None, "fullfsync", true)?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        connection.pragma_update(None, "journal_size_limit", CHECKPOINT_PAGES * 4096)?;
        connection.pragma_update(None, "cell_size_check", true)?;
        connection.pragma_update(None, "cache_size", -4096)?;
        let mut database = Self { connection };
        if empty {
            database.write(|transaction| {
                transaction.execute_batch(include_str!("schema.sql"))?;
                transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
                Ok(transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?)
            })?;
        }
        Ok(database)
    }

    /// Runs `work` in one transaction, which changes nothing if it fails.
    pub fn write<T>(&mut self, work: impl FnOnce(&Transaction<'_>) -> Result<T, Failure>) -> Result<T, Failure> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = work(&transaction)?;
        transaction.commit()?;
        Ok(done)
    }

    /// Runs `work` on one snapshot.
    pub fn read<T>(&mut self, work: impl FnOnce(&Connection) -> Result<T, Failure>) -> Result<T, Failure> {
        work(&*self.connection.transaction()?)
    }

    /// Moves the whole WAL into the database's file and syncs it; `false` if another process's lock prevented that.
    pub fn checkpoint(&self) -> Result<bool, Failure> {
        let busy: bool = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        Ok(!busy)
    }

    /// Gives up to 4 MiB back to the disk, if the database was much larger once.
    pub fn shrink(&self) -> Result<(), Failure> {
        let number = |name: &str| self.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let (free, all) = (number("freelist_count")?, number("page_count")?);
        if free > SPARE_PAGES && free > all / 2 {
            let mut vacuum = self.connection.prepare(&format!("PRAGMA incremental_vacuum({SPARE_PAGES})"))?;
            let mut pages = vacuum.query([])?;
            while pages.next()?.is_some() {}
            // The file shrinks once the WAL was moved into it. A passive checkpoint does not wait for readers.
            self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
        }
        Ok(())
    }
}

impl Readers {
    pub fn new(path: PathBuf) -> Self {
        Self { path, idle: Mutex::default(), permits: Arc::new(Semaphore::new(MAX_READERS)) }
    }

    /// Runs `work` on one snapshot of the database, on a thread that may block on the disk.
    pub async fn read<T: Send + 'static>(
        self: Arc<Self>,
        work: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let closed = |_| Failure::Unknown("the broker is closed".into());
        let permit = self.permits.clone().acquire_owned().await.map_err(closed)?;
        let read = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let mut connection = match self.idle().pop() {
                Some(connection) => connection,
                None => self.connect()?,
            };
            let done = work(&*connection.transaction()?)?;
            self.idle().push(connection);
            Ok(done)
        });
        read.await.map_err(|error| Failure::Unknown(error.to_string()))?
    }

    fn connect(&self) -> Result<Connection, Failure> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
        connection.pragma_update(None, "cell_size_check", true)?;
        connection.pragma_update(None, "cache_size", -1024)?;
        Ok(connection)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Failure {
    /// The error for the caller: it says whether the call may have been carried out.
    pub fn into_error(self, what: &str) -> BrokerError {
        let cause = format!("{what}: {self}");
        match self {
            Self::Damaged(_) | Self::Rejected(_) => BrokerError::Rejected(cause),
            Self::Unknown(_) => BrokerError::Unavailable(cause),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Unknown(error.to_string())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let cause = error.to_string();
        match &error {
            Error::SqliteFailure(failure, _) => match failure.code {
                // A violated constraint: the database has a row that was never written, or lost one.
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::ConstraintViolation => {
                    Self::Damaged(cause)
                }
                // SQLite reports a full disk only for a write that failed. The frame that completes a commit is the last
                // one written, so that it is not in the WAL then. The others are found before anything is written.
                ErrorCode::DiskFull
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::ReadOnly
                | ErrorCode::PermissionDenied
                | ErrorCode::CannotOpen => Self::Rejected(cause),
                _ => Self::Unknown(cause),
            },
            // A value that is never written, or a row that is missing.
            Error::FromSqlConversionFailure(..)
            | Error::IntegralValueOutOfRange(..)
            | Error::InvalidColumnType(..)
            | Error::QueryReturnedNoRows
            | Error::Utf8Error(..) => Self::Damaged(cause),
            _ => Self::Unknown(cause),
        }
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    #[test]
    fn an_error_says_whether_something_may_have_changed() {
        let of = |code| Failure::from(Error::SqliteFailure(ffi::Error::new(code), None)).into_error("the log");
        for code in
            [ffi::SQLITE_FULL, ffi::SQLITE_BUSY, ffi::SQLITE_READONLY, ffi::SQLITE_CANTOPEN, ffi::SQLITE_CORRUPT]
        {
            assert!(matches!(of(code), BrokerError::Rejected(_)), "{code}");
        }
        for code in [ffi::SQLITE_IOERR, ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_NOMEM] {
            assert!(matches!(of(code), BrokerError::Unavailable(_)), "{code}");
        }
    }
}
