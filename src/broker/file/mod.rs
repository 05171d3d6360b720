//! The broker in a directory: an embedded log for one daemon, which survives a restart and a `kill -9`.
//!
//! A [`writer`] thread appends to an SQLite database ([`database`], [`rows`], [`epoch_rows`]) and commits everything that
//! waits at once ([`commit`]). It signals the new events to the relay. Other reads go straight to the database ([`reading`]). After a
//! restart, [`recovery`] compares the database with the [`durability_marker`] to detect lost events, and resumes the log's
//! [`clock`]. The newest event of each subject ([`latest_rows`]), and the store's values and leases ([`store_rows`]), are in the
//! same database.

mod clock;
mod commit;
mod database;
mod directory;
mod durability_marker;
mod epoch_rows;
mod latest_rows;
mod reading;
mod recovery;
mod rows;
mod store_rows;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::clock::LogTime;
use self::database::Failure;
use self::reading::{ChannelReader, ReadOutcome, Retained};
use self::recovery::LogOptions;
use self::store_rows::{PendingChange, StoredValue};
use self::writer::{AppendCommand, Command, Control, LogReader, QUEUE, Writer};
use super::nodes::{Nodes, SingleNodeRegistry};
use super::store::{Store, check_keys, check_ttl, check_values};
use super::{
    Appended, Backend, BrokerError, Head, Latest, LatestOf, LatestPage, LatestTally, Limits, Located, Log, Notifier,
    Page, SIGNAL_CAPACITY, Signals,
};
use crate::config::FileSync;
use crate::event::{Catalog, ChannelId, Event, Moment, PerChannel, Position};

/// How often the writer deletes expired rows and checks that the files are in place.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(1);

/// How the writer answers a caller.
type Answer<T> = oneshot::Sender<Result<T, BrokerError>>;

struct FileBroker {
    writer: mpsc::Sender<Command>,
    reader: watch::Receiver<Result<LogReader, BrokerError>>,
    limits: Limits,
    /// The names of the channels.
    channel_names: PerChannel<Arc<str>>,
    nodes: SingleNodeRegistry,
    tallies: Arc<PerChannel<LatestTally>>,
    /// Ends the maintenance task.
    _maintenance: DropGuard,
}

/// Opens the log. It must be called within a tokio runtime.
///
/// # Errors
/// A sentence about the cause, such as another daemon that uses the directory.
pub(super) fn open(
    directory: &Path,
    sync: FileSync,
    catalog: &Catalog,
    limits: Limits,
) -> Result<(Arc<dyn Backend>, Signals), String> {
    if let Some(parent) = directory.parent() {
        directory::create_all(parent).map_err(|error| format!("cannot create {}: {error}", parent.display()))?;
    }
    let channel_names = PerChannel::new(catalog, |channel| catalog.get(channel).name.clone());
    let options = LogOptions { path: directory.into(), sync, channel_names: channel_names.values().cloned().collect() };
    let (sender, signals) = mpsc::channel(SIGNAL_CAPACITY);
    let (commands, queue) = mpsc::channel(QUEUE);
    let tallies = Arc::new(PerChannel::new(catalog, |_| LatestTally::default()));
    let writer = Writer::open(options, limits.clone(), sender, tallies.clone())?;
    let reader = writer.reader();
    std::thread::Builder::new()
        .name("tidings-log".into())
        .spawn(move || writer.run(queue))
        .map_err(|error| format!("cannot start the log's thread: {error}"))?;
    let maintenance = CancellationToken::new();
    tokio::spawn(maintenance.clone().run_until_cancelled_owned(maintain(commands.clone())));
    let (nodes, _maintenance) = (SingleNodeRegistry::default(), maintenance.drop_guard());
    let broker = FileBroker { writer: commands, reader, limits, channel_names, nodes, tallies, _maintenance };
    Ok((Arc::new(broker), signals))
}

async fn maintain(writer: mpsc::Sender<Command>) {
    loop {
        tokio::time::sleep(MAINTENANCE_INTERVAL).await;
        if writer.send(Control::Maintain.into()).await.is_err() {
            return;
        }
    }
}

#[async_trait]
impl Log for FileBroker {
    async fn append(&self, events: &[Event]) -> Result<Vec<Appended>, BrokerError> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        self.call(|answer| AppendCommand { events: events.to_vec(), answer }).await
    }

    async fn read(&self, channel: ChannelId, known: Option<&Position>, limit: usize) -> Result<Page, BrokerError> {
        let mut known = known.cloned();
        loop {
            let (reader, log) = self.channel_reader(channel)?;
            match self.read_with(reader, move |from| log.page(from, known, limit)).await? {
                ReadOutcome::Page(page) => return Ok(page),
                ReadOutcome::AheadOfLog(position) => {
                    known = Some(position.clone());
                    self.call(|answer| Control::BeginEpoch(channel, position, answer)).await?;
                }
            }
        }
    }

    async fn position_at(&self, channel: ChannelId, moment: Moment) -> Result<Located, BrokerError> {
        let (reader, log) = self.channel_reader(channel)?;
        let time = reader.clock.time_of(moment);
        self.read_with(reader, move |from| log.position_at(from, time)).await
    }

    async fn heads(&self) -> Vec<(ChannelId, Head)> {
        let names = self.channel_names.clone();
        let read = async {
            let heads = move |from: &Connection| {
                let head = |name: &Arc<str>| rows::channel(from, name).map(|row| Position::new(row.epoch, row.head));
                names.iter().map(|(channel, name)| Ok((channel, Head::At(head(name)?)))).collect()
            };
            self.read_with(self.reader()?, heads).await
        };
        read.await.unwrap_or_default()
    }
}

