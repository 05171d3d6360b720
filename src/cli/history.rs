//! `tidings history`: prints retained events of the log, page by page.

use clap::Args;

use super::candidates;
use super::failure::{Failure, say};
use super::fields::Field;
use super::follow::subscriptions;
use super::number::whole;
use super::output::DIM;
use super::remote::Remote;
use super::shape::Shape;
use crate::client::{Client, HistoryQuery, LoggedEvent};
use crate::event::{Cursor, Position};

/// Print retained events from the log.
///
/// Prints one channel after the other, each in the order of its events. Reports on stderr which events the log no longer
/// has.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  tidings history order-status\n  tidings history inventory-change --where productId=123 --since 10m\n  tidings history --since start --limit 1000 --json | jq .event.data"
)]
pub struct History {
    /// Channels to read [default: all].
    #[arg(value_name = "CHANNEL", add = candidates::channels())]
    channels: Vec<String>,
    /// Print only events whose data has this value in this field. Repeat a field to match any of several values.
    #[arg(long = "where", value_name = "FIELD=VALUE", add = candidates::fields())]
    filter: Vec<Field>,
    /// Where to begin: `start` (the oldest retained event), `now`, an age such as 10m, a time such as
    /// 2026-11-21T10:00:00Z, a position such as k3q7:42 (with one channel), or a cursor.
    #[arg(long, value_name = "CURSOR|10m|start", default_value = "start")]
    since: String,
    /// Print at most N events of each channel.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = whole::<u32>(1..=u64::from(u32::MAX)))]
    limit: u32,
    #[command(flatten)]
    shape: Shape,
    #[command(flatten)]
    remote: Remote,
}

/// The most events that one request returns.
const PAGE_SIZE: u32 = 1_000;

/// The position up to which the channel of a query has events now.
async fn head(client: &Client, query: &HistoryQuery) -> Result<Option<Position>, Failure> {
    let page = client.history(&query.clone().since("now").limit(1)).await?;
    Ok(query.channels.first().and_then(|channel| position_of(channel, &page.cursor)))
}

/// The position that a cursor of one channel has. `None` if the daemon writes its cursors in another way.
fn position_of(channel: &str, cursor: &str) -> Option<Position> {
    Cursor::parse(cursor)?.0.remove(channel)
}

impl History {
    /// The channels that were named.
    pub fn channels(&self) -> &[String] {
        &self.channels
    }

    pub async fn run(self) -> Result<(), Failure> {
        let client = self.remote.client()?;
        let mut printer = self.shape.printer()?;
        let subscriptions = subscriptions(&client, self.channels, &self.filter).await?;
        let channels: Vec<_> = subscriptions.iter().map(|subscription| &*subscription.channel).collect();
        self.shape.check_fields(&client, &channels).await?;
        for subscription in subscriptions {
            let channel = subscription.channel.to_string();
            let mut left = self.limit;
            let mut query = HistoryQuery::default().channel(&channel).since(&self.since);
            query.filter = subscription.filter;
            // Where the channel ends now: others may publish faster than this reads.
            let mut end = head(&client, &query).await?;
            while left > 0 {
                query.limit = Some(left.min(PAGE_SIZE));
                let page = client.history(&query).await?;
                for gap in &page.gaps {
                    say(&format!(
                        "{DIM}{channel}: the log no longer has the events after {} up to {}{DIM:#}",
                        gap.from, gap.position
                    ));
                }
                for LoggedEvent { position, event } in &page.events {
                    printer.print(&channel, position, event)?;
                }
                left -= page.events.len() as u32;
                let read = position_of(&channel, &page.cursor);
                match (&read, &end) {
                    (Some(read), Some(at)) if !read.same_epoch(at) => end = head(&client, &query).await?,
                    (Some(read), Some(at)) if read.offset >= at.offset => break,
                    _ if page.events.is_empty() && query.since.as_ref() == Some(&page.cursor) => break,
                    _ => {}
                }
                query.since = Some(page.cursor);
            }
        }
        printer.end()
    }
}
