//! `kill -9` under load: whatever was answered is there afterwards, where it was said to be.

use std::sync::Arc;

use super::load::{Ledger, Load};
use crate::support::daemon::Daemon;
use crate::support::until;

/// A daemon is killed so many times in the middle of a load, and all is there.
async fn killed(times: usize, sync: &str) {
    let flags = ["--listen", "127.0.0.1:0", "--broker", "file:log", "--file-sync", sync, "--log-max-events", "1000000"];
    let ledger = Arc::new(Ledger::default());
    let mut folder = tempfile::tempdir().unwrap();
    for _ in 0..times {
        let daemon = Daemon::with(&flags, folder);
        ledger.send_again(&daemon.url).await;
        let load = Load::start(&ledger, &daemon.url, 16);
        let enough = ledger.acknowledged() + 500;
        until("the load goes on", async || (ledger.acknowledged() >= enough).then_some(())).await;
        daemon.process.signal("KILL");
        load.stop().await;
        folder = daemon.folder;
    }
    ledger.is_in(folder.path()).await;
    // And once more with a daemon that is ended in peace.
    let daemon = Daemon::with(&flags, folder);
    ledger.send_again(&daemon.url).await;
    daemon.process.signal("TERM");
    assert_eq!(daemon.process.ended().code, Some(0));
    ledger.is_in(daemon.folder.path()).await;
    println!("killed {times} times with file_sync {sync}: all of {} events are there", ledger.acknowledged());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_where_the_system_has_it() {
    killed(5, "os").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_where_the_disk_has_it() {
    killed(3, "always").await;
}
