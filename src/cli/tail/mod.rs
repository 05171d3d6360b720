//! `tidings tail`: prints the events of channels when they are published, until Ctrl-C or `--count`, or hands each to a URL
//! (`forward.rs`) or a command (`exec.rs`).
//!
//! The client library reconnects and resumes; this file prints what it reports. `deliver.rs` is the loop of the events that
//! are handed on, `positions.rs` how far it came, `receipts.rs` what it prints.

mod deliver;
mod exec;
mod forward;
mod item;
mod positions;
mod receipts;

use std::collections::HashSet;
use std::path::PathBuf;
use std::pin::pin;

use clap::{Args, ValueHint};
use futures_util::FutureExt;
use serde_json::json;

use self::deliver::{Delivering, Destination, Policy};
use self::exec::Exec;
use self::forward::ForwardFlags;
use self::positions::Positions;
use self::receipts::Receipts;
use super::candidates;
use super::failure::{Failure, say};
use super::fields::{self, Field};
use super::output::{self, DIM, Output};
use super::remote::Remote;
use super::reporter::ConnectionReporter;
use super::shape::Shape;
use crate::client::{Client, Error, Subscription, Update};
use crate::event::{Filter, FilterError};

/// Follow events as they arrive.
///
/// Reconnects by itself when the connection is lost, and resumes from its last position. Reports each reconnect and
/// each gap on stderr.
///
/// With --forward-to or --exec, each event is handed on, in order, one at a time. It comes twice only if an answer was lost.
/// With --position-file, the next run goes on where this one ended. A gap is handed on as an event of the type tidings.gap.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  tidings tail\n  tidings tail inventory-change --where productId=123 --where productId=124\n  tidings tail order-status --json | jq .event.data\n  tidings tail cache-invalidate --where 'keys={\"prefix\":\"user:\"}' --count 10\n  tidings tail order-status --since 10m --format '{time} {subject} {data.newStatus}'\n  tidings tail order-status --since latest\n  tidings tail --jq 'select(.event.data.newQuantity? == 0) | .event.subject'\n  tidings tail order-status --forward-to http://localhost:3000/hook --secret-file hook.secret --position-file hook.json\n  tidings tail inventory-change --exec './restock.sh \"$TIDINGS_SUBJECT\"' --attempts 3"
)]
pub struct Tail {
    /// Channels to follow [default: all].
    #[arg(value_name = "CHANNEL", add = candidates::channels())]
    channels: Vec<String>,
    /// Print only events whose data has this value in this field. Repeat a field to match any of several values.
    #[arg(long = "where", value_name = "FIELD=VALUE", add = candidates::fields())]
    filter: Vec<Field>,
    /// Where to begin: `start` (the oldest retained event), `now`, `latest` (the newest event of each subject), an age such
    /// as 10m, a time such as 2026-11-21T10:00:00Z, a position such as k3q7:42 (with one channel), or a cursor [default:
    /// now].
    #[arg(long, value_name = "CURSOR|10m|start|latest")]
    since: Option<String>,
    /// Print each Nth event only. `--count` counts those that are printed.
    #[arg(long, value_name = "N", default_value_t = 1, hide_default_value = true, value_parser = clap::value_parser!(u64).range(1..))]
    sample: u64,
    /// Stop after N events.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    #[command(flatten)]
    shape: Shape,
    #[command(flatten)]
    forward: ForwardFlags,
    #[command(flatten)]
    handing: HandingFlags,
    #[command(flatten)]
    remote: Remote,
}

/// What `--forward-to` and `--exec` have in common.
#[derive(Debug, Args)]
#[command(next_help_heading = "Forwarding")]
struct HandingFlags {
    /// Run this command line with /bin/sh for each event, in order, one at a time. It gets the event as JSON on its stdin, and
    /// TIDINGS_TYPE, TIDINGS_ID, TIDINGS_SUBJECT, TIDINGS_CHANNEL and TIDINGS_POSITION in its environment. Exit code 0 means
    /// done.
    #[arg(long, value_name = "COMMAND", value_hint = ValueHint::CommandString, conflicts_with_all = ["json", "jq", "format", "sample", "utc"])]
    exec: Option<String>,
    /// File that keeps the positions up to which everything was handed on. Channels that it names go on from there, whatever
    /// --since says.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    position_file: Option<PathBuf>,
    /// How often to try an event, with growing pauses, before the command ends with exit code 1 [default: unlimited with
    /// --forward-to, 1 with --exec].
    #[arg(long, value_name = "N|unlimited", value_parser = attempts)]
    attempts: Option<Attempts>,
    /// Go on with the next event after one that was tried --attempts times.
    #[arg(long)]
    skip_failed: bool,
}

