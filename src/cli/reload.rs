//! Reads the configuration again after SIGHUP. `log_level` changes at once; every other setting needs a restart.
//!
//! A configuration with a mistake changes nothing: each mistake is logged. The mistakes are those of `tidings config check`.

use super::config_check::{self, Checked};
use super::flags::ConfigFlags;
use crate::config::Loaded;
use crate::telemetry::LogLevel;

/// What a reload compares with and changes.
pub struct Reload {
    pub flags: ConfigFlags,
    /// The configuration with which the daemon started.
    pub running: Loaded,
    pub log_level: LogLevel,
}

impl Reload {
    pub fn run(&self) {
        tracing::info!(signal = "SIGHUP", "reading the configuration again");
        let loaded = match self.flags.read() {
            Ok(Ok(loaded)) => loaded,
            Ok(Err(mistakes)) => return refuse(&mistakes.0),
            Err(error) => return tracing::error!(%error, "the configuration cannot be read; it stays as it is"),
        };
        let Checked { warnings, outcome } = config_check::check(&loaded);
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        if let Err(mistakes) = outcome {
            return refuse(&mistakes);
        }
        match self.log_level.set(&loaded.config.log.level) {
            Ok(()) => tracing::info!(log_level = loaded.config.log.level, "the configuration was read again"),
            Err(error) => tracing::error!(error, "the configuration stays as it is"),
        }
        let restart: Vec<_> = loaded.changed_since(&self.running).filter(|name| *name != "log_level").collect();
        if !restart.is_empty() {
            tracing::warn!(settings = restart.join(", "), "these settings have changed, and need a restart");
        }
    }
}

fn refuse(mistakes: &[String]) {
    for mistake in mistakes {
        tracing::error!("{mistake}; the configuration stays as it is");
    }
}
