//! Sets up the process's logs: level, format and destination. Each module decides by itself what it logs.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::SubscriberBuilder;

use crate::config::{LogConfig, LogFormat};

/// Starts logging to stderr, for the rest of the process.
///
/// # Errors
/// A sentence: the level is not a valid filter, or logging was set up before.
pub fn init(config: &LogConfig) -> Result<(), String> {
    let level = EnvFilter::try_new(&config.level).map_err(|error| format!("log_level: {error}"))?;
    let logs = SubscriberBuilder::default()
        .with_env_filter(level)
        .with_writer(io::stderr)
        // It would report a failed write with `eprintln!`, which panics where stderr is closed or its disk is full.
        .log_internal_errors(false);
    let result = match config.format {
        LogFormat::Pretty => {
            let colour =
                io::stderr().is_terminal() && anstream::stderr().current_choice() != anstream::ColorChoice::Never;
            logs.compact().with_ansi(colour).with_target(false).try_init()
        }
        LogFormat::Json => logs.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init(),
    };
    result.map_err(|error| format!("logging cannot be set up: {error}"))
}
