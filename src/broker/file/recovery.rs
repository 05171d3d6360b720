//! Recovery: opens the log at startup and detects whether it lost acknowledged events.
//!
//! If events are missing, or may be, a new epoch begins above those that are left, so that no position ever names two
//! events. The events that are left keep their offsets in the new epoch. One daemon writes them in order, so that they are
//! those of the earlier epoch and its readers continue after them. Without a durability marker nothing is known of the
//! earlier epochs: every reader then gets all events, some of them twice. A database that cannot be read is set aside, never
//! deleted, and the log begins empty, in another epoch too.

use std::path::PathBuf;
use std::sync::Arc;

use super::clock::{ClockReading, LogClock};
use super::database::{Database, Failure};
use super::directory::{FileIdentity, LogDirectory, identity};
use super::durability_marker::{Durability, DurabilityMarker, DurabilityMarkerFile};
use super::epoch_rows;
use super::latest_rows;
use super::rows::{self, ChannelRow};
use crate::config::FileSync;
use crate::event::Epoch;

/// Where the log is, and how it is written.
#[derive(Debug)]
pub(super) struct LogOptions {
    /// The log's directory.
    pub path: PathBuf,
    pub sync: FileSync,
    /// The names of the channels, in the catalogue's order.
    pub channel_names: Vec<Arc<str>>,
}

/// The open log, as its writer uses it.
#[derive(Debug)]
pub(super) struct OpenLog {
    pub database: Database,
    pub clock: LogClock,
    /// The channels in the catalogue's order. The writer keeps them up to date.
    pub channels: Vec<ChannelRow>,
    /// How many subjects of each channel have a newest event, in the same order.
    pub subjects: Vec<u64>,
    marker: DurabilityMarkerFile,
    /// How many events were ever appended.
    pub appended: u64,
    durability: Durability,
    /// The clocks when the log was opened, and the machine's boot.
    opened: ClockReading,
    path: PathBuf,
    identity: Option<FileIdentity>,
}

impl LogOptions {
    /// Opens the log in its directory. A damaged one is set aside, and an empty one is opened. `seen` is how many events
    /// this process knows the log to have had.
    ///
    /// # Errors
    /// A sentence that names the directory and the cause.
    pub fn open(&self, directory: &LogDirectory, seen: u64) -> Result<OpenLog, String> {
        match self.recover(directory, seen) {
            Err(Failure::Damaged(reason)) => self.begin_empty(directory, &reason),
            opened => opened.map_err(|failure| self.sentence(&failure)),
        }
    }

    /// Sets the damaged files aside and opens an empty log. The database must be closed.
    ///
    /// # Errors
    /// A sentence that names the directory and the cause.
    pub fn begin_empty(&self, directory: &LogDirectory, reason: &str) -> Result<OpenLog, String> {
        let kept = directory.set_aside().map_err(|error| format!("cannot set the damaged log aside: {error}"))?;
        tracing::error!(reason, kept = %kept.display(), "the log is damaged: it is set aside, and an empty one begins");
        // The damaged log had events, as far as anybody knows.
        self.recover(directory, 1).map_err(|failure| self.sentence(&failure))
    }

