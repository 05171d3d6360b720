//! `tidings tail --forward-to` and `--exec`, run as a program: who gets the events, how often, in which order, and what
//! happens when one of the processes is killed.
//!
//! - [`endpoint`] is a receiver that is a process of its own, and can be killed.
//! - [`killed`] has a killed daemon, a killed receiver, a stopped command; the ledger of received events is exact.
//! - [`answers`] has signatures, TLS, what each answer means, gaps, signals.
//! - [`commands`] has `--exec`.

mod answers;
mod commands;
mod endpoint;
mod killed;

use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::daemon::{Daemon, Running};

/// A daemon that keeps its log in its folder, at this address.
fn daemon_at(listen: &str, folder: tempfile::TempDir) -> Daemon {
    let log = format!("file:{}", folder.path().join("log").display());
    Daemon::with(&["--listen", listen, "--broker", &log], folder)
}

/// The same on a port that is free.
fn daemon() -> Daemon {
    daemon_at("127.0.0.1:0", tempfile::tempdir().unwrap())
}

/// Publishes sales with the ids `PREFIX-1` to `PREFIX-COUNT`.
fn publish(daemon: &Daemon, prefix: &str, count: usize) {
    let lines: String = (1..=count)
        .map(|number| {
            let data = r#"{"productId":"p-1","oldQuantity":9,"newQuantity":8,"reason":"sale"}"#;
            format!("{{\"type\":\"inventory-change\",\"id\":\"{prefix}-{number}\",\"data\":{data}}}\n")
        })
        .collect();
    let published = crate::support::daemon::run(daemon.command(&["publish", "-"]), &lines);
    assert_eq!(published.code, Some(0), "{published:?}");
}

/// The ids of [`publish`].
fn ids(prefix: &str, count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("{prefix}-{number}")).collect()
}

/// The lines of a file, without one that is being written. None if there is no file.
fn lines(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(str::to_owned).collect()
}

/// Waits until something is so.
#[track_caller]
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < end, "timed out waiting until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Starts `tail --forward-to` to this address, from the start or from its position file.
fn forward(daemon: &Daemon, url: &str) -> Running {
    Running::start(daemon.command(&[
        "tail",
        "inventory-change",
        "--since",
        "start",
        "--forward-to",
        url,
        "--position-file",
        "positions",
    ]))
}
