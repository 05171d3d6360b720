//! Writes the audit: takes records from the application layer and appends them to a file, as NDJSON.
//!
//! One task writes, on a thread for blocking work, and many records at a time. Under `on_failure = "continue"` it drops
//! lines that cannot be written, and the next line says how many. Under `refuse` it keeps them until they are written, and
//! publishers are refused meanwhile.
//!
//! | file | what it knows |
//! |---|---|
//! | `line.rs` | the line of a record |
//! | `file.rs` | the file: rotation, whole lines, one writer |

mod file;
mod line;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::auth::Auth;
use crate::bus::audit::{Audit, AuditQueue, Queued};
use crate::config::{AuditConfig, OnFailure, read_error};
use crate::metrics::Metrics;
use file::AuditFile;
use line::Lines;

/// Records that are written at a time.
const MAX_BATCH: usize = 256;
/// Between two attempts to write lines that are kept.
const RETRY: Duration = Duration::from_millis(250);

/// The task that writes the audit, with its file.
pub struct AuditWriter {
    file: AuditFile,
    lines: Lines,
    keeps_lines: bool,
    metrics: Arc<Metrics>,
}

impl AuditWriter {
    /// Opens the file. `namespaces` are those of the node, by their number.
    ///
    /// # Errors
    /// A sentence: the file cannot be opened, or another process writes it.
    pub fn open(
        config: &AuditConfig,
        node: &str,
        namespaces: Vec<String>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, String> {
        let refused = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::WouldBlock => refusal(config, "another process writes it"),
            _ => refusal(config, &read_error(&error)),
        };
        let file = AuditFile::open(&config.file, config.max_bytes, config.keep).map_err(refused)?;
        let lines = Lines { node: node.to_owned(), namespaces, data: config.data };
        Ok(Self { file, lines, keeps_lines: config.on_failure == OnFailure::Refuse, metrics })
    }

    /// Writes what comes until the queue is closed and empty.
    ///
    /// # Errors
    /// The thread that writes panicked.
    pub async fn run(mut self, mut queue: AuditQueue) -> Result<(), String> {
        loop {
            let mut batch = Vec::new();
            tokio::select! {
                // Closed last of all, when nobody publishes any more.
                () = queue.closed.cancelled(), if !queue.records.is_closed() => {
                    queue.records.close();
                    continue;
                }
                count = queue.records.recv_many(&mut batch, MAX_BATCH) => if count == 0 {
                    return Ok(());
                },
            }
            let (text, records) = self.text(batch);
            let mut rest = text;
            while !rest.is_empty() {
                rest = self.write(rest, &queue).await?;
                if !rest.is_empty() && (!self.keeps_lines || queue.closed.is_cancelled()) {
                    let lost = lines_of(&rest);
                    queue.state.lose(lost);
                    if queue.closed.is_cancelled() {
                        tracing::error!(lines = lost, "the last lines of the audit could not be written");
                    }
                    break;
                }
                if !rest.is_empty() {
                    tokio::select! {
                        () = sleep(RETRY) => {}
                        () = queue.closed.cancelled() => {}
                    }
                }
            }
            if rest.is_empty() {
                // A publisher that waits no more is no failure.
                for written in records.into_iter().flatten() {
                    let _ = written.send(());
                }
            }
        }
    }

    /// The lines of records, and whom to tell that they are written. The records free their part of the queue's memory when
    /// this returns.
    fn text(&self, batch: Vec<Queued>) -> (Vec<u8>, Vec<Option<oneshot::Sender<()>>>) {
        let mut text = Vec::new();
        let told = batch.into_iter().map(|queued| {
            self.lines.write(&queued.record, &mut text);
            queued.written
        });
        let told = told.collect();
        (text, told)
    }

    /// Writes lines, before them how many were lost. Returns the lines that could not be written.
    async fn write(&mut self, text: Vec<u8>, queue: &AuditQueue) -> Result<Vec<u8>, String> {
        let lost = queue.state.untold.swap(0, Ordering::Relaxed);
        let mut all = if lost > 0 { self.lines.lost(lost) } else { Vec::new() };
        let tells = all.len();
        all.extend_from_slice(&text);
        let mut file = self.file.take();
        let written = tokio::task::spawn_blocking(move || {
            let result = file.append(&all);
            (file, all, result)
        });
        let (file, all, result) = written.await.map_err(|error| error.to_string())?;
        self.file = file;
        let (done, error) = match result {
            Ok(()) => (all.len(), None),
            Err((done, error)) => (done, Some(error)),
        };
        if done < tells.max(1) {
            queue.state.untold.fetch_add(lost, Ordering::Relaxed);
        }
        let rest = all[done.max(tells)..].to_vec();
        self.metrics.audit.lines.inc_by(lines_of(&all[..done]) as u64);
        self.report(error, queue);
        Ok(rest)
    }

    /// Logs when the file begins to fail, and when it works again.
    fn report(&self, error: Option<std::io::Error>, queue: &AuditQueue) {
        let was_failing = queue.state.failing.swap(error.is_some(), Ordering::Relaxed);
        self.metrics.audit.failing.set(i64::from(error.is_some()));
        let file = self.file.path().display();
        match (error, was_failing, self.keeps_lines) {
            (Some(error), false, true) => {
                tracing::error!(%file, error = read_error(&error), "the audit cannot be written: publishers are refused");
            }
            (Some(error), false, false) => {
                tracing::error!(%file, error = read_error(&error), "the audit cannot be written: its lines are lost");
            }
            (None, true, _) => tracing::info!(%file, "the audit is written again"),
            _ => {}
        }
    }
}

/// Checks that the file can be there, without making it.
///
/// # Errors
/// A sentence: its directory is missing, or it is a directory itself.
pub fn check(config: &AuditConfig) -> Result<(), String> {
    if config.file.is_dir() || config.file.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return Err(refusal(config, "this is a directory: name a file in it"));
    }
    let folder = config.file.parent().filter(|folder| !folder.as_os_str().is_empty());
    match folder.filter(|folder| !folder.is_dir()) {
        Some(folder) => Err(refusal(config, &format!("the directory {} is missing: make it", folder.display()))),
        None => Ok(()),
    }
}

fn refusal(config: &AuditConfig, why: &str) -> String {
    format!("audit.file: cannot write {}: {why}", config.file.display())
}

fn lines_of(text: &[u8]) -> usize {
    text.iter().filter(|byte| **byte == b'\n').count()
}

/// Records what each reload of the access configuration came to.
pub async fn follow_reloads(audit: Arc<Audit>, auth: Arc<Auth>) {
    let mut outcomes = auth.outcomes();
    while outcomes.changed().await.is_ok() {
        let outcome = *outcomes.borrow_and_update();
        if let Some(outcome) = outcome {
            audit.reloaded(outcome);
        }
    }
    std::future::pending::<()>().await;
}