    fn recover(&self, directory: &LogDirectory, seen: u64) -> Result<OpenLog, Failure> {
        let path = directory.database();
        let opened = ClockReading::now();
        let (marker_file, marker) = DurabilityMarkerFile::open(directory.path())?;
        let was_in_kernel = marker.as_ref().is_some_and(|marker| marker.durability == Durability::InKernel);
        if was_in_kernel && self.sync == FileSync::Always {
            directory.sync_database()?;
        }
        let is_new = identity(&path).is_none();
        let mut database = Database::open(&path, self.sync)?;
        let appended = database.read(rows::appended)?;
        let acknowledged = marker.as_ref().map_or(0, |marker| marker.appended).max(seen);
        let loss = match &marker {
            _ if acknowledged > appended => Some("the database has fewer events than were acknowledged"),
            _ if is_new => None,
            None => Some("there is no durability marker that says how many events were acknowledged"),
            // The events may all be there, but nothing proves it.
            Some(marker) if was_in_kernel && !marker.checkpoint.reading.same_boot(&opened) => {
                Some("the machine may have stopped before all events were on the disk")
            }
            Some(_) => None,
        };
        let names = &self.channel_names;
        let known = database.read(|from| names.iter().map(|name| rows::find_channel(from, name)).collect())?;
        let mut channels: Vec<ChannelRow> = match known {
            Some(channels) => channels,
            None => {
                let epoch = Epoch::random();
                database.write(|to| names.iter().map(|name| rows::create_channel(to, name, &epoch)).collect())?
            }
        };
        let newest = channels.iter().map(|channel| channel.head_time).max().unwrap_or_default();
        let clock = LogClock::resume(marker.as_ref().map(|marker| &marker.checkpoint), newest, &opened);
        if let Some(reason) = loss {
            tracing::warn!(reason, "the log may have lost its newest events: a new epoch begins");
            // In an empty database this ends the epoch of the lost log, under a name that nobody knows.
            channels = database.write(|to| {
                epoch_rows::begin_epoch_everywhere(to, &Epoch::random(), marker.is_some(), clock.now())?;
                names.iter().map(|name| rows::channel(to, name)).collect()
            })?;
        }
        let subjects =
            database.read(|from| channels.iter().map(|channel| latest_rows::count(from, channel.number)).collect())?;
        let durability = match self.sync {
            FileSync::Always => Durability::Synced,
            FileSync::Os => Durability::InKernel,
        };
        let identity = identity(&path);
        let marker = marker_file;
        let log = OpenLog { database, clock, channels, subjects, marker, appended, durability, opened, path, identity };
        log.marker.write_and_sync(&log.marker(durability))?;
        directory.sync()?;
        Ok(log)
    }

    /// A failure as a sentence that names the directory.
    pub fn sentence(&self, failure: &Failure) -> String {
        format!("the log in {}: {failure}", self.path.display())
    }
}

impl OpenLog {
    /// Counts the events of a commit in the durability marker. Call it after each commit and before its publishers get
    /// their answers.
    pub fn mark_appended(&mut self, events: u64) -> Result<(), Failure> {
        self.appended += events;
        Ok(self.marker.write(&self.marker(self.durability))?)
    }

    /// Whether a restart would find the database that is open: `false` if its file was removed or replaced.
    pub fn is_in_place(&self) -> bool {
        self.identity.is_some() && identity(&self.path) == self.identity
    }

    /// Syncs everything to the disk and closes the log.
    pub fn close(self) -> Result<(), Failure> {
        let complete = self.database.checkpoint()?;
        let marker = self.marker(if complete { Durability::Closed } else { self.durability });
        Ok(self.marker.write_and_sync(&marker)?)
    }