/// The value of `--attempts`; `None` for no limit.
#[derive(Debug, Clone, Copy)]
struct Attempts(Option<u32>);

fn attempts(text: &str) -> Result<Attempts, String> {
    match text {
        "unlimited" => Ok(Attempts(None)),
        _ => match text.parse() {
            Ok(number @ 1..) => Ok(Attempts(Some(number))),
            _ => Err("expected a whole number from 1 up, or `unlimited`".into()),
        },
    }
}

impl Tail {
    pub async fn run(self) -> Result<(), Failure> {
        let destination = match (self.forward.receiver()?, &self.handing.exec) {
            (Some(forward), _) => Some(Destination::Forward(forward)),
            (None, Some(command)) => Some(Destination::Exec(Exec { command: command.clone() })),
            (None, None) => None,
        };
        match destination {
            Some(destination) => self.hand_on(destination).await,
            None if self.handing.is_given() => Err(Failure::Message(
                "--position-file, --attempts and --skip-failed are for events that are handed on: give --forward-to or \
                 --exec, too"
                    .into(),
            )),
            None => self.print().await,
        }
    }

    /// Hands each event on.
    async fn hand_on(self, destination: Destination) -> Result<(), Failure> {
        let handing = &self.handing;
        let positions = match &handing.position_file {
            Some(_) if self.since.as_deref() == Some(LATEST) => {
                return Err(Failure::Message(
                    "--since latest begins with events from anywhere in the log, which no position can keep: leave out \
                     --position-file, or give another --since"
                        .into(),
                ));
            }
            Some(file) => Positions::open(file)?,
            None => Positions::default(),
        };
        let once = matches!(destination, Destination::Exec(_)).then_some(1);
        let policy = Policy {
            attempts: handing.attempts.map_or(once, |attempts| attempts.0),
            skip_failed: handing.skip_failed,
            count: self.count,
        };
        if policy.skip_failed && policy.attempts.is_none() {
            return Err(Failure::Message("--skip-failed needs a limit: give --attempts, too".into()));
        }
        let receipts = match destination {
            Destination::Exec(_) => Receipts::Failures,
            Destination::Forward(_) if self.shape.is_json() => Receipts::Json(Output::ndjson()),
            Destination::Forward(_) => Receipts::Lines(Output::new(), self.shape.zone()),
        };
        let client = self.remote.client()?;
        let subscriptions = tokio::select! {
            subscriptions = self.begun(&client) => subscriptions?,
            _ = tokio::signal::ctrl_c() => return Ok(()),
        };
        let begun = subscriptions.into_iter().map(|subscription| match positions.of(&subscription.channel) {
            Some(position) => {
                let since = position.to_string();
                subscription.since(since)
            }
            None => subscription,
        });
        let begun: Vec<_> = begun.collect();
        let channels = begun.iter().map(|subscription| subscription.channel.clone()).collect();
        let subscriber = client.subscribe(begun);
        Delivering::new(destination, policy, positions, receipts, (subscriber, channels))?.run().await
    }

    /// The subscriptions of the flags, each with where it begins.
    async fn begun(&self, client: &Client) -> Result<Vec<Subscription>, Failure> {
        let all = self.channels.is_empty();
        let subscriptions = subscriptions(client, self.channels.clone(), &self.filter).await?;
        let mut begun = Vec::with_capacity(subscriptions.len());
        for subscription in subscriptions {
            begun.push(match &self.since {
                // Of all channels, those that keep no newest events begin with their next event.
                Some(since) if all && since == LATEST && !keeps_latest(client, &subscription.channel).await? => {
                    subscription
                }
                Some(since) => subscription.since(since),
                None => subscription,
            });
        }
        Ok(begun)
    }

