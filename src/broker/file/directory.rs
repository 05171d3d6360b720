//! The log's directory: created if it is missing, locked by one daemon, and where damaged files are kept.
//!
//! It holds the lock file, the database's files and the durability marker. Damaged files are moved into `damaged-1`,
//! `damaged-2` and so on, and never deleted.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::{database, durability_marker};

const LOCK: &str = "lock";

/// The log's directory, locked until this is dropped.
#[derive(Debug)]
pub(super) struct LogDirectory {
    path: PathBuf,
    /// The kernel releases the lock when the process ends, also after a `kill -9`.
    lock: File,
}

/// Identifies a file independently of its path, to notice that it was removed or replaced.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FileIdentity {
    device: u64,
    inode: u64,
}

/// Creates a directory and its parents, where they are missing.
pub(super) fn create_all(path: &Path) -> io::Result<()> {
    let all: Vec<_> = path.ancestors().filter(|path| !path.as_os_str().is_empty()).collect();
    all.into_iter().rev().filter(|path| !path.exists()).try_for_each(|path| create(path, 0o777))
}

/// Creates a directory if it is missing, and syncs its parent: a power failure must not remove the directory again.
fn create(path: &Path, mode: u32) -> io::Result<()> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        created => created?,
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

impl LogDirectory {
    /// Locks the directory, and creates it if it is missing. Its parent must exist.
    ///
    /// # Errors
    /// A sentence that names the path and the cause: another daemon's lock, or an error of the file system.
    pub fn lock(path: &Path) -> Result<Self, String> {
        let wrong = |what: &str, error: io::Error| format!("cannot {what} {}: {error}", path.display());
        if path.is_file() {
            return Err(format!(
                "{} is a file: name a directory, which the daemon creates if it is missing",
                path.display()
            ));
        }
        // Events may be confidential: only the daemon's user reads them.
        create(path, 0o700).map_err(|error| wrong("create the directory", error))?;
        let at = path.join(LOCK);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&at)
            .map_err(|error| wrong("write to", error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = fs::read_to_string(&at).unwrap_or_default();
                let holder = holder.trim().parse::<u32>().map_or(String::new(), |id| format!(", process {id}"));
                return Err(format!(
                    "{} is in use by another daemon{holder}: stop it, or name another directory",
                    path.display()
                ));
            }
            Err(TryLockError::Error(error)) => return Err(wrong("lock", error)),
        }
        // The other daemon's error names this process. On a full disk the daemon starts without that.
        let _ = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
        Ok(Self { path: path.into(), lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of the database's file.
    pub fn database(&self) -> PathBuf {
        self.path.join(database::FILE)
    }

    /// Syncs the directory's list of files to the disk.
    pub fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    /// Syncs the database's files to the disk. Call it before the database is opened: a POSIX lock ends when the process
    /// closes any handle of the file, and SQLite's locks with it.
    pub fn sync_database(&self) -> io::Result<()> {
        for name in database::files() {
            match File::open(self.path.join(name)) {
                Ok(file) => file.sync_all()?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Moves the database's files and the marker into a new `damaged-N` directory; its path.
    pub fn set_aside(&self) -> io::Result<PathBuf> {
        let mut paths = (1..u32::MAX).map(|number| self.path.join(format!("damaged-{number}")));
        let target = paths.find(|path| !path.exists()).ok_or(io::ErrorKind::AlreadyExists)?;
        fs::create_dir(&target)?;
        for name in database::files().iter().map(String::as_str).chain([durability_marker::FILE]) {
            match fs::rename(self.path.join(name), target.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.sync()?;
        Ok(target)
    }
}

impl Drop for LogDirectory {
    fn drop(&mut self) {
        // A child process that is being started inherits the file for a moment, so that closing it does not unlock it.
        let _ = self.lock.unlock();
    }
}

/// The identity of the file at a path, if there is one.
pub(super) fn identity(path: &Path) -> Option<FileIdentity> {
    let file = fs::metadata(path).ok()?;
    Some(FileIdentity { device: file.dev(), inode: file.ino() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_daemon_locks_a_directory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let first = LogDirectory::lock(&path).unwrap();
        let refused = LogDirectory::lock(&path).unwrap_err();
        assert!(refused.contains("in use by another daemon") && refused.contains(&std::process::id().to_string()));
        drop(first);
        LogDirectory::lock(&path).unwrap();
    }

    #[test]
    fn the_error_names_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        for path in [file.clone(), file.join("log"), folder.path().join("missing/log")] {
            let refused = LogDirectory::lock(&path).unwrap_err();
            assert!(refused.contains(&path.display().to_string()), "{refused}");
        }
    }

    #[test]
    fn damaged_files_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let directory = LogDirectory::lock(&folder.path().join("log")).unwrap();
        for text in ["one", "two"] {
            fs::write(directory.database(), text).unwrap();
            let target = directory.set_aside().unwrap();
            assert_eq!(fs::read_to_string(target.join(database::FILE)).unwrap(), text);
            assert_eq!(identity(&directory.database()), None);
        }
    }
}
