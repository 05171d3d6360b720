//! Sets up the process's logs: level, format and destination. Each module decides by itself what it logs.

use std::io::{self, IsTerminal};

use tracing_subscriber::fmt::SubscriberBuilder;
use tracing_subscriber::{EnvFilter, reload};

use crate::config::{LogConfig, LogFormat};

/// Changes the level of the log while the process runs.
pub struct LogLevel(Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>);

impl LogLevel {
    /// Logs from now on what this filter lets through.
    ///
    /// # Errors
    /// A sentence: the level is not a valid filter.
    pub fn set(&self, level: &str) -> Result<(), String> {
        (self.0)(filter(level)?).map_err(|error| format!("log_level: {error}"))
    }
}

/// Starts logging to stderr, for the rest of the process.
///
/// # Errors
/// A sentence: the level is not a valid filter, or logging was set up before.
pub fn init(config: &LogConfig) -> Result<LogLevel, String> {
    let logs = SubscriberBuilder::default()
        .with_env_filter(filter(&config.level)?)
        .with_writer(io::stderr)
        // It would report a failed write with `eprintln!`, which panics where stderr is closed or its disk is full.
        .log_internal_errors(false);
    let (level, result) = match config.format {
        LogFormat::Pretty => {
            let colour =
                io::stderr().is_terminal() && anstream::stderr().current_choice() != anstream::ColorChoice::Never;
            let logs = logs.compact().with_ansi(colour).with_target(false).with_filter_reloading();
            let handle = logs.reload_handle();
            (LogLevel(Box::new(move |level| handle.reload(level))), logs.try_init())
        }
        LogFormat::Json => {
            let logs = logs.json().flatten_event(true).with_current_span(true).with_span_list(false);
            let logs = logs.with_filter_reloading();
            let handle = logs.reload_handle();
            (LogLevel(Box::new(move |level| handle.reload(level))), logs.try_init())
        }
    };
    result.map_err(|error| format!("logging cannot be set up: {error}"))?;
    Ok(level)
}

fn filter(level: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(level).map_err(|error| format!("log_level: {error}"))
}
