//! The values that the Tab key completes: those of settings, and from the daemon its channels and the fields of a type.
//!
//! No daemon, or a slow one, is no values: the user is typing.

use std::time::Duration;

use clap::{CommandFactory, Parser};
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
        "bus_message" => &["event", "position"],
        "broker" => &[
            "memory",
            "file:",
            "redis://",
            "rediss://",
            "redis+unix://",
            "redis-sentinel://",
            "redis-cluster://",
            "upstash+https://",
        ],
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
        let Some(name) = first_operand(&words).filter(|name| !name.is_empty()) else { return Vec::new() };
        let schema = ask(async |client| client.schema(name).await.ok()).unwrap_or_default();
        let properties = schema["properties"].as_object();
        let names = properties.into_iter().flat_map(|properties| properties.keys());
        names.map(|name| CompletionCandidate::new(format!("{name}="))).collect()
    })
}

/// The first word after the command that is neither a flag, nor the value of a flag, nor `FIELD=VALUE`.
fn first_operand(words: &[String]) -> Option<&str> {
    // The first word is the program.
    let (command, words) = words.get(1..)?.split_first()?;
    let program = super::Cli::command();
    let command = program.find_subcommand(command)?;
    let takes_value = |word: &str| {
        let flag = command.get_arguments().find(|argument| match word.strip_prefix("--") {
            Some(long) => argument.get_long() == Some(long),
            None => argument.get_short().is_some_and(|short| word.strip_prefix('-') == Some(&short.to_string())),
        });
        flag.is_some_and(|flag| flag.get_action().takes_values())
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if takes_value(word) {
            words.next();
        } else if !word.starts_with('-') && !word.contains('=') {
            return Some(word);
        }
    }
    None
}

/// The words that the user has typed: those after the `--` of the completion script. Bash makes words of each `=` and
/// `:`, which are put together again.
fn words() -> Vec<String> {
    let words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    let (mut whole, mut continues) = (Vec::<String>::new(), false);
    for word in words.skip_while(|word| word != "--").skip(1) {
        let separates = !word.is_empty() && word.chars().all(|letter| "=:".contains(letter));
        match whole.last_mut() {
            Some(last) if separates || continues => last.push_str(&word),
            _ => whole.push(word),
        }
        continues = separates;
    }
    whole
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
        for flag in ["--url", "--token-file", "--token"] {
            match word.strip_prefix(flag) {
                Some("") => flags.extend(words.get(index + 1).map(|value| format!("{flag}={value}"))),
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
