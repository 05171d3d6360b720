//! The directory of the log: made where it is not there, locked for one daemon, and where damaged files are kept.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::{database, durability_marker};

const LOCK: &str = "lock";

/// A directory that is ours for as long as this lives.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// The kernel lets go of it with the process, however that ends.
    lock: File,
}

/// Which file stands at a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

/// Makes a directory and all above it, where they are not there.
pub(super) fn make_all(path: &Path) -> io::Result<()> {
    let all: Vec<_> = path.ancestors().filter(|path| !path.as_os_str().is_empty()).collect();
    all.into_iter().rev().filter(|path| !path.exists()).try_for_each(|path| make(path, 0o777))
}

/// Makes one where it is not there, so that a loss of power does not take it away with all that is in it.
fn make(path: &Path, mode: u32) -> io::Result<()> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        made => made?,
    }
    let above = path.parent().filter(|above| !above.as_os_str().is_empty());
    File::open(above.unwrap_or(Path::new(".")))?.sync_all()
}

impl Directory {
    /// Takes the directory, and makes it where it is not there; what is above it must be there.
    ///
    /// # Errors
    /// A sentence about what is in the way.
    pub fn take(path: &Path) -> Result<Self, String> {
        let wrong = |what: &str, error: io::Error| format!("cannot {what} {}: {error}", path.display());
        // Events are nobody else's business.
        make(path, 0o700).map_err(|error| wrong("make the directory", error))?;
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
                return Err(format!("{} is in use by another daemon{holder}", path.display()));
            }
            Err(TryLockError::Error(error)) => return Err(wrong("lock", error)),
        }
        // For whoever meets the lock; a disk that is full is no reason not to start.
        let _ = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
        Ok(Self { path: path.into(), lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The store's file.
    pub fn database(&self) -> PathBuf {
        self.path.join(database::FILE)
    }

    /// Writes to the disk which files there are.
    pub fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    /// Writes what the kernel has of the store to the disk. To be called before the store is opened: SQLite's locks would
    /// not outlive a second opening of its file by the same process.
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

    /// Moves the store's files and the mark out of the way; where they are now.
    pub fn set_aside(&self) -> io::Result<PathBuf> {
        let mut places = (1..u32::MAX).map(|number| self.path.join(format!("damaged-{number}")));
        let place = places.find(|place| !place.exists()).ok_or(io::ErrorKind::AlreadyExists)?;
        fs::create_dir(&place)?;
        for name in database::files().iter().map(String::as_str).chain([durability_marker::FILE]) {
            match fs::rename(self.path.join(name), place.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.sync()?;
        Ok(place)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // To close the file is not enough while a process is being started: for a moment it has all that we have.
        let _ = self.lock.unlock();
    }
}

/// Which file is there now, if any.
pub(super) fn identity(path: &Path) -> Option<Identity> {
    let file = fs::metadata(path).ok()?;
    Some(Identity { device: file.dev(), inode: file.ino() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let first = Directory::take(&path).unwrap();
        let refused = Directory::take(&path).unwrap_err();
        assert!(refused.contains("in use by another daemon") && refused.contains(&std::process::id().to_string()));
        drop(first);
        Directory::take(&path).unwrap();
    }

    #[test]
    fn what_is_in_the_way_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        for path in [file.clone(), file.join("log"), folder.path().join("missing/log")] {
            let refused = Directory::take(&path).unwrap_err();
            assert!(refused.contains(&path.display().to_string()), "{refused}");
        }
    }

    #[test]
    fn what_is_damaged_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::take(&folder.path().join("log")).unwrap();
        for text in ["one", "two"] {
            fs::write(directory.database(), text).unwrap();
            let place = directory.set_aside().unwrap();
            assert_eq!(fs::read_to_string(place.join(database::FILE)).unwrap(), text);
            assert_eq!(identity(&directory.database()), None);
        }
    }
}
