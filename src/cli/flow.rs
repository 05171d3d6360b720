//! `tidings bridge` and `tidings sink`: what a flow of the daemon has given up.

use clap::{Args, Subcommand};

use super::failure::Failure;
use super::output::Output;
use super::remote::Remote;

/// Look at the messages that became no event.
#[derive(Debug, Subcommand)]
pub enum Bridge {
    /// List the messages that became no event, the oldest first, with the reason of each.
    ///
    /// The daemon keeps up to 500 of them for 7 days.
    #[command(
        after_help = "Examples:\n  tidings bridge dead legacy-inventory\n  tidings bridge dead legacy-inventory --json | jq -r .message"
    )]
    Dead(Dead),
}

/// Look at the values that a store refuses.
#[derive(Debug, Subcommand)]
pub enum Sink {
    /// List the values that the store refuses for good, the oldest first, with the reason of each.
    ///
    /// The daemon keeps up to 500 of them for 7 days.
    #[command(after_help = "Examples:\n  tidings sink dead edge\n  tidings sink dead edge --json | jq -r .reason")]
    Dead(Dead),
}

#[derive(Debug, Args)]
pub struct Dead {
    /// Name in the configuration.
    name: String,
    /// Print one JSON object per line, with the whole message.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

impl Bridge {
    pub async fn run(self) -> Result<(), Failure> {
        let Self::Dead(dead) = self;
        dead.run("bridges").await
    }
}

impl Sink {
    pub async fn run(self) -> Result<(), Failure> {
        let Self::Dead(dead) = self;
        dead.run("sinks").await
    }
}

impl Dead {
    async fn run(self, kind: &str) -> Result<(), Failure> {
        let messages = self.remote.client()?.dead_messages(kind, &self.name).await?;
        let mut output = Output::new();
        if self.json {
            messages.iter().try_for_each(|message| output.json(message))?;
        } else {
            let row = |message: crate::client::DeadMessage| vec![cut_id(&message.id), message.at, message.reason];
            let rows: Vec<_> = messages.into_iter().map(row).collect();
            output.table(&["ID", "GIVEN UP", "REASON"], &rows)?;
        }
        output.flush()
    }
}

/// The id of a dead letter as a table shows it. It may have the subject of an event, and `--json` has the whole.
pub fn cut_id(id: &str) -> String {
    crate::suggest::cut(id, 64).into_owned()
}
