//! The log in files: what is there after a restart, a `kill -9`, a full disk, a damaged file.

mod damage;
mod full_disk;
mod kills;
mod load;
mod restarts;

use std::fs;
use std::path::Path;

use tidings::config::BrokerConfig;

use crate::support::broker::{config, file_url};

/// The configuration of a log in this folder.
fn log_in(folder: &Path) -> BrokerConfig {
    config(file_url(folder))
}

/// Copies the log of one folder to another, as a `kill -9` would leave it: nothing is closed.
fn copy_log(from: &Path, to: &Path) {
    fs::create_dir(to.join("log")).unwrap();
    for name in ["log.sqlite", "log.sqlite-wal", "mark"].map(Path::new) {
        let (from, to) = (from.join("log").join(name), to.join("log").join(name));
        if from.exists() {
            fs::copy(from, to).unwrap();
        }
    }
}
