//! The writer: the one thread that changes the log.
//!
//! What comes while a commit is under way is one commit together, so that many publishers share each wait for the disk.
//! After a commit, in this order: the mark is written, the events can be read, the bus says so, the publishers are
//! answered. A commit that fails changes nothing: its publishers are told "not known", and the next is tried as usual.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};

use super::clock::Clock;
use super::commit::{self, Committed};
use super::database::{Failure, Readers};
use super::directory::Directory;
use super::opened::{Home, Opened};
use super::rows;
use super::store_rows::Change;
use crate::broker::{Appended, BrokerError, Limits, Signal};
use crate::event::{ChannelId, Epoch, Event, Position};

/// Commands that wait at the most; who comes then waits for room.
pub(super) const QUEUE: usize = 1_024;
/// Bytes of events after which a commit is closed for others.
const COMMIT_BYTES: usize = 4 << 20;
/// How long a commit proves that writing works.
const PROVEN: Duration = Duration::from_secs(10);
/// What must fit after a commit that failed, at least: an event of the usual largest size.
const PROBE: usize = 64 * 1024;

pub(super) type Answer<T> = oneshot::Sender<Result<T, BrokerError>>;

/// What the writer is told.
pub(super) enum Command {
    Append(Append),
    Change(Box<dyn Change>),
    Order(Order),
    Close(oneshot::Sender<()>),
}

/// Events of one publisher.
pub(super) struct Append {
    pub events: Vec<Event>,
    pub answer: Answer<Vec<Appended>>,
}

/// What is done by itself.
pub(super) enum Order {
    /// Prove that writing works, then send the number over the bus.
    Probe(u64, Answer<()>),
    /// Begin a new epoch, unless the log has this position.
    Renew(ChannelId, Position, Answer<()>),
    /// The store that these read is damaged.
    Damaged(Arc<Readers>, String),
    /// A moment has passed.
    Tick,
}

pub(super) struct Writer {
    home: Home,
    limits: Limits,
    disk: watch::Sender<Result<Disk, String>>,
    bus: mpsc::Sender<Signal>,
    /// Or why there is none.
    open: Result<Open, String>,
    /// The bytes of a commit that failed, until as many could be written.
    failed: Option<usize>,
    /// When writing was last seen to work.
    proven: Instant,
}

/// What the log is read with.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    pub readers: Arc<Readers>,
    pub clock: Clock,
}

struct Open {
    opened: Opened,
    readers: Arc<Readers>,
    /// The last: it is given back when all else is closed.
    directory: Directory,
}

impl Writer {
    /// Opens the log.
    ///
    /// # Errors
    /// A sentence about what is in the way.
    pub fn open(home: Home, limits: Limits, bus: mpsc::Sender<Signal>) -> Result<Self, String> {
        let unopened = || "it is not open yet".to_owned();
        let (disk, open) = (watch::Sender::new(Err(unopened())), Err(unopened()));
        let mut writer = Self { home, limits, disk, bus, open, failed: None, proven: Instant::now() };
        writer.take().map(|()| writer)
    }

    /// What the log is read with now, or why it cannot be.
    pub fn disk(&self) -> watch::Receiver<Result<Disk, String>> {
        self.disk.subscribe()
    }

