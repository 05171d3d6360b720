//! The broker in files: its log after a restart, a `kill -9`, a full disk, damage, and while another process locks it.

mod damage;
mod full_disk;
mod kills;
pub mod load;
mod locked;
mod restarts;

use std::fs;
use std::path::Path;

use tidings::config::BrokerConfig;

use crate::support::broker::{config, file_url};

/// A configuration whose log is in this folder.
fn log_in(folder: &Path) -> BrokerConfig {
    config(file_url(folder))
}

/// Copies an open log to another folder: the copy is what a `kill -9` would leave.
fn copy_log(from: &Path, to: &Path) {
    fs::create_dir(to.join("log")).unwrap();
    for name in ["log.sqlite", "log.sqlite-wal", "mark"].map(Path::new) {
        let (from, to) = (from.join("log").join(name), to.join("log").join(name));
        if from.exists() {
            fs::copy(from, to).unwrap();
        }
    }
}
