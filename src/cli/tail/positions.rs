//! How far `tidings tail` came in each channel, in memory and in the file of `--position-file`.
//!
//! The file is replaced as a whole, so that a command that is killed leaves the former or the new one. A lock beside it keeps a
//! second command away, which would deliver the same events again.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::client::Subscription;
use crate::config::read_error;
use crate::event::{Cursor, Position};

/// What is in the file.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    positions: BTreeMap<String, Position>,
}

/// The positions up to which everything is done.
#[derive(Default)]
pub struct Positions {
    stored: Stored,
    file: Option<Locked>,
}

/// A position file that is this command's alone.
struct Locked {
    path: PathBuf,
    /// Where the next content is written, before it takes the place of the file.
    draft: PathBuf,
    /// Held for as long as the command runs.
    _lock: File,
}

impl Positions {
    /// Reads a file, which need not exist yet.
    ///
    /// # Errors
    /// Another command uses it; it cannot be read; it is no position file.
    pub fn open(path: &Path) -> Result<Self, String> {
        let beside = |suffix: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists()) {
            return Err(format!(
                "cannot write {}: there is no folder {}: make it, or give another file",
                path.display(),
                folder.display()
            ));
        }
        let (lock_path, draft) = (beside(".lock"), beside(".new"));
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(&lock_path);
        let lock = lock.map_err(|error| format!("cannot write {}: {}", lock_path.display(), read_error(&error)))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => format!(
                "{} is in use by another `tail`, which delivers the same events: stop that one, or give another file",
                path.display()
            ),
            TryLockError::Error(error) => format!("cannot lock {}: {error}", lock_path.display()),
        })?;
        let stored = match fs::read(path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| {
                format!(
                    "{} is no position file: {error}; give another file, or remove it to begin anew",
                    path.display()
                )
            })?,
            Err(error) if error.kind() == ErrorKind::NotFound => Stored::default(),
            Err(error) => return Err(format!("cannot read {}: {}", path.display(), read_error(&error))),
        };
        let positions = Self { stored, file: Some(Locked { path: path.to_owned(), draft, _lock: lock }) };
        // A folder that cannot be written to is found before the first delivery.
        positions.save()?;
        Ok(positions)
    }

    /// Whether they outlive the command.
    pub fn is_kept(&self) -> bool {
        self.file.is_some()
    }

    /// Up to where everything of a channel is done.
    pub fn of(&self, channel: &str) -> Option<&Position> {
        self.stored.positions.get(channel)
    }

    /// The subscription from where its channel is done.
    pub fn resume(&self, subscription: Subscription) -> Subscription {
        match self.of(&subscription.channel) {
            Some(position) => {
                let since = position.to_string();
                subscription.since(since)
            }
            None => subscription,
        }
    }

    /// Everything of a channel up to here is done.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn done(&mut self, channel: &str, position: &Position) -> Result<(), String> {
        if self.of(channel) == Some(position) {
            return Ok(());
        }
        self.stored.positions.insert(channel.to_owned(), position.clone());
        self.save()
    }

    /// The positions in the form that `--since` takes.
    pub fn cursor(&self) -> Option<String> {
        (!self.stored.positions.is_empty()).then(|| Cursor(self.stored.positions.clone()).to_string())
    }

    fn save(&self) -> Result<(), String> {
        let Some(Locked { path, draft, .. }) = &self.file else { return Ok(()) };
        let mut text = serde_json::to_vec(&self.stored).map_err(|error| error.to_string())?;
        text.push(b'\n');
        let write = || {
            let mut file = File::create(draft)?;
            file.write_all(&text)?;
            // After a loss of power, the name must not point to an empty file.
            file.sync_data()?;
            fs::rename(draft, path)
        };
        write().map_err(|error| format!("cannot write the positions to {}: {error}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_kept_in_a_file_of_one_command() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("positions");
        let mut positions = Positions::open(&path).unwrap();
        positions.done("b", &"k3:7".parse().unwrap()).unwrap();
        positions.done("a", &"k4:1".parse().unwrap()).unwrap();
        positions.done("b", &"k3:8".parse().unwrap()).unwrap();
        let Err(error) = Positions::open(&path) else { panic!("two commands use it") };
        assert!(error.contains("in use by another"), "{error}");
        drop(positions);
        let positions = Positions::open(&path).unwrap();
        assert_eq!(positions.cursor().as_deref(), Some("a=k4:1,b=k3:8"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"positions\":{\"a\":\"k4:1\",\"b\":\"k3:8\"}}\n");
    }

    #[test]
    fn a_file_of_another_kind_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes");
        for text in ["my notes", "", "{\"positions\":{\"a\":\"7\"}}", "{\"positions\":{},\"more\":1}"] {
            fs::write(&path, text).unwrap();
            let Err(error) = Positions::open(&path) else { panic!("{text:?} was read") };
            assert!(error.contains("is no position file"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        let Err(error) = Positions::open(&folder.path().join("none/positions")) else { panic!("there is no folder") };
        assert!(error.contains("none/positions: there is no folder") && !error.contains(".lock"), "{error}");
    }
}