    /// Prints each event.
    async fn print(self) -> Result<(), Failure> {
        let mut interrupted = pin!(tokio::signal::ctrl_c());
        let mut reader_gone = pin!(output::reader_gone());
        let client = self.remote.client()?;
        let subscriptions = tokio::select! {
            subscriptions = self.begun(&client) => subscriptions?,
            _ = &mut interrupted => return Ok(()),
        };
        let mut unconfirmed: HashSet<_> =
            subscriptions.iter().map(|subscription| subscription.channel.clone()).collect();
        let mut printer = self.shape.printer()?;
        let mut reporter = ConnectionReporter::default();
        let mut left = self.count;
        let mut seen: u64 = 0;
        let mut subscriber = client.subscribe(subscriptions);
        while left != Some(0) {
            // Events that have already arrived are printed in one write. Flush before waiting for more.
            let update = match subscriber.next().now_or_never() {
                Some(update) => update?,
                None => {
                    printer.output.flush()?;
                    tokio::select! {
                        update = subscriber.next() => update?,
                        () = reporter.due() => {
                            reporter.flush();
                            continue;
                        }
                        _ = &mut interrupted => break,
                        () = &mut reader_gone => return Err(Failure::ClosedPipe),
                    }
                }
            };
            match update {
                Update::Event(delivery) => {
                    if reporter.has_gap(&delivery.channel) {
                        printer.output.flush()?;
                        reporter.flush();
                    }
                    seen += 1;
                    if !seen.is_multiple_of(self.sample) {
                        continue;
                    }
                    printer.print(&delivery.channel, &delivery.position, &delivery.event)?;
                    left = left.map(|left| left - 1);
                }
                Update::Subscribed { channel, .. } => {
                    if unconfirmed.remove(&channel) && unconfirmed.is_empty() {
                        say(&format!("{DIM}following; press Ctrl-C to stop{DIM:#}"));
                    }
                }
                other => {
                    printer.output.flush()?;
                    reporter.report(&other);
                }
            }
        }
        printer.output.flush()?;
        reporter.flush();
        subscriber.close().await;
        Ok(())
    }
}

impl HandingFlags {
    /// Whether there is one that means nothing without a destination.
    fn is_given(&self) -> bool {
        self.position_file.is_some() || self.attempts.is_some() || self.skip_failed
    }
}

/// The value of `--since` that begins with the newest event of each subject.
const LATEST: &str = "latest";

/// Whether a channel's type keeps the newest event of each subject.
async fn keeps_latest(client: &Client, channel: &str) -> Result<bool, Failure> {
    match client.latest_list(channel, None, None, 1).await {
        Ok(_) => Ok(true),
        Err(Error::Refused(problem)) if problem.status == 422 => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The subscriptions for the named channels. Without names, those for all channels that have the fields of the filter.
pub async fn subscriptions(
    client: &Client,
    named: Vec<String>,
    conditions: &[Field],
) -> Result<Vec<Subscription>, Failure> {
    let all = named.is_empty();
    let mut names = named;
    if all {
        names = client.channels().await?.into_iter().map(|channel| channel.name).collect();
    } else {
        // Follow a channel once, even if it was named twice.
        let mut seen = HashSet::new();
        names.retain(|name| seen.insert(name.clone()));
    }
    let (mut subscriptions, mut refused) = (Vec::new(), Vec::new());
    for name in &names {
        // The schema is fetched even without conditions, so that the command fails at once if the daemon is
        // unreachable.
        let schema = match client.schema(name).await {
            // An unknown channel. The daemon refuses the subscription, and suggests a similar name.
            Err(Error::Refused(problem)) if problem.status == 404 => json!({}),
            schema => schema?,
        };
        let subscription = Subscription::to(name);
        if conditions.is_empty() {
            subscriptions.push(subscription);
            continue;
        }
        let filter = fields::filter(&schema, conditions);
        // A named channel's filter is left to the daemon, whose schema is the one that counts.
        match Filter::read(&filter, name, &schema) {
            Err(error) if all => refused.push(error),
            _ => subscriptions.push(subscription.filter(filter)),
        }
    }
    if subscriptions.is_empty() {
        return Err(no_channel_matches(refused, conditions));
    }
    if subscriptions.len() < names.len() {
        let followed: Vec<_> = subscriptions.iter().map(|subscription| &*subscription.channel).collect();
        say(&format!("{DIM}only these channels can match --where: {}{DIM:#}", followed.join(", ")));
    }
    Ok(subscriptions)
}

/// The failure of a filter for all channels that none of them can match.
fn no_channel_matches(refused: Vec<FilterError>, conditions: &[Field]) -> Failure {
    // A channel that has the fields, but never with these values, is the one that was meant.
    if let Some(error) = refused.iter().find(|error| matches!(error, FilterError::Invalid(_))) {
        return error.to_string().into();
    }
    let fields: Vec<_> = conditions.iter().map(|field| field.name.as_str()).collect();
    let fields = fields.join(" and ");
    let first = conditions.first().map_or_else(String::new, |field| format!("{}={}", field.name, field.text));
    format!(
        "no channel has the field {fields}: name a channel to learn which fields it has, as in \
         `tidings tail order-status --where {first}`"
    )
    .into()
}