    fn marker(&self, durability: Durability) -> DurabilityMarker {
        let checkpoint = self.clock.checkpoint(self.opened.again());
        DurabilityMarker { appended: self.appended, durability, checkpoint }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log whose second channel has three events, and that was not closed.
    struct UnclosedLog {
        folder: tempfile::TempDir,
        before: ChannelRow,
    }

    fn options(folder: &tempfile::TempDir, sync: FileSync) -> (LogDirectory, LogOptions) {
        let path = folder.path().join("log");
        let channel_names = vec!["orders".into(), "stock".into()];
        (LogDirectory::lock(&path).unwrap(), LogOptions { path, sync, channel_names })
    }

    fn unclosed(sync: FileSync) -> UnclosedLog {
        let folder = tempfile::tempdir().unwrap();
        let (directory, options) = options(&folder, sync);
        let mut opened = options.open(&directory, 0).unwrap();
        let before = opened.channels[1].clone();
        for offset in 1..=3 {
            let time = opened.clock.now();
            opened.database.write(|to| rows::insert_event(to, before.number, offset, time, "{}")).unwrap();
            opened.mark_appended(1).unwrap();
        }
        UnclosedLog { folder, before }
    }

    impl UnclosedLog {
        /// Changes the marker and opens the log; the channel with the events.
        fn reopen(&self, sync: FileSync, change: impl FnOnce(&mut DurabilityMarker)) -> ChannelRow {
            let (directory, options) = options(&self.folder, sync);
            let (file, marker) = DurabilityMarkerFile::open(directory.path()).unwrap();
            let mut marker = marker.unwrap();
            change(&mut marker);
            file.write(&marker).unwrap();
            let channel = options.open(&directory, 0).unwrap().channels.remove(1);
            assert_eq!((channel.number, channel.head), (self.before.number, 3));
            channel
        }
    }

    fn another_boot(marker: &mut DurabilityMarker) {
        marker.checkpoint.reading.boot = "another".into();
    }

    #[test]
    fn a_reboot_may_lose_events_that_were_only_in_the_kernel() {
        let log = unclosed(FileSync::Os);
        assert_eq!(log.reopen(FileSync::Os, |_| {}).epoch, log.before.epoch, "only the daemon stopped");
        let after = log.reopen(FileSync::Os, another_boot);
        assert!(after.epoch != log.before.epoch && after.head == 3);
        // A system without an id of its boot.
        let again = log.reopen(FileSync::Os, |marker| marker.checkpoint.reading.boot = "".into());
        assert!(again.epoch != after.epoch);
        // With `always`, recovery syncs the events that were only in the kernel.
        assert_eq!(log.reopen(FileSync::Always, |_| {}).epoch, again.epoch);
        assert_eq!(log.reopen(FileSync::Always, another_boot).epoch, again.epoch);
    }

    #[test]
    fn synced_events_survive_a_reboot() {
        let log = unclosed(FileSync::Always);
        let after = log.reopen(FileSync::Always, another_boot);
        assert_eq!(after.epoch, log.before.epoch);
    }

    #[test]
    fn a_closed_log_survives_a_reboot() {
        let log = unclosed(FileSync::Os);
        let (directory, options) = options(&log.folder, FileSync::Os);
        options.open(&directory, 0).unwrap().close().unwrap();
        drop(directory);
        let closed = |marker: &mut DurabilityMarker| {
            assert_eq!((marker.durability, marker.appended), (Durability::Closed, 3));
            another_boot(marker);
        };
        assert_eq!(log.reopen(FileSync::Os, closed).epoch, log.before.epoch);
    }

    #[test]
    fn fewer_events_than_were_acknowledged_are_a_loss() {
        let log = unclosed(FileSync::Always);
        let after = log.reopen(FileSync::Always, |marker| marker.appended = 4);
        assert!(after.epoch != log.before.epoch);
        assert_eq!(log.reopen(FileSync::Always, |marker| assert_eq!(marker.appended, 3)).epoch, after.epoch);
        // More events are no loss: the daemon may stop between a commit and its marker.
        assert_eq!(log.reopen(FileSync::Always, |marker| marker.appended = 2).epoch, after.epoch);
    }

    #[test]
    fn a_step_of_the_wall_clock_changes_no_age_across_a_restart() {
        const HOUR: u64 = 3_600_000;
        let log = unclosed(FileSync::Os);
        for step in [HOUR as i64, -(HOUR as i64)] {
            let (directory, options) = options(&log.folder, FileSync::Os);
            let (file, marker) = DurabilityMarkerFile::open(directory.path()).unwrap();
            let mut marker = marker.unwrap();
            marker.checkpoint.reading.wall = marker.checkpoint.reading.wall.saturating_add_signed(step);
            file.write(&marker).unwrap();
            let opened = options.open(&directory, 0).unwrap();
            let (channel, age) = (&opened.channels[1], opened.clock.now() - opened.channels[1].head_time);
            assert_eq!((&channel.epoch, channel.head), (&log.before.epoch, 3));
            assert!(age < HOUR / 2, "{age} ms");
        }
    }

    #[test]
    fn log_time_continues_after_a_restart() {
        let log = unclosed(FileSync::Os);
        let (directory, options) = options(&log.folder, FileSync::Os);
        let opened = options.open(&directory, 0).unwrap();
        assert!(opened.clock.now() >= opened.channels[1].head_time && opened.channels[1].head_time > 0);
    }
}
