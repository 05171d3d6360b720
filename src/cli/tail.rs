//! `tidings tail`: follows channels until it is told to stop.

use std::collections::HashSet;
use std::pin::pin;

use clap::Args;
use futures_util::FutureExt;
use serde_json::json;

use super::failure::{Failure, say};
use super::fields::{self, Field};
use super::output::{DIM, human};
use super::printer::Printer;
use super::remote::Remote;
use crate::client::{Client, Error, Subscription, Update};

/// Follow events as they come.
///
/// Connects again by itself when the daemon goes away, and says so on stderr; it goes on where it was, and names what the
/// log no longer has.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  tidings tail\n  tidings tail inventory-change --where productId=123 --where productId=124\n  tidings tail order-status --json | jq .event.data\n  tidings tail cache-invalidate --where 'keys={\"prefix\":\"user:\"}' --count 10\n  tidings tail order-status --since 10m"
)]
pub struct Tail {
    /// Channels to follow; all where none is given.
    #[arg(value_name = "CHANNEL")]
    channels: Vec<String>,
    /// Only events with this value in a field of their data; a field given again may have either value.
    #[arg(long = "where", value_name = "FIELD=VALUE")]
    filter: Vec<Field>,
    /// First what the log has from there on: a position, `start`, a time such as 2026-11-21T10:00:00Z, or an age such as
    /// 10m.
    #[arg(long, value_name = "CURSOR|10m|start")]
    since: Option<String>,
    /// End after so many events.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Print a JSON object a line: position, event.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

impl Tail {
    pub async fn run(self) -> Result<(), Failure> {
        let mut interrupted = pin!(tokio::signal::ctrl_c());
        let client = self.remote.client()?;
        let subscriptions = tokio::select! {
            subscriptions = subscriptions(&client, self.channels, &self.filter) => subscriptions?,
            _ = &mut interrupted => return Ok(()),
        };
        let subscriptions = subscriptions.into_iter().map(|wanted| match &self.since {
            Some(since) => wanted.since(since),
            None => wanted,
        });
        let subscriptions: Vec<_> = subscriptions.collect();
        let mut awaited: HashSet<_> = subscriptions.iter().map(|wanted| wanted.channel.clone()).collect();
        let mut printer = Printer::new(self.json);
        let mut connection = Connection::default();
        let mut left = self.count;
        let mut subscriber = client.subscribe(subscriptions);
        while left != Some(0) {
            // What is there is taken first, and shown together; before waiting for more, it is shown.
            let update = match subscriber.next().now_or_never() {
                Some(update) => update?,
                None => {
                    printer.output.flush()?;
                    tokio::select! {
                        update = subscriber.next() => update?,
                        _ = &mut interrupted => break,
                    }
                }
            };
            match update {
                Update::Event(delivery) => {
                    printer.print(&delivery.channel, &delivery.position, &delivery.event)?;
                    left = left.map(|left| left - 1);
                }
                Update::Subscribed { channel, .. } => {
                    if awaited.remove(&channel) && awaited.is_empty() {
                        say(&format!("{DIM}following; Ctrl-C ends{DIM:#}"));
                    }
                }
                other => {
                    printer.output.flush()?;
                    connection.tell(&other);
                }
            }
        }
        printer.output.flush()?;
        subscriber.close().await;
        Ok(())
    }
}

/// What to subscribe to: the channels that were named, or all of them that have the fields of the filter.
pub async fn subscriptions(
    client: &Client,
    named: Vec<String>,
    filter: &[Field],
) -> Result<Vec<Subscription>, Failure> {
    let all = named.is_empty();
    // A channel that was named twice is followed once.
    let mut names = named;
    if all {
        names = client.channels().await?.into_iter().map(|channel| channel.name).collect();
    } else {
        let mut seen = HashSet::new();
        names.retain(|name| seen.insert(name.clone()));
    }
    let mut subscriptions = Vec::new();
    for name in &names {
        // Asked without a filter, too: whoever names a daemon that is not there should hear it at once.
        let schema = match client.schema(name).await {
            // An unknown channel: the daemon will say so, and which one may have been meant.
            Err(Error::Refused(problem)) if problem.status == 404 => json!({}),
            schema => schema?,
        };
        if all && !fields::has_all(&schema, filter) {
            continue;
        }
        let wanted = Subscription::to(name);
        let filtered = !filter.is_empty();
        subscriptions.push(if filtered { wanted.only(fields::filter(&schema, filter)) } else { wanted });
    }
    if subscriptions.is_empty() {
        let fields: Vec<_> = filter.iter().map(|field| field.name.as_str()).collect();
        return Err(format!("no channel has the field {}", fields.join(" and ")).into());
    }
    if subscriptions.len() < names.len() {
        let followed: Vec<_> = subscriptions.iter().map(|wanted| &*wanted.channel).collect();
        say(&format!("{DIM}only {} has what --where names{DIM:#}", followed.join(", ")));
    }
    Ok(subscriptions)
}

/// What is said of the connection, on stderr.
#[derive(Default)]
struct Connection {
    lost: bool,
}

impl Connection {
    fn tell(&mut self, update: &Update) {
        match update {
            Update::Disconnected { reason, retry_in } => {
                self.lost = true;
                say(&format!("{DIM}disconnected: {reason}; connecting again in {}{DIM:#}", human(*retry_in)));
            }
            Update::Delayed { channel, reason, retry_in } => {
                say(&format!("{DIM}{channel}: {reason}; asking again in {}{DIM:#}", human(*retry_in)));
            }
            Update::Connected { node } if self.lost => {
                self.lost = false;
                say(&format!("{DIM}connected again, to {node}{DIM:#}"));
            }
            Update::Gap { channel, from, position } => {
                say(&format!("{channel}: what came after {from} up to {position} was missed"));
            }
            _ => {}
        }
    }
}
