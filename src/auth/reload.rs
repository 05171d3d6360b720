//! Reading `auth.toml` and the key files again when they change, and keeping fetched keys fresh.
//!
//! The files are compared by their content, every [`POLL`]: that finds a directory that was swapped, as Kubernetes does it,
//! and a file that an editor replaced. A configuration with a mistake changes nothing.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::Auth;
use super::file;
use super::jwks::Jwks;
use super::sign::sha256;
use super::snapshot::Builder;
use crate::config::read_error;

/// How often the files are compared.
const POLL: Duration = Duration::from_secs(2);
/// How long keys are not fetched after the task that does it panicked.
const AFTER_PANIC: Duration = Duration::from_secs(10);

/// The content of files at one time: `None` for one that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp(Vec<(PathBuf, Option<[u8; 32]>)>);

/// What a look at the files came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reloaded {
    /// They are as they were.
    Unchanged,
    /// The file is gone; what was read before stays.
    Deleted,
    Accepted,
}

impl Stamp {
    /// The stamp of the file, and of the key files that it names, as they were read.
    pub fn of(file: &Path, text: Option<&str>, others: &[(PathBuf, Option<[u8; 32]>)]) -> Self {
        let own = (file.to_owned(), text.map(|text| sha256(text.as_bytes())));
        Self([&[own][..], others].concat())
    }

    /// Whether the files have this content still.
    fn is_current(&self) -> bool {
        self.0.iter().all(|(path, hash)| std::fs::read(path).ok().map(|content| sha256(&content)) == *hash)
    }
}

impl Auth {
    /// Fetches keys, and reads the files again when they change. Ends when it is told to.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        stop.run_until_cancelled(self.keep_current(POLL)).await;
    }

    async fn keep_current(self: &Arc<Self>, poll: Duration) {
        let mut fetchers = Fetchers::default();
        loop {
            fetchers.follow(self.current.load().key_sets());
            tokio::select! {
                () = fetchers.ended() => tokio::time::sleep(AFTER_PANIC).await,
                () = tokio::time::sleep(poll) => {
                    let auth = self.clone();
                    // Files may be on a disk that is slow to answer.
                    match tokio::task::spawn_blocking(move || auth.reload()).await {
                        Ok(result) => self.report(result),
                        Err(error) => tracing::error!(%error, "reading {} failed", self.file.display()),
                    }
                }
            }
        }
    }

    fn report(&self, result: Result<Reloaded, Vec<String>>) {
        let file = self.file.display();
        match result {
            Ok(Reloaded::Unchanged) => return,
            Ok(Reloaded::Accepted) => {
                tracing::info!(%file, version = self.current.load().version, "the access configuration was read again");
            }
            Ok(Reloaded::Deleted) => tracing::warn!(%file, "the access configuration was deleted; the old one stays"),
            Err(mistakes) => {
                self.outcome.send_replace(Some("refused"));
                self.metrics.auth_config_stale.set(1);
                for mistake in mistakes {
                    tracing::error!("{mistake}; the access configuration stays as it is");
                }
                return;
            }
        }
        let deleted = result == Ok(Reloaded::Deleted);
        self.outcome.send_replace(Some(if deleted { "deleted" } else { "accepted" }));
        self.metrics.auth_config_stale.set(i64::from(deleted));
    }

    /// Reads the files again if they have changed.
    pub(super) fn reload(&self) -> Result<Reloaded, Vec<String>> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if read.is_current() {
            return Ok(Reloaded::Unchanged);
        }
        let text = match std::fs::read_to_string(&self.file) {
            Ok(text) => text,
            Err(error) => {
                *read = Stamp::of(&self.file, None, &[]);
                return match error.kind() {
                    std::io::ErrorKind::NotFound => Ok(Reloaded::Deleted),
                    _ => Err(vec![format!("cannot read {}: {}", self.file.display(), read_error(&error))]),
                };
            }
        };
        let found = file::read(&self.file, &text, &self.catalog);
        *read = Stamp::of(&self.file, Some(&text), &found.files);
        for warning in &found.warnings {
            tracing::warn!("{warning}");
        }
        let old = self.current.load_full();
        let builder = Builder {
            file: self.file.display().to_string(),
            namespaces: &self.namespaces,
            catalog: &self.catalog,
            metrics: &self.metrics,
            old: Some(&old),
        };
        self.current.store(Arc::new(builder.build(found.file?)?));
        self.tokens.clear();
        self.changes.send_modify(|count| *count += 1);
        Ok(Reloaded::Accepted)
    }
}

/// The tasks that fetch keys, one for each set.
#[derive(Debug, Default)]
struct Fetchers {
    tasks: JoinSet<()>,
    by_set: HashMap<usize, AbortHandle>,
}

impl Fetchers {
    /// Starts a task for each set that has none, and stops those of the sets that are gone.
    fn follow<'a>(&mut self, sets: impl Iterator<Item = &'a Arc<Jwks>>) {
        let mut stopped = std::mem::take(&mut self.by_set);
        for set in sets {
            // A task keeps its set, so the address of a set is that of no other one while the task runs.
            let address = Arc::as_ptr(set) as usize;
            let running = stopped.remove(&address).filter(|task| !task.is_finished());
            let task = running.unwrap_or_else(|| self.tasks.spawn(set.clone().keep_fetched()));
            self.by_set.insert(address, task);
        }
        stopped.into_values().for_each(|task| task.abort());
    }

    /// Waits until a task has ended, which only a panic does.
    async fn ended(&mut self) {
        match self.tasks.join_next().await {
            Some(Err(error)) if error.is_panic() => tracing::error!(%error, "fetching keys panicked, and begins again"),
            Some(_) => {}
            None => std::future::pending().await,
        }
    }
}
