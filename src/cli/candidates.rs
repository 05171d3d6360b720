//! The values that the Tab key completes: those of settings, and from the daemon its channels and the fields of a type.
//!
//! No daemon, or a slow one, is no values: the user is typing.

use std::time::Duration;

use clap::Parser;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};

use super::remote::Remote;
use crate::client::Client;
use crate::config::Setting;

/// How long the user waits for the daemon's values.
const TIMEOUT: Duration = Duration::from_millis(500);

/// The values of a setting. Empty for one that takes any text.
pub fn of_setting(setting: &'static Setting) -> ArgValueCandidates {
    let values: &[&str] = match setting.name {
        "log_format" => &["pretty", "json"],
        "log_level" => &["error", "warn", "info", "debug", "trace", "off"],
        "file_sync" => &["os", "always"],
        "broker" => {
            &["memory", "file:", "redis://", "rediss://", "redis+unix://", "redis-sentinel://", "redis-cluster://"]
        }
        _ if setting.is_switch() => &["true", "false"],
        _ => &[],
    };
    ArgValueCandidates::new(move || values.iter().map(CompletionCandidate::new).collect())
}

/// The channels of the daemon, which are its event types.
pub fn channels() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let channels = ask(async |client| client.channels().await.ok()).unwrap_or_default();
        channels.into_iter().map(|channel| CompletionCandidate::new(channel.name)).collect()
    })
}

/// The fields of the type or channel that the command line names first, each with its `=`.
pub fn fields() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let words = words();
        // The first word is the program, the second one the command.
        let named = words.iter().skip(2).find(|word| !word.starts_with('-') && !word.contains('='));
        let Some(name) = named.filter(|name| !name.is_empty()).cloned() else { return Vec::new() };
        let schema = ask(async |client| client.schema(&name).await.ok()).unwrap_or_default();
        let properties = schema["properties"].as_object();
        let names = properties.into_iter().flat_map(|properties| properties.keys());
        names.map(|name| CompletionCandidate::new(format!("{name}="))).collect()
    })
}

/// The words that the user has typed: those after the `--` of the completion script.
fn words() -> Vec<String> {
    let words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    words.skip_while(|word| word != "--").skip(1).collect()
}

/// Asks the daemon that the words or the environment name.
fn ask<T>(question: impl AsyncFnOnce(Client) -> Option<T>) -> Option<T> {
    /// The flags that name the daemon.
    #[derive(Parser)]
    struct Daemon {
        #[command(flatten)]
        remote: Remote,
    }
    let words = words();
    let mut flags = vec!["tidings".to_owned()];
    for (index, word) in words.iter().enumerate() {
        for flag in ["--url", "--token"] {
            match word.strip_prefix(flag) {
                // Bash makes a word of the `=`.
                Some("") => {
                    let value = words[index + 1..].iter().find(|word| *word != "=");
                    flags.extend(value.map(|value| format!("{flag}={value}")));
                }
                Some(value) if value.starts_with('=') => flags.push(word.clone()),
                _ => {}
            }
        }
    }
    let remote = Daemon::try_parse_from(flags).ok()?.remote;
    let client = remote.silent_client().ok()?.with_retry_timeout(Duration::ZERO);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    runtime.block_on(async { tokio::time::timeout(TIMEOUT, question(client)).await.ok().flatten() })
}
