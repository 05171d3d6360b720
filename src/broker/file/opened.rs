//! The opening of a log: takes the directory, opens the store, and judges whether everything is there that was answered.
//!
//! Where the newest events are missing a new epoch begins above what is left, so that no position ever stands for two
//! events. What is left is part of it, under the same offsets. The store is written by one daemon, and in order, so what is
//! left is what it was: who had some of it in the epoch before goes on after that. Only where there is no mark does nobody
//! know what was in the store before, and everybody gets all of it: rather again than not at all. A store that cannot be
//! read is set aside, never deleted, and the log begins anew.

use std::path::PathBuf;
use std::sync::Arc;

use super::clock::{Clock, Reading};
use super::database::{Database, Failure};
use super::directory::{Directory, Identity, identity};
use super::durability_marker::{DurabilityMarker, DurabilityMarkerFile, Promise};
use super::rows::{self, Channel};
use crate::config::FileSync;
use crate::event::Epoch;

/// What is opened, and how.
#[derive(Debug)]
pub(super) struct Home {
    pub path: PathBuf,
    pub sync: FileSync,
    /// The names of the channels, in the catalogue's order.
    pub names: Vec<Arc<str>>,
}

/// A log that is open, for the one who writes.
#[derive(Debug)]
pub(super) struct Opened {
    pub database: Database,
    pub clock: Clock,
    /// What the store has of each channel, in the catalogue's order; the store's only writer keeps it up to date.
    pub channels: Vec<Channel>,
    mark: DurabilityMarkerFile,
    /// Events that were ever appended.
    appended: u64,
    promise: Promise,
    /// When it was opened, and in which start of the machine.
    begun: Reading,
    path: PathBuf,
    identity: Option<Identity>,
}

impl Home {
    /// Opens the log in its directory.
    ///
    /// # Errors
    /// A sentence about what is in the way.
    pub fn open(&self, directory: &Directory) -> Result<Opened, String> {
        match self.judge(directory) {
            Err(Failure::Damaged(reason)) => self.begin_anew(directory, &reason),
            opened => opened.map_err(|failure| self.says(&failure)),
        }
    }

    /// Sets aside what is there, which must be closed, and begins with nothing.
    pub fn begin_anew(&self, directory: &Directory, reason: &str) -> Result<Opened, String> {
        let place = directory.set_aside().map_err(|error| format!("cannot set the damaged log aside: {error}"))?;
        tracing::error!(reason, kept = %place.display(), "the log is damaged: it is set aside and begins anew");
        self.judge(directory).map_err(|failure| self.says(&failure))
    }

    fn judge(&self, directory: &Directory) -> Result<Opened, Failure> {
        let path = directory.database();
        let begun = Reading::now();
        let (file, mark) = DurabilityMarkerFile::open(directory.path())?;
        let with_the_kernel = mark.as_ref().is_some_and(|mark| mark.promise == Promise::Os);
        if with_the_kernel && self.sync == FileSync::Always {
            directory.sync_database()?;
        }
        let is_new = identity(&path).is_none();
        let mut database = Database::open(&path, self.sync)?;
        let epoch = Epoch::random();
        let appended = database.read(rows::appended)?;
        let lost = match &mark {
            _ if is_new => None,
            None => Some("nothing says how much there was"),
            Some(mark) if mark.appended > appended => Some("the store has less than was answered"),
            // Not always so, but never known.
            Some(mark) if with_the_kernel && !mark.moment.at.same_boot(&begun) => {
                Some("the machine may have stopped before everything was on the disk")
            }
            Some(_) => None,
        };
        if let Some(reason) = lost {
            tracing::warn!(reason, "the log may have lost its newest events: a new epoch begins");
            database.write(|to| rows::renew_all(to, &epoch, mark.is_some()))?;
        }
        let known = database.read(|from| self.names.iter().map(|name| rows::find_channel(from, name)).collect())?;
        let channels: Vec<Channel> = match known {
            Some(channels) => channels,
            None => {
                database.write(|to| self.names.iter().map(|name| rows::make_channel(to, name, &epoch)).collect())?
            }
        };
        let newest = channels.iter().map(|channel| channel.newest).max().unwrap_or_default();
        let clock = Clock::resume(mark.as_ref().map(|mark| &mark.moment), newest, &begun);
        let promise = match self.sync {
            FileSync::Always => Promise::Always,
            FileSync::Os => Promise::Os,
        };
        let identity = identity(&path);
        let opened = Opened { database, clock, channels, mark: file, appended, promise, begun, path, identity };
        opened.mark.write_through(&opened.mark(promise))?;
        directory.sync()?;
        Ok(opened)
    }

    fn says(&self, failure: &Failure) -> String {
        format!("the log in {}: {failure}", self.path.display())
    }
}

impl Opened {
    /// To be called after each commit, before anybody is answered.
    pub fn committed(&mut self, events: u64) -> Result<(), Failure> {
        self.appended += events;
        Ok(self.mark.write(&self.mark(self.promise))?)
    }

    /// Whether the file that is written is still the one that a restart would find.
    pub fn is_in_place(&self) -> bool {
        self.identity.is_some() && identity(&self.path) == self.identity
    }