#[async_trait]
impl Latest for FileBroker {
    fn keeps_latest(&self, channel: ChannelId) -> bool {
        self.limits.retention(channel).latest.is_some()
    }

    async fn latest(&self, channel: ChannelId, subject: &str) -> Result<LatestOf, BrokerError> {
        let (reader, log) = self.channel_reader(channel)?;
        let subject = subject.to_owned();
        self.read_with(reader, move |from| log.latest(from, &subject)).await
    }

    async fn latest_page(&self, channel: ChannelId, after: u64, limit: usize) -> Result<LatestPage, BrokerError> {
        let (reader, log) = self.channel_reader(channel)?;
        self.read_with(reader, move |from| log.latest_page(from, after, limit)).await
    }

    fn latest_tally(&self, channel: ChannelId) -> &LatestTally {
        &self.tallies[channel]
    }
}

#[async_trait]
impl Notifier for FileBroker {
    async fn probe(&self, number: u64) -> Result<(), BrokerError> {
        self.call(|answer| Control::Probe(number, answer)).await
    }
}

#[async_trait]
impl Backend for FileBroker {
    fn nodes(&self) -> &dyn Nodes {
        &self.nodes
    }

    fn latest(&self) -> &dyn Latest {
        self
    }

    fn store(&self) -> &dyn Store {
        self
    }

    async fn close(&self) {
        let (closed, when_closed) = oneshot::channel();
        if self.send(Command::Close(closed)).await.is_ok() {
            let _ = when_closed.await;
        }
    }
}

#[async_trait]
impl Store for FileBroker {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, BrokerError> {
        check_keys(&[key])?;
        let reader = self.reader()?;
        let owned = key.to_owned();
        match self.read_with(reader, move |from| store_rows::get(from, &owned)).await? {
            StoredValue::None => Ok(None),
            StoredValue::Some(value) => Ok(Some(value.into())),
            StoredValue::Damaged => Err(BrokerError::Rejected(format!("the value of {key} is damaged on the disk"))),
        }
    }

    async fn put(&self, key: &str, value: &[u8]) -> Result<(), BrokerError> {
        check_keys(&[key])?;
        check_values(&[Some(value)])?;
        let (key, value) = (key.to_owned(), value.to_owned());
        self.change(value.len(), move |to, _| store_rows::put(to, &key, &value)).await
    }

    async fn compare_and_set(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> Result<bool, BrokerError> {
        check_keys(&[key])?;
        check_values(&[expected, new])?;
        let key = key.to_owned();
        let [expected, new] = [expected, new].map(|value| value.map(<[u8]>::to_vec));
        let bytes = new.as_ref().map_or(0, Vec::len);
        let change =
            move |to: &Connection, _| store_rows::compare_and_set(to, &key, expected.as_deref(), new.as_deref());
        self.change(bytes, change).await
    }

    async fn lease(&self, name: &str, holder: &str, ttl: Duration) -> Result<Option<u64>, BrokerError> {
        check_keys(&[name, holder])?;
        let ttl = check_ttl(ttl)?;
        let (name, holder) = (name.to_owned(), holder.to_owned());
        self.change(0, move |to, now| store_rows::lease(to, &name, &holder, ttl, now)).await
    }

    async fn release(&self, name: &str, holder: &str) -> Result<(), BrokerError> {
        check_keys(&[name, holder])?;
        let (name, holder) = (name.to_owned(), holder.to_owned());
        self.change(0, move |to, now| store_rows::release(to, &name, &holder, now)).await
    }
}

impl FileBroker {
    /// The reader of the open log.
    fn reader(&self) -> Result<LogReader, BrokerError> {
        self.reader.borrow().clone()
    }

    /// The reader of the open log, and that of one channel in it.
    fn channel_reader(&self, channel: ChannelId) -> Result<(LogReader, ChannelReader), BrokerError> {
        let reader = self.reader()?;
        let retained = Retained::now(self.limits.retention(channel), &reader.clock);
        Ok((reader, ChannelReader { name: self.channel_names[channel].clone(), retained }))
    }

    /// Runs `work` on a snapshot of the database, and reports damage to the writer.
    async fn read_with<T: Send + 'static>(
        &self,
        reader: LogReader,
        work: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, BrokerError> {
        match reader.readers.clone().read(work).await {
            Ok(found) => Ok(found),
            Err(failure) => {
                if let Failure::Damaged(reason) = &failure {
                    self.send(Control::Damaged(reader.readers, reason.clone())).await?;
                }
                Err(failure.into_error("the log cannot be read"))
            }
        }
    }

    /// Has the writer change the store, by about so many bytes.
    async fn change<T: Send + 'static>(
        &self,
        bytes: usize,
        change: impl FnOnce(&Connection, LogTime) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, BrokerError> {
        self.call(|answer| Command::Change(Box::new(PendingChange::new(bytes, change, answer)))).await
    }

    /// Sends the writer a command and waits for its answer.
    async fn call<C: Into<Command>, T>(&self, command: impl FnOnce(Answer<T>) -> C) -> Result<T, BrokerError> {
        let (answer, answered) = oneshot::channel();
        self.send(command(answer)).await?;
        answered.await.map_err(|_| BrokerError::closed())?
    }

    async fn send(&self, command: impl Into<Command>) -> Result<(), BrokerError> {
        self.writer.send(command.into()).await.map_err(|_| BrokerError::closed())
    }
}
