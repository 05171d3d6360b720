//! Faults of the file broker: its disk becomes full, with either setting of `file_sync`.

use tempfile::TempDir;

use crate::faults::harness::Harness;
use crate::faults::ledger::CHANNELS;
use crate::faults::node::StartOptions;
use crate::support::disk::Disk;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disk_full() {
    fill_disk_twice("os", "disk full").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disk_full_with_sync_on_every_append() {
    fill_disk_twice("always", "disk full, file_sync = always").await;
}

/// Fills the disk twice, with free space in between.
async fn fill_disk_twice(sync: &str, name: &str) {
    let folder: TempDir = tempfile::tempdir().expect("a temporary directory");
    let disk = Disk::small(folder.path(), "64m");
    let broker = format!("file:{}", disk.log.display());
    let start = StartOptions { flags: &["--file-sync", sync], ..StartOptions::default() };
    let mut harness = Harness::start(disk, Vec::new(), vec![broker], start).await;
    for _ in 0..2 {
        harness.broker.fill(harness.process_id(0));
        harness.wait_for_503s(0, 10).await;
        harness.wait_for_readyz(0, 503).await;
        harness.add_subscriber(0, &CHANNELS).await;
        harness.broker.make_room(harness.process_id(0));
        harness.wait_for_recovery().await;
        harness.run_healthy().await;
    }
    harness.finish(name, 0).await;
}
