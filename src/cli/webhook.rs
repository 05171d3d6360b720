//! `tidings webhooks` and `tidings webhook`: how the webhooks of a daemon are, and what an operator does with them.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::failure::{Failure, say};
use super::flow::cut_id;
use super::output::{DIM, Output, human, thousands};
use super::remote::Remote;

/// List the webhooks of the daemon: state, events that are not delivered yet, dead letters.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  tidings webhooks\n  tidings webhooks --json | jq -r 'select(.state != \"delivering\").name'"
)]
pub struct Webhooks {
    /// Print one JSON object per line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

/// Test a webhook, look at what it could not deliver, and deliver that again.
#[derive(Debug, Subcommand)]
pub enum Webhook {
    /// Send an event of the type tidings.test to the webhook's receiver, once.
    ///
    /// Exits with 1 if the receiver does not take it.
    #[command(after_help = "Examples:\n  tidings webhook test revalidate")]
    Test(Named),
    /// List the events that could not be delivered, the oldest first, with the reason of each.
    ///
    /// The daemon keeps up to 500 of them for 7 days.
    #[command(
        after_help = "Examples:\n  tidings webhook dead revalidate\n  tidings webhook dead revalidate --json | jq .event"
    )]
    Dead(Dead),
    /// Deliver events again that could not be delivered.
    ///
    /// Each is sent once. Those that the receiver takes are no dead letters any more. Exits with 1 if one fails again.
    #[command(
        after_help = "Examples:\n  tidings webhook replay revalidate --id shop-17\n  tidings webhook replay revalidate --all"
    )]
    Replay(Replay),
    /// Let a webhook go on that its receiver has stopped with 410.
    #[command(after_help = "Examples:\n  tidings webhook resume revalidate")]
    Resume(Named),
}

#[derive(Debug, Args)]
pub struct Named {
    /// Name of the webhook in the configuration.
    name: String,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Args)]
pub struct Dead {
    /// Print one JSON object per line, with the whole event.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    named: Named,
}

#[derive(Debug, Args)]
pub struct Replay {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    named: Named,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// Id of one event.
    #[arg(long)]
    id: Option<String>,
    /// All events that could not be delivered.
    #[arg(long)]
    all: bool,
}

impl Webhooks {
    pub async fn run(self) -> Result<(), Failure> {
        let webhooks = self.remote.client()?.webhooks().await?;
        let mut output = Output::new();
        if self.json {
            webhooks.iter().try_for_each(|webhook| output.json(webhook))?;
        } else if webhooks.is_empty() {
            say("this daemon has no webhook: [[webhook]] in its configuration makes one");
        } else {
            let rows: Vec<_> = webhooks
                .into_iter()
                .map(|webhook| {
                    vec![
                        webhook.name,
                        webhook.state,
                        thousands(webhook.lag),
                        thousands(webhook.dead),
                        webhook.node.unwrap_or_else(|| "-".into()),
                        webhook.channels.join(","),
                        webhook.url,
                        webhook.since.unwrap_or_else(|| "-".into()),
                        webhook.reason.unwrap_or_default(),
                    ]
                })
                .collect();
            output.table(&["WEBHOOK", "STATE", "LAG", "DEAD", "NODE", "CHANNELS", "URL", "SINCE", "REASON"], &rows)?;
        }
        output.flush()
    }
}

impl Webhook {
    pub async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Test(Named { name, remote }) => {
                let test = remote.client()?.test_webhook(&name).await?;
                let took = human(Duration::from_millis(test.took_ms));
                match test.reason {
                    None if test.delivered => {
                        say(&format!("the receiver took the event {} {DIM}in {took}{DIM:#}", test.id));
                        Ok(())
                    }
                    reason => Err(format!("not delivered: {}", reason.unwrap_or_default()).into()),
                }
            }
            Self::Dead(dead) => dead.run().await,
            Self::Replay(replay) => replay.run().await,
            Self::Resume(Named { name, remote }) => {
                match remote.client()?.resume_webhook(&name).await? {
                    true => say(&format!("the webhook {name} goes on {DIM}within seconds{DIM:#}")),
                    false => say(&format!("the webhook {name} was not stopped: nothing has changed")),
                }
                Ok(())
            }
        }
    }
}

impl Dead {
    async fn run(self) -> Result<(), Failure> {
        let Named { name, remote } = self.named;
        let letters = remote.client()?.dead_letters(&name).await?;
        let mut output = Output::new();
        if self.json {
            letters.iter().try_for_each(|letter| output.json(letter))?;
        } else {
            let row = |letter: crate::client::DeadLetter| {
                let position = letter.position.unwrap_or_else(|| "-".into());
                vec![cut_id(&letter.id), letter.at, letter.attempts.to_string(), position, letter.reason]
            };
            let rows: Vec<_> = letters.into_iter().map(row).collect();
            output.table(&["ID", "GIVEN UP", "ATTEMPTS", "POSITION", "REASON"], &rows)?;
        }
        output.flush()
    }
}

impl Replay {
    async fn run(self) -> Result<(), Failure> {
        let Named { name, remote } = self.named;
        let client = remote.client()?;
        let (mut delivered, mut failed) = (0, 0);
        loop {
            let replay = client.replay_dead_letters(&name, self.which.id.as_deref()).await?;
            delivered += replay.delivered.len();
            failed += replay.failed.len();
            for failure in &replay.failed {
                say(&format!("{} failed again: {}", failure.id, failure.reason));
            }
            // What failed again would be tried first by the next request.
            if replay.remaining == 0 || !replay.failed.is_empty() {
                failed += usize::try_from(replay.remaining).unwrap_or(usize::MAX);
                break;
            }
        }
        say(&format!("{} delivered", thousands(delivered as u64)));
        match failed {
            0 => Ok(()),
            failed => Err(format!("{} not delivered", thousands(failed as u64)).into()),
        }
    }
}
