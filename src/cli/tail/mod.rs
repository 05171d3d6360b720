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

use self::deliver::{Delivering, Destination, Policy};
use self::exec::Exec;
use self::forward::ForwardFlags;
use self::positions::Positions;
use self::receipts::Receipts;
use super::candidates;
use super::failure::{Failure, say};
use super::fields::Field;
use super::follow::{Following, LATEST, Seen};
use super::interrupt::Stops;
use super::number::whole;
use super::output::{self, DIM, Output};
use super::remote::Remote;
use super::reporter::ConnectionReporter;
use super::shape::Shape;
use super::usage;
use crate::client::{Client, Subscription, Update};
use crate::event::Since;

/// Follow events as they arrive.
///
/// Reconnects by itself when the connection is lost, and resumes from its last position. Reports each reconnect and
/// each gap on stderr.
///
/// With --forward-to or --exec, each event is handed on, in order, one at a time. It comes twice only if an answer was lost.
/// With --position-file, the next run goes on where this one ended. A gap is handed on as an event of the type tidings.gap.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  tidings tail\n  tidings tail inventory-change --where productId=123 --where productId=124\n  tidings tail order-status --json | jq .event.data\n  tidings tail cache-invalidate --where 'keys={\"prefix\":\"user:\"}' --count 10\n  tidings tail order-status --since 10m --format '{time} {subject} {data.newStatus}'\n  tidings tail --since latest\n  tidings tail --jq 'select(.event.data.newQuantity? == 0) | .event.subject'\n  tidings tail order-status --forward-to http://localhost:3000/hook --secret-file hook.secret --position-file hook.json\n  tidings tail inventory-change --exec './restock.sh \"$TIDINGS_SUBJECT\"' --attempts 3"
)]
pub struct Tail {
    /// Channels to follow [default: all, also those that come later].
    #[arg(value_name = "CHANNEL", add = candidates::channels())]
    channels: Vec<String>,
    /// Print only events whose data has this value in this field. Repeat a field to match any of several values.
    #[arg(long = "where", value_name = "FIELD=VALUE", add = candidates::fields())]
    filter: Vec<Field>,
    /// Where to begin: `start` (the oldest retained event), `now`, `latest` (the newest event of each subject, of types
    /// that keep it), an age such
    /// as 10m, a time such as 2026-11-21T10:00:00Z, a position such as k3q7:42 (with one channel), or a cursor [default:
    /// now].
    #[arg(long, value_name = "CURSOR|10m|start|latest")]
    since: Option<String>,
    /// Print each Nth event only. `--count` counts those that are printed.
    #[arg(long, value_name = "N", default_value_t = 1, hide_default_value = true, value_parser = whole::<u64>(1..=u64::MAX))]
    sample: u64,
    /// Stop after N events.
    #[arg(long, value_name = "N", value_parser = whole::<u64>(1..=u64::MAX))]
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
    /// --since says. Beside it, FILE.lock keeps a second `tail` away; it stays, and holds nothing.
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
    /// The channels that were named.
    pub fn channels(&self) -> &[String] {
        &self.channels
    }

    pub async fn run(self) -> Result<(), Failure> {
        if let Some(since) = &self.since {
            position_needs_one_channel(since, &self.channels);
        }
        let destination = match (self.forward.receiver()?, &self.handing.exec) {
            (Some(forward), _) => Some(Destination::Forward(forward)),
            (None, Some(command)) => Some(Destination::Exec(Exec { command: command.clone() })),
            (None, None) => None,
        };
        match destination {
            Some(destination) => self.hand_on(destination).await,
            None if self.handing.is_given() => usage::exit(
                "tail",
                "--position-file, --attempts and --skip-failed are for events that are handed on: give --forward-to or \
                 --exec, too",
            ),
            None => self.print().await,
        }
    }

