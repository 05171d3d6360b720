//! `tidings channels`: lists the channels of a daemon, as a table or as NDJSON.

use clap::Args;

use super::failure::Failure;
use super::output::{Output, thousands};
use super::remote::Remote;

/// List the channels: head position, retained events and subscribers of each.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  tidings channels\n  tidings channels --json | jq .position")]
pub struct Channels {
    /// Print one JSON object per line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

impl Channels {
    pub async fn run(self) -> Result<(), Failure> {
        let channels = self.remote.client()?.channels().await?;
        let mut output = Output::new();
        if self.json {
            channels.iter().try_for_each(|channel| output.json(channel))?;
        } else {
            let rows: Vec<_> = channels
                .into_iter()
                .map(|channel| {
                    let shown = |count: Option<u64>| count.map_or_else(|| "–".to_owned(), thousands);
                    vec![
                        channel.name,
                        channel.position.to_string(),
                        shown(channel.retained),
                        shown(channel.subscribers),
                        channel.schema,
                    ]
                })
                .collect();
            output.table(&["CHANNEL", "POSITION", "RETAINED", "SUBSCRIBERS", "SCHEMA"], &rows)?;
        }
        output.flush()
    }
}
