//! The writer: the one thread that changes the log and the store.
//!
//! Commands that arrive during a commit share the next one, so that many publishers share each sync of the disk. After a
//! commit the writer, in this order, updates the durability marker, sends the signals, and answers the publishers. If a
//! commit fails, its publishers get an error, and the next commit is tried as usual.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};

use super::Answer;
use super::clock::LogClock;
use super::commit::{self, Committed};
use super::database::{Failure, Readers};
use super::directory::LogDirectory;
use super::recovery::{LogOptions, OpenLog};
use super::store_rows::Change;
use super::{epoch_rows, rows};
use crate::broker::{Appended, BrokerError, LatestTally, Limits, Signal};
use crate::event::{ChannelId, Epoch, Event, PerChannel, Position};

/// The most commands in the queue; further callers wait for room.
pub(super) const QUEUE: usize = 1_024;
/// Bytes after which a commit takes no further appends or changes.
const COMMIT_BYTES: usize = 4 << 20;
/// How long a commit proves that the disk takes writes.
const PROOF_LIFETIME: Duration = Duration::from_secs(10);
/// What a probe writes at least after a failed commit: an event of the usual largest size.
const MIN_PROBE_BYTES: usize = 64 * 1024;

/// A command to the writer.
pub(super) enum Command {
    /// Shares a commit with others.
    Append(AppendCommand),
    /// Changes the store; shares a commit with other changes.
    Change(Box<dyn Change>),
    /// Runs by itself, after the commands before it.
    Control(Control),
    /// Closes the log and ends the thread.
    Close(oneshot::Sender<()>),
}

/// Appends one publisher's batch.
pub(super) struct AppendCommand {
    pub events: Vec<Event>,
    pub answer: Answer<Vec<Appended>>,
}

/// A command that shares no commit.
pub(super) enum Control {
    /// Prove that the disk takes writes, then send the number as a signal.
    Probe(u64, Answer<()>),
    /// Begin a new epoch, unless the log has this position by now.
    BeginEpoch(ChannelId, Position, Answer<()>),
    /// A reader found the database of these connections damaged, for this reason.
    Damaged(Arc<Readers>, String),
    /// Delete expired rows, and open the log again if its files were removed.
    Maintain,
}

/// The writer's state.
pub(super) struct Writer {
    options: LogOptions,
    limits: Limits,
    reader: watch::Sender<Result<LogReader, BrokerError>>,
    signals: mpsc::Sender<Signal>,
    tallies: Arc<PerChannel<LatestTally>>,
    /// The open log, or why it is not open.
    open: Result<OpenFiles, BrokerError>,
    /// How many events the log had when it was closed while this process goes on; 0 while it is open.
    seen: u64,
    /// The bytes of a failed commit, until a write of that size succeeds.
    failed_bytes: Option<usize>,
    /// When a write last succeeded.
    last_write: Instant,
}

/// Reads the open log.
#[derive(Debug, Clone)]
pub(super) struct LogReader {
    pub readers: Arc<Readers>,
    pub clock: LogClock,
}

/// Everything that the writer has open. The directory comes last: it is unlocked after the files are closed.
struct OpenFiles {
    log: OpenLog,
    readers: Arc<Readers>,
    directory: LogDirectory,
}

impl Writer {
    /// Opens the log.
    ///
    /// # Errors
    /// A sentence about the cause.
    pub fn open(
        options: LogOptions,
        limits: Limits,
        signals: mpsc::Sender<Signal>,
        tallies: Arc<PerChannel<LatestTally>>,
    ) -> Result<Self, String> {
        let (reader, open) = (watch::Sender::new(Err(BrokerError::closed())), Err(BrokerError::closed()));
        let (failed_bytes, last_write) = (None, Instant::now());
        let mut writer = Self { options, limits, reader, signals, tallies, open, seen: 0, failed_bytes, last_write };
        writer.try_open().map(|()| writer)
    }

    /// The reader of the open log, or why it is not open.
    pub fn reader(&self) -> watch::Receiver<Result<LogReader, BrokerError>> {
        self.reader.subscribe()
    }

