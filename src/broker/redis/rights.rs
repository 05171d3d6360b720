//! Names the rights that a Redis user lacks, for the reason in `/readyz` and for the log.
//!
//! Redis 7.0 does not say which command of a script was refused. [`Rights`] asks for each command, without effect. A text
//! that names the right by itself is translated by [`advised`].

use fred::types::Value;

use super::BrokerError;
use super::commands::{Commands, Script};
use super::probe_log::ProbeLog;

/// Asks which commands the user may not run.
pub(super) struct Rights {
    script: Script,
    clustered: bool,
    /// A type keeps the newest event of each subject.
    latest: bool,
    /// The beginning of all keys and channels, the setting `prefix`.
    prefix: String,
}

impl Rights {
    pub fn new(clustered: bool, latest: bool, prefix: String) -> Self {
        Self { script: Script::new(include_str!("rights.lua")), clustered, latest, prefix }
    }

    /// Checks the rights to publish to and read a log. `plain_channel` is the probe's channel if it is not a sharded one.
    ///
    /// # Errors
    /// [`BrokerError::Rejected`] names each missing right. An error of the check itself is none: a server that cannot do
    /// it, such as Redis before 7.0, reports a missing right by the probe.
    pub async fn check(
        &self,
        commands: &Commands,
        log: &ProbeLog,
        plain_channel: Option<&str>,
    ) -> Result<(), BrokerError> {
        let mode = match plain_channel {
            _ if self.clustered => "cluster",
            None => "sharded",
            Some(_) => "plain",
        };
        let latest = if self.latest { "latest" } else { "" };
        let arguments = |_| {
            let keys = [&log.stream, &log.meta, &log.ids].map(|key| key.as_str().into());
            (keys.into(), vec![plain_channel.unwrap_or(&log.channel).into(), mode.into(), latest.into()])
        };
        match commands.run(&self.script, &log.stream, arguments).await {
            Ok(Value::Array(refused)) if !refused.is_empty() => {
                Err(BrokerError::Rejected(missing(&texts(&refused), &self.prefix)))
            }
            _ => Ok(()),
        }
    }
}

fn texts(values: &[Value]) -> Vec<String> {
    values.iter().map(|value| value.as_str().unwrap_or_default().into_owned()).collect()
}

/// A sentence about commands and the texts by which Redis refused them, in turn.
fn missing(refused: &[String], prefix: &str) -> String {
    let mut commands = Vec::new();
    for pair in refused.chunks_exact(2) {
        if let Some(advice) = pattern(&pair[1], prefix) {
            return advice;
        }
        commands.push(match &*pair[0] {
            "XINFO" => "xinfo|stream".to_owned(),
            command => command.to_ascii_lowercase(),
        });
    }
    may_not_run(&commands)
}

fn may_not_run(commands: &[String]) -> String {
    let names = commands.iter().map(|command| command.replace('|', " ").to_ascii_uppercase()).collect::<Vec<_>>();
    let rights = commands.iter().map(|command| format!("+{command}")).collect::<Vec<_>>();
    format!("the Redis user may not run {}: grant {} (ACL SETUSER)", names.join(", "), rights.join(" "))
}

/// What to grant if a text is about keys or channels.
fn pattern(text: &str, prefix: &str) -> Option<String> {
    let (what, sign) = match text {
        text if text.contains("command or subcommand") || text.contains("permissions to run") => return None,
        text if text.contains("channel") => ("channels", '&'),
        text if text.contains("key") => ("keys", '~'),
        _ => return None,
    };
    Some(format!(
        "the Redis user may not use the {what} that begin with {prefix:?}: grant {sign}{prefix}* (ACL SETUSER)"
    ))
}

/// What to grant if Redis refused a command on these pub/sub channels or patterns, separated by ` &`, for a missing right.
pub(super) fn missing_right(text: &str, channels: &str) -> Option<String> {
    if !text.starts_with("NOPERM") {
        return None;
    }
    match refused_command(text) {
        Some(command) => Some(may_not_run(&[command])),
        None => text
            .contains("channel")
            .then(|| format!("the Redis user may not use these channels: grant &{channels} (ACL SETUSER)")),
    }
}

/// The command in `… has no permissions to run the 'evalsha' command`.
fn refused_command(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("to run the '")?;
    Some(rest.split('\'').next()?.to_ascii_lowercase())
}

/// The same error, with what to do about it if Redis refused the call.
pub(super) fn advised(error: BrokerError, prefix: &str) -> BrokerError {
    match error {
        BrokerError::Rejected(cause) => BrokerError::Rejected(with_advice(&cause, prefix)),
        error => error,
    }
}

/// What to do about an error reply of Redis, after its text. The text alone if there is nothing to add.
fn with_advice(text: &str, prefix: &str) -> String {
    match advice(text, prefix) {
        Some(advice) => format!("{}: {advice}", text.trim_end_matches('.')),
        None => text.to_owned(),
    }
}

fn advice(text: &str, prefix: &str) -> Option<String> {
    let command = || refused_command(text).map(|command| may_not_run(&[command]));
    match text.split([' ', ':']).next()? {
        "NOPERM" => command().or_else(|| pattern(text, prefix)),
        "OOM" => Some("raise Redis' maxmemory, or lower log_max_events".to_owned()),
        "MISCONF" => Some("make room on Redis' disk; Redis' own log has the cause".to_owned()),
        "WRONGTYPE" => Some("another program has written a key of this log: delete that key".to_owned()),
        "WRONGPASS" => Some("correct the user and password in the broker's URL".to_owned()),
        "NOAUTH" => Some("add the password to the broker's URL, as in redis://:PASSWORD@HOST:PORT".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_right_is_named() {
        let command = "ERR The user executing the script can't run this command or subcommand";
        let key = "NOPERM ACL failure in script: No permissions to access a key";
        let channel = "ERR The user executing the script can't publish to the channel mentioned in the command";
        for (refused, expected) in [
            (
                vec!["XADD", command, "XINFO", command],
                "the Redis user may not run XADD, XINFO STREAM: grant +xadd +xinfo|stream (ACL SETUSER)",
            ),
            (vec!["XADD", key], "the Redis user may not use the keys that begin with \"t:\": grant ~t:* (ACL SETUSER)"),
            (
                vec!["PUBLISH", channel],
                "the Redis user may not use the channels that begin with \"t:\": grant &t:* (ACL SETUSER)",
            ),
        ] {
            let refused: Vec<_> = refused.into_iter().map(str::to_owned).collect();
            assert_eq!(missing(&refused, "t:"), expected);
        }
    }

    #[test]
    fn advice_follows_a_text_of_redis() {
        for (text, expected) in [
            ("NOPERM this user has no permissions to run the 'evalsha' command", "grant +evalsha"),
            ("NOPERM User bus has no permissions to run the 'xinfo|stream' command", "grant +xinfo|stream"),
            ("NOPERM this user has no permissions to access one of the channels used as arguments", "grant &t:*"),
            ("NOPERM No permissions to access a key", "grant ~t:*"),
            ("OOM command not allowed when used memory > 'maxmemory'.", "raise Redis' maxmemory"),
        ] {
            let told = with_advice(text, "t:");
            assert!(told.starts_with(text.trim_end_matches('.')) && told.contains(expected), "{told}");
        }
        assert_eq!(with_advice("LOADING Redis is loading", "t:"), "LOADING Redis is loading");
    }
}
