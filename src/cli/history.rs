//! `tidings history`: what the log has.

use clap::Args;

use super::failure::{Failure, say};
use super::fields::Field;
use super::output::DIM;
use super::printer::Printer;
use super::remote::Remote;
use super::tail::subscriptions;
use crate::client::{Recorded, Wanted};

/// Print events that the log has.
///
/// Each channel's events come in their order, one channel after the other. What the log no longer has is named on stderr.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  tidings history order-status\n  tidings history inventory-change --where productId=123 --since 10m\n  tidings history --since start --limit 1000 --json | jq .event.data"
)]
pub struct History {
    /// Channels; all where none is given.
    #[arg(value_name = "CHANNEL")]
    channels: Vec<String>,
    /// Only events with this value in a field of their data; a field given again may have either value.
    #[arg(long = "where", value_name = "FIELD=VALUE")]
    filter: Vec<Field>,
    /// From where: a position, `start`, a time such as 2026-11-21T10:00:00Z, or an age such as 10m.
    #[arg(long, value_name = "CURSOR|10m|start", default_value = "start")]
    since: String,
    /// The most events of a channel.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Print a JSON object a line: position, event.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

/// The most events of one request.
const PAGE: u32 = 1_000;

impl History {
    pub async fn run(self) -> Result<(), Failure> {
        let client = self.remote.client()?;
        let mut printer = Printer::new(self.json);
        for subscription in subscriptions(&client, self.channels, &self.filter).await? {
            let channel = subscription.channel.to_string();
            let mut left = self.limit;
            let mut wanted = Wanted {
                channels: vec![channel.clone()],
                filter: subscription.filter,
                since: Some(self.since.clone()),
                limit: None,
            };
            while left > 0 {
                wanted.limit = Some(left.min(PAGE));
                let page = client.history(&wanted).await?;
                for gap in &page.gaps {
                    say(&format!("{DIM}{channel}: the log no longer has what came after {}{DIM:#}", gap.from));
                }
                for Recorded { position, event } in &page.events {
                    printer.print(&channel, position, event)?;
                }
                left -= page.events.len() as u32;
                if page.events.is_empty() && wanted.since.as_ref() == Some(&page.cursor) {
                    break;
                }
                wanted.since = Some(page.cursor);
            }
        }
        Ok(printer.output.flush()?)
    }
}
