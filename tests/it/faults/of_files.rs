//! A log in files, whose disk is full.

use tempfile::TempDir;

use super::ledger::CHANNELS;
use super::stage::{Stage, Start};
use crate::support::disk::Disk;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disk_full() {
    full("os", "disk full").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disk_full_that_is_waited_for() {
    full("always", "disk full, file_sync = always").await;
}

/// Twice, with room in between.
async fn full(sync: &str, name: &str) {
    let folder: TempDir = tempfile::tempdir().expect("a temporary directory");
    let disk = Disk::small(folder.path(), "64m");
    let broker = format!("file:{}", disk.log.display());
    let start = Start { flags: &["--file-sync", sync], ..Start::default() };
    let mut stage = Stage::with(disk, Vec::new(), vec![broker], start).await;
    for _ in 0..2 {
        stage.broker.fill(stage.process(0));
        stage.unavailable(0, 10).await;
        stage.ready(0, 503).await;
        stage.join(0, &CHANNELS).await;
        stage.broker.make_room(stage.process(0));
        stage.heals().await;
        stage.goes_on().await;
    }
    stage.end(name, 0).await;
}