    /// Hands each event on.
    async fn hand_on(self, destination: Destination) -> Result<(), Failure> {
        let handing = &self.handing;
        let positions = match &handing.position_file {
            Some(_) if self.since.as_deref() == Some(LATEST) => usage::exit(
                "tail",
                "--since latest begins with events from anywhere in the log, which no position can keep: leave out \
                 --position-file, or give another --since",
            ),
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
            usage::exit("tail", "--skip-failed needs a limit: give --attempts, too");
        }
        let receipts = match destination {
            Destination::Exec(_) => Receipts::Failures,
            Destination::Forward(_) if self.shape.is_json() => Receipts::Json(Output::ndjson()),
            Destination::Forward(_) => Receipts::Lines(Output::new(), self.shape.zone()),
        };
        let client = self.remote.client()?;
        let mut stops = Stops::new()?;
        let (following, subscriptions) = tokio::select! {
            begun = self.begin(&client) => begun?,
            _ = stops.next() => return Ok(()),
        };
        let begun: Vec<_> = subscriptions.into_iter().map(|subscription| positions.resume(subscription)).collect();
        let channels = begun.iter().map(|subscription| subscription.channel.clone()).collect();
        let subscriber = client.subscribe(begun);
        Delivering::new(destination, policy, positions, receipts, (following, subscriber, channels), stops).run().await
    }

    /// The channels of the flags, and their subscriptions.
    async fn begin(&self, client: &Client) -> Result<(Following, Vec<Subscription>), Failure> {
        Following::begin(client.clone(), self.channels.clone(), self.filter.clone(), self.since.clone()).await
    }

    /// Prints each event.
    async fn print(self) -> Result<(), Failure> {
        let mut reader_gone = pin!(output::reader_gone());
        let client = self.remote.client()?;
        let mut stops = Stops::new()?;
        let beginning = async {
            let begun = self.begin(&client).await?;
            let channels: Vec<_> = begun.1.iter().map(|subscription| &*subscription.channel).collect();
            self.shape.check_fields(&client, &channels).await?;
            Ok::<_, Failure>(begun)
        };
        let (mut following, subscriptions) = tokio::select! {
            begun = beginning => begun?,
            _ = stops.next() => return Ok(()),
        };
        let mut unconfirmed: HashSet<_> =
            subscriptions.iter().map(|subscription| subscription.channel.clone()).collect();
        let mut printer = self.shape.printer()?;
        let mut reporter = ConnectionReporter::default();
        let mut left = self.count;
        let mut seen: u64 = 0;
        let mut is_stopped = false;
        let mut subscriber = client.subscribe(subscriptions);
        while left != Some(0) {
            // Events that have already arrived are printed in one write. Flush before waiting for more.
            let update = match subscriber.next().now_or_never() {
                Some(update) => update,
                None => {
                    printer.output.flush()?;
                    tokio::select! {
                        update = subscriber.next() => update,
                        more = following.more() => {
                            more.into_iter().for_each(|subscription| subscriber.add(subscription));
                            continue;
                        }
                        () = reporter.due() => {
                            reporter.flush();
                            continue;
                        }
                        _ = stops.next() => {
                            is_stopped = true;
                            break;
                        }
                        () = &mut reader_gone => return Err(Failure::ClosedPipe),
                    }
                }
            };
            let update = match following.saw(update)? {
                Seen::Update(update) => update,
                Seen::Ended(channel) => {
                    unconfirmed.remove(&channel);
                    continue;
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
        // The next one ends it at once.
        drop(stops);
        printer.output.flush()?;
        reporter.flush();
        subscriber.close().await;
        // Stopped is the normal end, whatever came before.
        if is_stopped { Ok(()) } else { printer.end() }
    }
}

/// Refuses a position for several channels: it is one of one log. In the others it would be a gap from the beginning.
fn position_needs_one_channel(since: &str, channels: &[String]) {
    let named: HashSet<_> = channels.iter().collect();
    if let Ok(Since::After(_)) = since.parse()
        && named.len() != 1
    {
        let all = if channels.is_empty() { "all".to_owned() } else { named.len().to_string() };
        usage::exit(
            "tail",
            &format!(
                "--since {since} is a position in the log of one channel, and {all} are followed: name that channel alone, or \
                 give a cursor such as order-status={since}"
            ),
        );
    }
}

impl HandingFlags {
    /// Whether there is one that means nothing without a destination.
    fn is_given(&self) -> bool {
        self.position_file.is_some() || self.attempts.is_some() || self.skip_failed
    }
}