    /// Does what it is told, until it is told to close, or nobody is left to tell it.
    pub fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut taken = Vec::new();
        while commands.blocking_recv_many(&mut taken, QUEUE) > 0 {
            let (mut group, mut changes) = (Group::default(), ChangeGroup::default());
            for command in taken.drain(..) {
                match command {
                    // Nobody waits for the answer any more, and nothing was promised.
                    Command::Append(append) if append.answer.is_closed() => {}
                    Command::Append(append) => {
                        group.add(append);
                        if group.bytes >= COMMIT_BYTES {
                            self.append(std::mem::take(&mut group));
                        }
                    }
                    Command::Change(change) if !change.is_wanted() => {}
                    Command::Change(change) => {
                        changes.bytes += change.bytes();
                        changes.changes.push(change);
                        if changes.bytes >= COMMIT_BYTES {
                            self.change(std::mem::take(&mut changes));
                        }
                    }
                    Command::Close(closed) => {
                        self.append(std::mem::take(&mut group));
                        self.change(std::mem::take(&mut changes));
                        self.close();
                        // A sender learns of it by that nobody receives any more.
                        drop(commands);
                        let _ = closed.send(());
                        return;
                    }
                    Command::Order(order) => {
                        self.append(std::mem::take(&mut group));
                        self.change(std::mem::take(&mut changes));
                        self.obey(order);
                    }
                }
            }
            self.append(group);
            self.change(changes);
        }
        self.close();
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Probe(number, answer) => {
                let proved = self.prove();
                if proved.is_ok() {
                    self.say(Signal::Probe(number));
                }
                let _ = answer.send(proved);
            }
            Order::Renew(channel, known, answer) => {
                let _ = answer.send(self.renew(channel, &known));
            }
            Order::Damaged(readers, reason) => {
                if self.open.as_ref().is_ok_and(|open| Arc::ptr_eq(&open.readers, &readers)) {
                    self.begin_anew(&reason);
                }
            }
            Order::Tick => self.tick(),
        }
    }

    fn append(&mut self, group: Group) {
        if group.appends.is_empty() {
            return;
        }
        let done = self.open.as_mut().map_err(|reason| Failure::Refused(reason.clone())).and_then(|open| {
            let events: Vec<_> = group.appends.iter().map(|append| append.events.as_slice()).collect();
            let committed = commit::commit(&mut open.opened, &self.limits, &events)?;
            let marked = open.opened.committed(committed.new);
            Ok((committed, marked))
        });
        let (answers, marked) = match done {
            Ok((committed, marked)) => {
                // Duplicates alone are nothing that is written.
                if committed.new > 0 {
                    self.wrote(group.bytes);
                }
                (self.announce(group.appends, committed), marked)
            }
            Err(failure) => {
                (group.appends.into_iter().map(|append| (append.answer, Vec::new())).collect(), Err(failure))
            }
        };
        let refused = marked.map_err(|failure| self.refused(group.bytes, failure));
        for (answer, appended) in answers {
            let _ = answer.send(refused.clone().map(|()| appended));
        }
    }

    /// Makes changes of the store, all in one transaction.
    fn change(&mut self, ChangeGroup { mut changes, bytes }: ChangeGroup) {
        if changes.is_empty() {
            return;
        }
        let made = self.open.as_mut().map_err(|reason| Failure::Refused(reason.clone())).and_then(|open| {
            let now = open.opened.clock.now();
            open.opened.database.write(|to| {
                let before = to.total_changes();
                changes.iter_mut().try_for_each(|change| change.apply(to, now))?;
                Ok(to.total_changes() > before)
            })
        });
        let committed = match made {
            Ok(wrote) => {
                if wrote {
                    self.wrote(bytes);
                }
                Ok(())
            }
            Err(failure) => Err(self.refused(bytes, failure)),
        };
        changes.into_iter().for_each(|change| change.answer(committed.clone()));
    }

    /// Says on the bus what is new.
    fn announce(&self, appends: Vec<Append>, committed: Committed) -> Vec<(Answer<Vec<Appended>>, Vec<Appended>)> {
        let mut answers = Vec::with_capacity(appends.len());
        for (append, appended) in appends.into_iter().zip(committed.answers) {
            for (event, Appended { position, duplicate }) in append.events.into_iter().zip(&appended) {
                if !duplicate {
                    let Event { channel, json, .. } = event;
                    self.say(Signal::Appended { channel, position: position.clone(), json });
                }
            }
            answers.push((append.answer, appended));
        }
        answers
    }

    /// Where the relay is slow this waits, and so do the publishers.
    fn say(&self, signal: Signal) {
        // Without a relay there is nobody to tell.
        let _ = self.bus.blocking_send(signal);
    }

    /// Proves that writing works, where no commit has just done so.
    fn prove(&mut self) -> Result<(), BrokerError> {
        let open = self.open.as_mut().map_err(|reason| BrokerError::Unavailable(reason.clone()))?;
        if self.failed.is_none() && self.proven.elapsed() < PROVEN {
            return Ok(());
        }
        let bytes = self.failed.map_or(1, |bytes| bytes.max(PROBE));
        match open.opened.database.write(|to| rows::probe(to, bytes)) {
            Ok(()) => {
                self.wrote(bytes);
                Ok(())
            }
            Err(failure) => Err(self.refused(bytes, failure)),
        }
    }

    fn wrote(&mut self, bytes: usize) {
        self.proven = Instant::now();
        self.failed = self.failed.filter(|failed| *failed > bytes);
    }

    fn refused(&mut self, bytes: usize, failure: Failure) -> BrokerError {
        self.failed = self.failed.max(Some(bytes));
        if let Failure::Damaged(reason) = &failure {
            self.begin_anew(reason);
        }
        BrokerError::Unavailable(format!("the log cannot be written: {failure}"))
    }

    fn renew(&mut self, channel: ChannelId, known: &Position) -> Result<(), BrokerError> {
        let open = self.open.as_mut().map_err(|reason| BrokerError::Unavailable(reason.clone()))?;
        let (index, epoch) = (channel.0 as usize, Epoch::random());
        let name = &self.home.names[index];
        let renewed = open.opened.database.write(|to| {
            let log = rows::channel(to, name)?;
            if log.epoch == known.epoch && log.head < known.offset {
                rows::renew(to, log.number, &epoch)?;
            }
            rows::channel(to, name)
        });
        let log = match renewed {
            Ok(log) => log,
            Err(failure) => return Err(self.refused(0, failure)),
        };
        let (begun, head) = (log.epoch == epoch, log.head);
        open.opened.channels[index] = log;
        if begun {
            tracing::warn!(channel = %name, %known, head, "the log has lost its newest events: a new epoch begins");
            self.say(Signal::Missed);
        }
        Ok(())
    }

    fn tick(&mut self) {
        let trimmed = match &mut self.open {
            Ok(open) if open.opened.is_in_place() => {
                let opened = &mut open.opened;
                commit::trim(opened, &self.limits).and_then(|()| opened.database.shrink())
            }
            Ok(_) => {
                tracing::error!(directory = %self.home.path.display(), "the log's files were removed");
                self.leave("the log's files were removed");
                self.take_again();
                Ok(())
            }
            Err(_) => {
                self.take_again();
                Ok(())
            }
        };
        match trimmed {
            Ok(()) => {}
            Err(Failure::Damaged(reason)) => self.begin_anew(&reason),
            // Whether writing works is told by the probe.
            Err(Failure::Refused(reason)) => tracing::debug!(reason, "what is too old cannot be deleted"),
        }
    }

    fn take(&mut self) -> Result<(), String> {
        let taken = Directory::take(&self.home.path).and_then(|directory| {
            let opened = self.home.open(&directory)?;
            Ok((directory, opened))
        });
        match taken {
            Ok((directory, opened)) => {
                self.begin(directory, opened);
                Ok(())
            }
            Err(reason) => {
                self.leave(&reason);
                Err(reason)
            }
        }
    }

    fn take_again(&mut self) {
        if self.take().is_ok() {
            tracing::info!(directory = %self.home.path.display(), "the log is open again");
            self.say(Signal::Missed);
        }
    }

    fn begin(&mut self, directory: Directory, opened: Opened) {
        let readers = Arc::new(Readers::new(directory.database()));
        let _ = self.disk.send_replace(Ok(Disk { readers: readers.clone(), clock: opened.clock }));
        self.open = Ok(Open { opened, readers, directory });
    }

    /// Sets the damaged store aside.
    fn begin_anew(&mut self, reason: &str) {
        let Some(Open { opened, readers, directory }) = self.leave(reason) else { return };
        drop((opened, readers));
        match self.home.begin_anew(&directory, reason) {
            Ok(opened) => {
                self.begin(directory, opened);
                self.say(Signal::Missed);
            }
            // The next tick tries again.
            Err(reason) => drop(self.leave(&reason)),
        }
    }

    /// What was open, to be closed by the caller.
    fn leave(&mut self, reason: &str) -> Option<Open> {
        let _ = self.disk.send_replace(Err(reason.into()));
        std::mem::replace(&mut self.open, Err(reason.into())).ok()
    }

    fn close(&mut self) {
        let Some(Open { opened, readers, directory }) = self.leave("it is closed") else { return };
        drop(readers);
        if let Err(failure) = opened.close() {
            tracing::warn!(%failure, "the log could not be written to its place; what it has is whole");
        }
        drop(directory);
    }
}

impl From<Append> for Command {
    fn from(append: Append) -> Self {
        Self::Append(append)
    }
}

impl From<Order> for Command {
    fn from(order: Order) -> Self {
        Self::Order(order)
    }
}

/// What is committed together.
#[derive(Default)]
struct Group {
    appends: Vec<Append>,
    bytes: usize,
}

impl Group {
    fn add(&mut self, append: Append) {
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
