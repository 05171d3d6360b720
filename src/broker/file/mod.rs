//! A log in a directory: embedded, for one daemon, there again after a restart or a `kill -9`.
//!
//! A [`writer`] thread appends to an SQLite database ([`store`], [`rows`]), all that waits in one commit ([`commit`]). What
//! the relay needs of it is kept in memory ([`logs`]), what is older is read from the disk. A [`mark`] beside it and the
//! [`clock`] tell a restart what is whole and how old it is ([`opened`]).

mod clock;
mod commit;
mod directory;
mod logs;
mod mark;
mod opened;
mod rows;
mod store;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::logs::{Logs, Look};
use self::opened::Home;
use self::store::{Failure, Readers};
use self::writer::{Answer, Append, Command, Order, QUEUE, Writer};
use super::{Appended, BUS_CAPACITY, Broker, Bus, Limits, Page, Unavailable};
use crate::config::FileSync;
use crate::event::{Catalog, ChannelId, Event, Moment, Position};

/// How often the writer looks after what is old.
const TICK: Duration = Duration::from_secs(1);

struct FileLog {
    writer: mpsc::Sender<Command>,
    logs: Arc<Logs>,
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
) -> Result<(Arc<dyn Broker>, Bus), String> {
    if let Some(above) = directory.parent() {
        std::fs::create_dir_all(above).map_err(|error| format!("cannot make {}: {error}", above.display()))?;
    }
    let names = catalog.types().iter().map(|known| known.name.clone()).collect();
    let home = Home { path: directory.into(), sync, names };
    let logs = Arc::new(Logs::new(limits.clone()));
    let (sender, bus) = mpsc::channel(BUS_CAPACITY);
    let (commands, queue) = mpsc::channel(QUEUE);
    let writer = Writer::open(home, limits, logs.clone(), sender)?;
    std::thread::Builder::new()
        .name("tidings-log".into())
        .spawn(move || writer.run(queue))
        .map_err(|error| format!("the system gives no thread: {error}"))?;
    let ticking = CancellationToken::new();
    tokio::spawn(ticking.clone().run_until_cancelled_owned(tick(commands.clone())));
    Ok((Arc::new(FileLog { writer: commands, logs, _ticking: ticking.drop_guard() }), bus))
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
impl Broker for FileLog {
    async fn append(&self, events: &[Event]) -> Result<Vec<Appended>, Unavailable> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        self.ask(|answer| Append { events: events.to_vec(), answer }).await
    }

    async fn read(&self, channel: ChannelId, known: Option<&Position>, limit: usize) -> Result<Page, Unavailable> {
        loop {
            let (disk, search) = match self.logs.look(channel, known, limit).map_err(Unavailable)? {
                Look::Page(page) => return Ok(page),
                Look::Disk(disk, search) => (disk, search),
                Look::Behind(known) => {
                    self.ask(|answer| Order::Renew(channel, known, answer)).await?;
                    continue;
                }
            };
            match disk.readers.clone().read(move |from| search.run(from)).await {
                Ok(found) => match self.logs.answer(channel, &disk.readers, found) {
                    Some(page) => return Ok(page),
                    None => continue,
                },
                Err(failure) => return Err(self.unread(disk.readers, failure).await),
            }
        }
    }

    async fn taken(&self, channel: ChannelId, from: Moment) -> Result<Position, Unavailable> {
        let (disk, search) = self.logs.taken(channel, from).map_err(Unavailable)?;
        match disk.readers.clone().read(move |from| search.run(from)).await {
            Ok(found) => Ok(found.before()),
            Err(failure) => Err(self.unread(disk.readers, failure).await),
        }
    }

    async fn canary(&self, number: u64) -> Result<(), Unavailable> {
        self.ask(|answer| Order::Canary(number, answer)).await
    }

    async fn close(&self) {
        let (closed, when_closed) = oneshot::channel();
        if self.tell(Command::Close(closed)).await.is_ok() {
            let _ = when_closed.await;
        }
    }
}

impl FileLog {
    async fn tell(&self, command: impl Into<Command>) -> Result<(), Unavailable> {
        self.writer.send(command.into()).await.map_err(|_| closed())
    }

    /// The log cannot be read; the writer is told where it is damaged.
    async fn unread(&self, readers: Arc<Readers>, failure: Failure) -> Unavailable {
        let reason = format!("the log cannot be read: {failure}");
        if let Failure::Damaged(damage) = failure {
            let _ = self.tell(Order::Damaged(readers, damage)).await;
        }
        Unavailable(reason)
    }

    /// Tells the writer, and waits for what it answers.
    async fn ask<C: Into<Command>, T>(&self, command: impl FnOnce(Answer<T>) -> C) -> Result<T, Unavailable> {
        let (answer, answered) = oneshot::channel();
        self.tell(command(answer)).await?;
        answered.await.map_err(|_| closed())?
    }
}

fn closed() -> Unavailable {
    Unavailable("it is closed".into())
}