    /// Writes everything to the disk.
    pub fn close(self) -> Result<(), Failure> {
        let settled = self.database.settle()?;
        let mark = self.mark(if settled { Promise::Closed } else { self.promise });
        Ok(self.mark.write_through(&mark)?)
    }

    fn mark(&self, promise: Promise) -> DurabilityMarker {
        DurabilityMarker { appended: self.appended, promise, moment: self.clock.moment(self.begun.again()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log with three events, which nobody closed.
    struct Left {
        folder: tempfile::TempDir,
        before: Channel,
    }

    fn home(folder: &tempfile::TempDir, sync: FileSync) -> (Directory, Home) {
        let path = folder.path().join("log");
        (Directory::take(&path).unwrap(), Home { path, sync, names: vec!["orders".into(), "stock".into()] })
    }

    fn left(sync: FileSync) -> Left {
        let folder = tempfile::tempdir().unwrap();
        let (directory, home) = home(&folder, sync);
        let mut opened = home.open(&directory).unwrap();
        let before = opened.channels[1].clone();
        for offset in 1..=3 {
            let time = opened.clock.now();
            opened.database.write(|to| rows::add(to, before.number, offset, time, "{}")).unwrap();
            opened.committed(1).unwrap();
        }
        Left { folder, before }
    }

    impl Left {
        /// Opens it again, after the mark was changed; the channel with the events.
        fn again(&self, sync: FileSync, change: impl FnOnce(&mut DurabilityMarker)) -> Channel {
            let (directory, home) = home(&self.folder, sync);
            let (file, mark) = DurabilityMarkerFile::open(directory.path()).unwrap();
            let mut mark = mark.unwrap();
            change(&mut mark);
            file.write(&mark).unwrap();
            let channel = home.open(&directory).unwrap().channels.remove(1);
            assert_eq!((channel.number, channel.head), (self.before.number, 3));
            channel
        }
    }

    fn another_boot(mark: &mut DurabilityMarker) {
        mark.moment.at.boot = "another".into();
    }

    #[test]
    fn what_the_system_had_may_be_lost_with_it() {
        let left = left(FileSync::Os);
        assert_eq!(left.again(FileSync::Os, |_| {}).epoch, left.before.epoch, "the daemon alone was gone");
        let after = left.again(FileSync::Os, another_boot);
        assert!(after.epoch != left.before.epoch && after.head == 3);
        // A system that does not say which start it is.
        let again = left.again(FileSync::Os, |mark| mark.moment.at.boot = "".into());
        assert!(again.epoch != after.epoch);
        // What was written so before is as safe from now on as what comes.
        assert_eq!(left.again(FileSync::Always, |_| {}).epoch, again.epoch);
        assert_eq!(left.again(FileSync::Always, another_boot).epoch, again.epoch);
    }

    #[test]
    fn what_the_disk_had_is_there_again() {
        let left = left(FileSync::Always);
        let after = left.again(FileSync::Always, another_boot);
        assert_eq!(after.epoch, left.before.epoch);
    }

    #[test]
    fn what_was_closed_is_there_again() {
        let left = left(FileSync::Os);
        let (directory, home) = home(&left.folder, FileSync::Os);
        home.open(&directory).unwrap().close().unwrap();
        drop(directory);
        let promise = |mark: &mut DurabilityMarker| {
            assert_eq!((mark.promise, mark.appended), (Promise::Closed, 3));
            another_boot(mark);
        };
        assert_eq!(left.again(FileSync::Os, promise).epoch, left.before.epoch);
    }

    #[test]
    fn a_store_that_has_less_than_was_answered_has_lost_it() {
        let left = left(FileSync::Always);
        let after = left.again(FileSync::Always, |mark| mark.appended = 4);
        assert!(after.epoch != left.before.epoch);
        assert_eq!(left.again(FileSync::Always, |mark| assert_eq!(mark.appended, 3)).epoch, after.epoch);
        // One that has more does not: a commit may be followed by the end.
        assert_eq!(left.again(FileSync::Always, |mark| mark.appended = 2).epoch, after.epoch);
    }

    #[test]
    fn a_clock_that_was_stepped_meanwhile_makes_no_event_older_or_younger() {
        const HOUR: u64 = 3_600_000;
        let left = left(FileSync::Os);
        for step in [HOUR as i64, -(HOUR as i64)] {
            let (directory, home) = home(&left.folder, FileSync::Os);
            let (file, mark) = DurabilityMarkerFile::open(directory.path()).unwrap();
            let mut mark = mark.unwrap();
            mark.moment.at.wall = mark.moment.at.wall.saturating_add_signed(step);
            file.write(&mark).unwrap();
            let opened = home.open(&directory).unwrap();
            let (channel, age) = (&opened.channels[1], opened.clock.now() - opened.channels[1].newest);
            assert_eq!((&channel.epoch, channel.head), (&left.before.epoch, 3));
            assert!(age < HOUR / 2, "{age} ms");
        }
    }

    #[test]
    fn times_go_on_from_where_they_were() {
        let left = left(FileSync::Os);
        let (directory, home) = home(&left.folder, FileSync::Os);
        let opened = home.open(&directory).unwrap();
        assert!(opened.clock.now() >= opened.channels[1].newest && opened.channels[1].newest > 0);
    }
}
