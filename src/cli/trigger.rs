//! `tidings trigger`: publishes valid events that it makes from a type's schema, to try what receives them.

use std::time::{Duration, Instant};

use clap::Args;

use super::candidates;
use super::failure::{Failure, say, say_error, stopped};
use super::fields::{self, Field};
use super::interrupt::Stops;
use super::number::whole;
use super::output::Output;
use super::progress::Progress;
use super::publish;
use super::remote::Remote;
use crate::client::{Client, EventText, MAX_BATCH};
use crate::event::{Catalog, ChannelId, Json};
use crate::schema::example::Examples;

/// Publish valid events with made-up data.
///
/// Reads the schema of TYPE from the daemon and makes data that fits it. The fields that are given stay as they are. The same
/// seed gives the same data; each event has an id of its own.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  tidings trigger order-status\n  tidings trigger order-status newStatus=shipped --count 100 --rate 5\n  tidings trigger inventory-change --count 20 --seed 7 --dry-run > fixtures.ndjson"
)]
pub struct Trigger {
    /// Type of the events.
    #[arg(value_name = "TYPE", add = candidates::channels())]
    event_type: String,
    /// Fields of the data that are not made up.
    #[arg(value_name = "FIELD=VALUE", add = candidates::fields())]
    fields: Vec<Field>,
    /// Number of events.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole::<u64>(1..=10_000_000))]
    count: u64,
    /// Events per second [default: as fast as the daemon takes them].
    #[arg(long, value_name = "R", value_parser = rate)]
    rate: Option<f64>,
    /// What the data is made from [default: a random number, which is printed].
    #[arg(long, value_name = "S", value_parser = seed)]
    seed: Option<u32>,
    /// Print the events, one JSON object per line, and publish none. `tidings publish -` publishes them.
    #[arg(long, conflicts_with_all = ["json", "rate"])]
    dry_run: bool,
    /// Print each accepted event as one JSON object per line, with `id`, `type`, `position` and `duplicate`.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.001..=1_000_000.0).contains(rate));
    rate.ok_or_else(|| "expected a number of events per second, from 0.001 to 1000000".into())
}

fn seed(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("expected a whole number from 0 to {}", u32::MAX))
}

/// The events of one run.
struct Source<'a> {
    examples: Examples<'a>,
    event_type: &'a str,
    given: Json<'a>,
}

impl Trigger {
    pub fn event_type(&self) -> &str {
        &self.event_type
    }

    pub async fn run(self) -> Result<(), Failure> {
        let client = self.remote.client()?;
        let (catalog, channel, client) = self.catalog(client).await?;
        let seed = self.seed.unwrap_or_else(rand::random);
        let given = fields::data(&catalog.get(channel).schema, &self.fields)?;
        let examples = Examples::new(&catalog, channel, seed.into());
        let source = Source { examples, event_type: &self.event_type, given };
        let outcome = match self.dry_run {
            true => self.print(&source),
            false => self.publish(&client, &source).await,
        };
        if self.seed.is_none() && outcome.is_ok() {
            say(&format!("the same data again: --seed {seed}"));
        }
        outcome
    }

    /// A catalogue with the daemon's schema of the type. And the client to publish with.
    async fn catalog(&self, client: Client) -> Result<(Catalog, ChannelId, Client), Failure> {
        let (schema, client) = publish::schema::fetch(&self.remote, client, &self.event_type).await;
        let schema = schema?;
        let mut catalog = Catalog::empty();
        let added = catalog.add(&self.event_type, &schema.to_string());
        let added = added.map_err(|errors| format!("the daemon's schema of {}: {errors}", self.event_type))?;
        Ok((catalog, added.channel, client))
    }

    fn print(&self, source: &Source<'_>) -> Result<(), Failure> {
        let mut output = Output::ndjson();
        for number in 0..self.count {
            output.line(&source.event(number)?.to_string())?;
        }
        output.flush()
    }

    async fn publish(&self, client: &Client, source: &Source<'_>) -> Result<(), Failure> {
        let mut stops = Stops::new()?;
        if self.count == 1 {
            let event = EventText::of(source.event(0)?);
            let accepted = tokio::select! {
                accepted = client.publish_text(event) => accepted?,
                by = stops.next() => return Err(stopped(by, "; the event may be published all the same")),
            };
            return publish::print(&accepted, self.json);
        }
        let mut progress = Progress::new(self.json);
        let outcome = tokio::select! {
            outcome = self.publish_many(client, source, &mut progress) => outcome,
            by = stops.next() => {
                progress.clear();
                Err(stopped(by, "; the request under way may have published its events, too"))
            }
        };
        let written = progress.end(outcome.is_ok());
        outcome.and(written)
    }

    async fn publish_many(&self, client: &Client, source: &Source<'_>, progress: &mut Progress) -> Result<(), Failure> {
        let started = Instant::now();
        let mut published = 0;
        while published < self.count {
            let due = match self.rate {
                None => self.count,
                Some(rate) => {
                    let due_at = started + Duration::from_secs_f64(published as f64 / rate);
                    tokio::time::sleep_until(due_at.into()).await;
                    ((started.elapsed().as_secs_f64() * rate) as u64 + 1).clamp(published + 1, self.count)
                }
            };
            let end = due.min(published + MAX_BATCH as u64);
            let events = (published..end).map(|number| source.event(number).map(EventText::of));
            let accepted = client.publish_texts(&events.collect::<Result<Vec<_>, _>>()?).await?;
            progress.accepted(&accepted);
            if self.rate.is_some() {
                progress.flush();
            }
            published = end;
        }
        Ok(())
    }
}

impl Source<'_> {
    /// The event with this number.
    fn event(&self, number: u64) -> Result<Json<'static>, Failure> {
        let data = self.examples.make(number, &self.given).map_err(|mistakes| {
            for mistake in mistakes {
                say_error(&format!("{}: {}", mistake.pointer, mistake.message));
            }
            say(&format!(
                "No valid data was found for {}: correct the fields that are named above, or give them as FIELD=VALUE",
                self.event_type
            ));
            Failure::Reported
        })?;
        Ok(Json::Object(vec![("type".into(), self.event_type.to_owned().into()), ("data".into(), data)]))
    }
}
