//! A log in a directory: embedded, for one daemon, there again after a restart or a `kill -9`.
//!
//! A [`writer`] thread appends to an SQLite database ([`database`], [`rows`]), all that waits in one commit ([`commit`]), and
//! hands what it appended to the relay. Whoever wants more of it reads the database ([`reading`]). A [`mark`] beside it and
//! the [`clock`] tell a restart what is whole and how old it is ([`opened`]).

mod clock;
mod commit;
mod database;
mod directory;
mod durability_marker;
mod opened;
mod reading;
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
use self::opened::Home;
use self::reading::{Found, LogSnapshot, Retention};
use self::store_rows::{Found as FoundValue, PendingChange};
use self::writer::{Answer, Append, Command, Disk, Order, QUEUE, Writer};
use super::nodes::{Alone, Nodes};
use super::store::{Store, check_keys, check_ttl, check_values};
use super::{Appended, Backend, BrokerError, Limits, Log, Notifier, Page, SIGNAL_CAPACITY, Signals};
use crate::config::FileSync;
use crate::event::{Catalog, ChannelId, Event, Moment, Position};

/// How often the writer looks after what is old.
const TICK: Duration = Duration::from_secs(1);

struct FileLog {
    writer: mpsc::Sender<Command>,
    disk: watch::Receiver<Result<Disk, String>>,
    limits: Limits,
    /// The names of the channels, in the catalogue's order.
    names: Vec<Arc<str>>,
    nodes: Alone,
    _ticking: DropGuard,
}

/// Opens the log; needs a tokio runtime.
///
/// # Errors
/// A sentence about what is in the way: another daemon, most likely.
pub(super) fn open(
    directory: &Path,
    sync: FileSync,
    catalog: &Catalog,
    limits: Limits,
) -> Result<(Arc<dyn Backend>, Signals), String> {
    if let Some(above) = directory.parent() {
        directory::make_all(above).map_err(|error| format!("cannot make {}: {error}", above.display()))?;
    }
    let names: Vec<_> = catalog.types().iter().map(|known| known.name.clone()).collect();
    let home = Home { path: directory.into(), sync, names: names.clone() };
    let (sender, bus) = mpsc::channel(SIGNAL_CAPACITY);
    let (commands, queue) = mpsc::channel(QUEUE);
    let writer = Writer::open(home, limits.clone(), sender)?;
    let disk = writer.disk();
    std::thread::Builder::new()
        .name("tidings-log".into())
        .spawn(move || writer.run(queue))
        .map_err(|error| format!("the system gives no thread: {error}"))?;
    let ticking = CancellationToken::new();
    tokio::spawn(ticking.clone().run_until_cancelled_owned(tick(commands.clone())));
    let (nodes, _ticking) = (Alone::default(), ticking.drop_guard());
    Ok((Arc::new(FileLog { writer: commands, disk, limits, names, nodes, _ticking }), bus))
}

async fn tick(writer: mpsc::Sender<Command>) {
    loop {
        tokio::time::sleep(TICK).await;
        if writer.send(Order::Tick.into()).await.is_err() {
            return;
        }
    }
}

#[async_trait]
impl Log for FileLog {
    async fn append(&self, events: &[Event]) -> Result<Vec<Appended>, BrokerError> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        self.ask(|answer| Append { events: events.to_vec(), answer }).await
    }

    async fn read(&self, channel: ChannelId, known: Option<&Position>, limit: usize) -> Result<Page, BrokerError> {
        let mut known = known.cloned();
        loop {
            let (disk, log) = self.log(channel)?;
            match self.look(disk, move |from| log.page(from, known, limit)).await? {
                Found::Page(page) => return Ok(page),
                Found::Lost(position) => {
                    known = Some(position.clone());
                    self.ask(|answer| Order::Renew(channel, position, answer)).await?;
                }
            }
        }
    }

    async fn position_at(&self, channel: ChannelId, from: Moment) -> Result<Position, BrokerError> {
        let (disk, log) = self.log(channel)?;
        let time = disk.clock.when(from);
        self.look(disk, move |from| log.begin(from, time)).await
    }
}

#[async_trait]
impl Notifier for FileLog {
    async fn probe(&self, number: u64) -> Result<(), BrokerError> {
        self.ask(|answer| Order::Probe(number, answer)).await
    }
}

#[async_trait]
impl Backend for FileLog {
    fn nodes(&self) -> &dyn Nodes {
        &self.nodes
    }

    fn store(&self) -> &dyn Store {
        self
    }

    async fn close(&self) {
        let (closed, when_closed) = oneshot::channel();
        if self.tell(Command::Close(closed)).await.is_ok() {
            let _ = when_closed.await;
        }
    }
}

#[async_trait]
impl Store for FileLog {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, BrokerError> {
        check_keys(&[key])?;
        let disk = self.disk()?;
        let owned = key.to_owned();
        match self.look(disk, move |from| store_rows::get(from, &owned)).await? {
            FoundValue::Nothing => Ok(None),
            FoundValue::Value(value) => Ok(Some(value.into())),
            FoundValue::Damaged => Err(BrokerError::Rejected(format!("the value of {key} is damaged on the disk"))),
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

impl FileLog {
    async fn tell(&self, command: impl Into<Command>) -> Result<(), BrokerError> {
        self.writer.send(command.into()).await.map_err(|_| BrokerError::closed())
    }

    /// What the log is read with.
    fn disk(&self) -> Result<Disk, BrokerError> {
        self.disk.borrow().clone().map_err(BrokerError::Unavailable)
    }

    /// Has the writer change the store, by about so many bytes.
    async fn change<T: Send + 'static>(
        &self,
        bytes: usize,
        change: impl FnOnce(&Connection, LogTime) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, BrokerError> {
        self.ask(|answer| Command::Change(Box::new(PendingChange::new(bytes, change, answer)))).await
    }

    /// A channel's log as it is now, and what it is read with.
    fn log(&self, channel: ChannelId) -> Result<(Disk, LogSnapshot), BrokerError> {
        let disk = self.disk()?;
        let retention = Retention::now(&self.limits, &disk.clock);
        Ok((disk, LogSnapshot { name: self.names[channel.0 as usize].clone(), retention }))
    }

    async fn look<T: Send + 'static>(
        &self,
        disk: Disk,
        work: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, BrokerError> {
        match disk.readers.clone().read(work).await {
            Ok(found) => Ok(found),
            Err(failure) => {
                let reason = format!("the log cannot be read: {failure}");
                if let Failure::Damaged(damage) = failure {
                    self.tell(Order::Damaged(disk.readers, damage)).await?;
                }
                Err(BrokerError::Unavailable(reason))
            }
        }
    }

    /// Tells the writer, and waits for what it answers.
    async fn ask<C: Into<Command>, T>(&self, command: impl FnOnce(Answer<T>) -> C) -> Result<T, BrokerError> {
        let (answer, answered) = oneshot::channel();
        self.tell(command(answer)).await?;
        answered.await.map_err(|_| BrokerError::closed())?
    }
}
