//! `tidings tail --exec`: a command of the user for each event, which gets the event on its stdin.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};

use super::item::{Attempt, Item, Refusal};

/// A command line for the shell.
pub struct Exec {
    pub command: String,
}

impl Exec {
    /// Runs the command once and waits for its end. It is in the process group of this process: Ctrl-C at a terminal reaches
    /// both.
    pub async fn attempt(&self, item: &Item) -> Attempt {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(&self.command).stdin(Stdio::piped());
        let position = item.position.to_string();
        let subject = item.subject.as_deref().unwrap_or_default();
        for (name, value) in [
            ("TIDINGS_TYPE", &*item.kind),
            ("TIDINGS_ID", &*item.message.id),
            ("TIDINGS_SUBJECT", subject),
            ("TIDINGS_CHANNEL", &*item.channel),
            ("TIDINGS_POSITION", &*position),
        ] {
            // An environment cannot have this character.
            command.env(name, value.replace('\0', "\u{fffd}"));
        }
        let body = item.message.body.clone();
        let ended = tokio::task::spawn_blocking(move || {
            let mut child = command.spawn()?;
            if let Some(mut stdin) = child.stdin.take() {
                // A command need not read the event.
                let _ = stdin.write_all(&body).and_then(|()| stdin.write_all(b"\n"));
            }
            child.wait()
        });
        let reason = match ended.await {
            Ok(Ok(status)) if status.success() => return Attempt::Taken { status: None },
            Ok(Ok(status)) => ended_with(status),
            Ok(Err(error)) => format!("the command could not be run: {error}"),
            Err(error) => format!("the command could not be waited for: {error}"),
        };
        Attempt::Refused(Refusal { status: None, reason, is_final: false, retry_after: None })
    }
}

fn ended_with(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("the command ended with exit code {code}"),
        (None, Some(signal)) => format!("the command was ended by signal {signal}"),
        (None, None) => format!("the command ended with {status}"),
    }
}
