//! Logs: where they go and what form they have. What is logged is decided where it happens.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::SubscriberBuilder;

use crate::config::{LogConfig, LogFormat};

/// Sends the process's logs to stderr from now on.
///
/// # Errors
/// A level that is no filter, or logs that were sent elsewhere before, as a sentence.
pub fn init(config: &LogConfig) -> Result<(), String> {
    let level = EnvFilter::try_new(&config.level).map_err(|error| format!("log_level: {error}"))?;
    let logs = SubscriberBuilder::default().with_env_filter(level).with_writer(io::stderr);
    let set = match config.format {
        LogFormat::Pretty => {
            let colour =
                io::stderr().is_terminal() && anstream::stderr().current_choice() != anstream::ColorChoice::Never;
            logs.compact().with_ansi(colour).with_target(false).try_init()
        }
        LogFormat::Json => logs.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init(),
    };
    set.map_err(|error| format!("the logs cannot be set up: {error}"))
}