    /// Runs commands until [`Command::Close`], or until no sender is left.
    pub fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut received = Vec::new();
        while commands.blocking_recv_many(&mut received, QUEUE) > 0 {
            let (mut appends, mut changes) = (AppendGroup::default(), ChangeGroup::default());
            for command in received.drain(..) {
                match command {
                    // The caller gave up, and was promised nothing.
                    Command::Append(append) if append.answer.is_closed() => {}
                    Command::Change(change) if change.is_abandoned() => {}
                    Command::Append(append) => {
                        appends.add(append);
                        if appends.bytes >= COMMIT_BYTES {
                            self.append(std::mem::take(&mut appends));
                        }
                    }
                    Command::Change(change) => {
                        changes.add(change);
                        if changes.bytes >= COMMIT_BYTES {
                            self.change(std::mem::take(&mut changes));
                        }
                    }
                    Command::Control(control) => {
                        self.append(std::mem::take(&mut appends));
                        self.change(std::mem::take(&mut changes));
                        self.control(control);
                    }
                    Command::Close(closed) => {
                        self.append(std::mem::take(&mut appends));
                        self.change(std::mem::take(&mut changes));
                        self.close();
                        // Later commands fail because the channel has no receiver.
                        drop(commands);
                        let _ = closed.send(());
                        return;
                    }
                }
            }
            self.append(appends);
            self.change(changes);
        }
        self.close();
    }

    fn control(&mut self, control: Control) {
        match control {
            Control::Probe(number, answer) => {
                let probed = self.probe();
                if probed.is_ok() {
                    self.signal(Signal::Probe(number));
                }
                let _ = answer.send(probed);
            }
            Control::BeginEpoch(channel, known, answer) => {
                let _ = answer.send(self.begin_epoch(channel, &known));
            }
            Control::Damaged(readers, reason) => {
                // Another reader may have reported the same database, which is then already set aside.
                if self.open.as_ref().is_ok_and(|open| Arc::ptr_eq(&open.readers, &readers)) {
                    self.begin_empty(&reason);
                }
            }
            Control::Maintain => self.maintain(),
        }
    }

    /// Commits a group of appends, signals the new events, and answers the publishers.
    fn append(&mut self, AppendGroup { appends, bytes }: AppendGroup) {
        if appends.is_empty() {
            return;
        }
        let log = match &mut self.open {
            Ok(open) => &mut open.log,
            Err(error) => {
                let error = error.clone();
                self.note_failure(bytes);
                return appends.into_iter().for_each(|append| drop(append.answer.send(Err(error.clone()))));
            }
        };
        let batches: Vec<_> = appends.iter().map(|append| append.events.as_slice()).collect();
        let committed = commit::append(log, &self.limits, &batches);
        let marked = committed.as_ref().map_or(Ok(()), |committed| log.mark_appended(committed.new_events));
        let (answers, marked) = match committed {
            Ok(committed) => {
                // A commit of duplicates alone writes nothing.
                if committed.new_events > 0 {
                    self.note_write(bytes);
                }
                self.tally(&committed.evicted);
                (self.signal_appended(appends, committed), marked)
            }
            Err(failure) => (appends.into_iter().map(|append| (append.answer, Vec::new())).collect(), Err(failure)),
        };
        let result = marked.map_err(|failure| self.write_failed(bytes, failure));
        for (answer, appended) in answers {
            let _ = answer.send(result.clone().map(|()| appended));
        }
    }

    /// Notes how many subjects the channels have, and how many lost their newest event.
    fn tally(&self, evicted: &[(ChannelId, u64)]) {
        let Ok(open) = &self.open else { return };
        for ((channel, tally), subjects) in self.tallies.iter().zip(&open.log.subjects) {
            let evicted = evicted.iter().find(|(of, _)| *of == channel).map_or(0, |(_, evicted)| *evicted);
            tally.note(*subjects, evicted);
        }
    }

    /// Sends a signal for each new event; the outcomes of each append.
    fn signal_appended(
        &self,
        appends: Vec<AppendCommand>,
        committed: Committed,
    ) -> Vec<(Answer<Vec<Appended>>, Vec<Appended>)> {
        let mut answers = Vec::with_capacity(appends.len());
        for (append, appended) in appends.into_iter().zip(committed.outcomes) {
            for (event, Appended { position, duplicate }) in append.events.into_iter().zip(&appended) {
                if !duplicate {
                    let Event { channel, json, .. } = event;
                    self.signal(Signal::Appended { channel, position: position.clone(), json });
                }
            }
            answers.push((append.answer, appended));
        }
        answers
    }

    /// Commits a group of changes of the store, and answers the callers.
    fn change(&mut self, ChangeGroup { mut changes, bytes }: ChangeGroup) {
        if changes.is_empty() {
            return;
        }
        let result = match &mut self.open {
            Ok(open) => {
                let now = open.log.clock.now();
                let committed = open.log.database.write(|to| {
                    let before = to.total_changes();
                    changes.iter_mut().try_for_each(|change| change.apply(to, now))?;
                    Ok(to.total_changes() > before)
                });
                match committed {
                    Ok(wrote) => {
                        if wrote {
                            self.note_write(bytes);
                        }
                        Ok(())
                    }
                    Err(failure) => Err(self.write_failed(bytes, failure)),
                }
            }
            Err(error) => {
                let error = error.clone();
                self.note_failure(bytes);
                Err(error)
            }
        };
        changes.into_iter().for_each(|change| change.answer(result.clone()));
    }

    /// Sends a signal. It blocks while the relay is slow, and publishers wait with it.
    fn signal(&self, signal: Signal) {
        // Without a relay nobody needs the signal.
        let _ = self.signals.blocking_send(signal);
    }

    /// Proves that the disk takes writes, unless a recent commit did.
    fn probe(&mut self) -> Result<(), BrokerError> {
        let open = self.open.as_mut().map_err(|error| error.clone())?;
        if self.failed_bytes.is_none() && self.last_write.elapsed() < PROOF_LIFETIME {
            return Ok(());
        }
        let bytes = self.failed_bytes.map_or(1, |bytes| bytes.max(MIN_PROBE_BYTES));
        // Everything that an append writes, the durability marker too.
        let log = &mut open.log;
        match log.database.write(|to| rows::write_probe(to, bytes)).and_then(|()| log.mark_appended(0)) {
            Ok(()) => {
                self.note_write(bytes);
                Ok(())
            }
            Err(failure) => Err(self.write_failed(bytes, failure)),
        }
    }

    fn note_write(&mut self, bytes: usize) {
        self.last_write = Instant::now();
        self.failed_bytes = self.failed_bytes.filter(|failed| *failed > bytes);
    }

    /// Requires a write of this size before the next probe succeeds.
    fn note_failure(&mut self, bytes: usize) {
        self.failed_bytes = self.failed_bytes.max(Some(bytes));
    }

    /// Notes a failed write of so many bytes, and sets a damaged log aside; the error for the callers.
    fn write_failed(&mut self, bytes: usize, failure: Failure) -> BrokerError {
        self.note_failure(bytes);
        if let Failure::Damaged(reason) = &failure {
            self.begin_empty(reason);
        }
        failure.into_error("the log cannot be written")
    }

    fn begin_epoch(&mut self, channel: ChannelId, known: &Position) -> Result<(), BrokerError> {
        let open = self.open.as_mut().map_err(|error| error.clone())?;
        let (index, epoch) = (channel.index(), Epoch::random());
        let (name, time) = (&self.options.channel_names[index], open.log.clock.now());
        let written = open.log.database.write(|to| {
            let row = rows::channel(to, name)?;
            if row.epoch == known.epoch && row.head < known.offset {
                epoch_rows::begin_epoch(to, row.number, &epoch, time)?;
            }
            rows::channel(to, name)
        });
        let row = match written {
            Ok(row) => row,
            Err(failure) => return Err(self.write_failed(0, failure)),
        };
        let (began, head) = (row.epoch == epoch, row.head);
        open.log.channels[index] = row;
        if began {
            open.log.subjects[index] = 0;
            tracing::warn!(channel = %name, %known, head, "the log has lost its newest events: a new epoch begins");
            self.signal(Signal::Missed);
        }
        Ok(())
    }

    fn maintain(&mut self) {
        let trimmed = match &mut self.open {
            Ok(open) if open.log.is_in_place() => {
                let log = &mut open.log;
                commit::trim(log, &self.limits).and_then(|()| log.database.shrink())
            }
            Ok(_) => {
                let reason = "the log's files were removed";
                tracing::error!(directory = %self.options.path.display(), "{reason}");
                self.detach(BrokerError::Rejected(reason.into()));
                self.reopen();
                Ok(())
            }
            Err(_) => {
                self.reopen();
                Ok(())
            }
        };
        match trimmed {
            Ok(()) => {}
            Err(Failure::Damaged(reason)) => self.begin_empty(&reason),
            // The probe reports whether the disk takes writes.
            Err(failure) => tracing::debug!(%failure, "expired events cannot be deleted"),
        }
    }

    fn try_open(&mut self) -> Result<(), String> {
        let opened = LogDirectory::lock(&self.options.path).and_then(|directory| {
            let mut log = self.options.open(&directory, self.seen)?;
            let forgotten = commit::forget_unkept(&mut log, &self.limits);
            forgotten.map_err(|failure| self.options.sentence(&failure))?;
            Ok((directory, log))
        });
        match opened {
            Ok((directory, log)) => {
                self.attach(directory, log);
                Ok(())
            }
            Err(reason) => {
                self.detach(BrokerError::Rejected(reason.clone()));
                Err(reason)
            }
        }
    }

    fn reopen(&mut self) {
        if self.try_open().is_ok() {
            tracing::info!(directory = %self.options.path.display(), "the log is open again");
            self.signal(Signal::Missed);
        }
    }

    fn attach(&mut self, directory: LogDirectory, log: OpenLog) {
        let readers = Arc::new(Readers::new(directory.database()));
        let _ = self.reader.send_replace(Ok(LogReader { readers: readers.clone(), clock: log.clock }));
        self.open = Ok(OpenFiles { log, readers, directory });
        self.tally(&[]);
        self.seen = 0;
    }

    /// Sets a damaged log aside and opens an empty one.
    fn begin_empty(&mut self, reason: &str) {
        let error = BrokerError::Rejected(format!("the log is damaged: {reason}"));
        let Some(OpenFiles { log, readers, directory }) = self.detach(error) else { return };
        drop((log, readers));
        match self.options.begin_empty(&directory, reason) {
            Ok(log) => {
                self.attach(directory, log);
                self.signal(Signal::Missed);
            }
            // The next maintenance tries again.
            Err(reason) => drop(self.detach(BrokerError::Rejected(reason))),
        }
    }

    /// Fails all later calls with this error; the open files, which the caller closes.
    fn detach(&mut self, error: BrokerError) -> Option<OpenFiles> {
        let _ = self.reader.send_replace(Err(error.clone()));
        let detached = std::mem::replace(&mut self.open, Err(error)).ok()?;
        self.seen = detached.log.appended;
        Some(detached)
    }

    fn close(&mut self) {
        let Some(OpenFiles { log, readers, directory }) = self.detach(BrokerError::closed()) else { return };
        drop(readers);
        if let Err(failure) = log.close() {
            tracing::warn!(%failure, "the log was not checkpointed when it was closed; no event is lost");
        }
        drop(directory);
    }
}

impl From<AppendCommand> for Command {
    fn from(append: AppendCommand) -> Self {
        Self::Append(append)
    }
}

impl From<Control> for Command {
    fn from(control: Control) -> Self {
        Self::Control(control)
    }
}

/// Appends that are committed together.
#[derive(Default)]
struct AppendGroup {
    appends: Vec<AppendCommand>,
    bytes: usize,
}

impl AppendGroup {
    fn add(&mut self, append: AppendCommand) {
        self.bytes += append.events.iter().map(|event| event.json.len() + event.id.len()).sum::<usize>();
        self.appends.push(append);
    }
}

/// Changes of the store that are committed together.
#[derive(Default)]
struct ChangeGroup {
    changes: Vec<Box<dyn Change>>,
    bytes: usize,
}

impl ChangeGroup {
    fn add(&mut self, change: Box<dyn Change>) {
        self.bytes += change.bytes();
        self.changes.push(change);
    }
}
