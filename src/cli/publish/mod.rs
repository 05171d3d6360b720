//! `tidings publish`: publishes one event from the command line (this file), or many from stdin (`stream`).

mod lines;
pub(super) mod schema;
mod stop;
mod stream;

use clap::Args;
use serde_json::json;

use super::candidates;
use super::failure::{Failure, say, stopped};
use super::fields::{self, Field};
use super::interrupt::Stops;
use super::output::{DIM, Output, colour_of};
use super::remote::Remote;
use super::usage;
use crate::client::{Accepted, Client, Error, EventText};
use crate::event::Json;

/// Publish events.
///
/// The schema of TYPE decides whether a value becomes a number or a string. Repeat a field for an array, and separate
/// nested fields with dots. With `-`, stdin holds whole events, one JSON object per line. With `TYPE -`, stdin holds only
/// the data of each event.
#[derive(Debug, Args)]
#[command(
    override_usage = "tidings publish TYPE FIELD=VALUE...\n       tidings publish TYPE --data JSON\n       tidings publish [TYPE] -",
    after_help = "Examples:\n  tidings publish inventory-change productId=123 oldQuantity=100 newQuantity=95 reason=sale\n  tidings publish cache-invalidate tags=products tags=home\n  tidings publish order-status --data '{\"orderId\":\"7\",\"newStatus\":\"shipped\"}'\n  zcat changes.ndjson.gz | tidings publish inventory-change -"
)]
pub struct Publish {
    /// Type of the event, or `-` to read whole events from stdin.
    #[arg(value_name = "TYPE", add = candidates::channels())]
    event_type: String,
    /// Fields of the data, or `-` to read the data of each event from stdin.
    #[arg(value_name = "FIELD=VALUE", conflicts_with = "data", add = candidates::fields())]
    fields: Vec<String>,
    /// Data of the event, as JSON.
    #[arg(long, value_name = "JSON")]
    data: Option<String>,
    /// Id of the event [default: a new one]. The daemon publishes an id once within its
    /// deduplication window.
    #[arg(long)]
    id: Option<String>,
    /// Ids of the events of stdin that have none: PREFIX-LINE [default: a random prefix]. Publishing the same input again
    /// with the same prefix publishes no event twice within the daemon's deduplication window.
    #[arg(long, value_name = "PREFIX")]
    id_prefix: Option<String>,
    /// Subject of the event [default: the value of the key field of its type].
    #[arg(long)]
    subject: Option<String>,
    /// Source of the event, as a URI or a relative reference.
    #[arg(long)]
    source: Option<String>,
    /// Print each accepted event as one JSON object per line, with `id`, `type`, `position` and `duplicate`.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

impl Publish {
    /// The type of the events; `None` if each line of stdin has its own.
    pub fn event_type(&self) -> Option<&str> {
        Some(&*self.event_type).filter(|name| *name != "-")
    }

    pub async fn run(self) -> Result<(), Failure> {
        let from_stdin = match (self.event_type.as_str(), self.fields.as_slice()) {
            ("-", []) => Some(None),
            (event_type, [only]) if only == "-" => Some(Some(event_type)),
            _ => None,
        };
        if let Some(event_type) = from_stdin {
            if self.data.is_some() || self.id.is_some() || self.subject.is_some() || self.source.is_some() {
                usage::exit(
                    "publish",
                    "--data, --id, --subject and --source are for a single event; leave them out with `-`",
                );
            }
            return stream::run(&self.remote, event_type, self.id_prefix, self.json).await;
        }
        if self.id_prefix.is_some() {
            usage::exit("publish", "--id-prefix is for the events of stdin; give a single event an --id");
        }
        let client = self.remote.client()?;
        let parse = |text: &String| {
            text.parse::<Field>().map_err(|error| usage::exit("publish", &format!("{text:?}: {error}")))
        };
        let fields = self.fields.iter().map(parse).collect::<Result<Vec<_>, Failure>>()?;
        let (data, client) = self.data(client, &fields).await?;
        let mut event = vec![("type".into(), self.event_type.as_str().into())];
        let id = self.id.clone().unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
        for (name, value) in [("id", Some(&id)), ("subject", self.subject.as_ref()), ("source", self.source.as_ref())] {
            event.extend(value.map(|value| (name.into(), value.as_str().into())));
        }
        event.push(("data".into(), data));
        let event = EventText::of(Json::Object(event));
        let mut stops = Stops::new()?;
        let published = tokio::select! {
            published = client.publish_text(event) => published,
            by = stops.next() => {
                let stopped = stopped(by, "");
                say_unconfirmed(&id);
                return Err(stopped);
            }
        };
        let accepted = match published {
            Err(Error::Unconfirmed { cause, .. }) => {
                Failure::from(*cause).report();
                say_unconfirmed(&id);
                return Err(Failure::Reported);
            }
            accepted => accepted?,
        };
        print(&accepted, self.json)
    }

    /// The data of the event: from `--data`, or from the fields. And the client to publish it with.
    async fn data<'a>(&'a self, client: Client, fields: &'a [Field]) -> Result<(Json<'a>, Client), Failure> {
        if let Some(data) = &self.data {
            return Json::parse(data).map(|data| (data, client)).map_err(|error| {
                usage::exit(
                    "publish",
                    &format!(
                        "--data is not JSON: {error}; write an object in single quotes, as in \
                     --data '{{\"orderId\":\"7\",\"newStatus\":\"shipped\"}}'"
                    ),
                )
            });
        }
        if self.fields.is_empty() {
            usage::exit(
                "publish",
                "nothing to publish: give FIELD=VALUE arguments, --data JSON, or `-` to read from stdin",
            );
        }
        let (schema, client) = schema::fetch(&self.remote, client, &self.event_type).await;
        let schema = match schema {
            // An unknown type. The daemon refuses the event, and suggests a similar name.
            Err(Error::Refused(problem)) if problem.status == 404 => json!({}),
            schema => schema?,
        };
        Ok((fields::data(&schema, fields)?, client))
    }
}

/// Tells how to repeat the command safely, where it is unknown whether the event was published.
fn say_unconfirmed(id: &str) {
    say(&format!(
        "It is not known whether the event was published. To publish it safely, repeat the command with --id {id}: \
         the daemon takes an id only once."
    ));
}

/// Prints the accepted event. If stdout cannot be written, the message says that the event was published all the same.
pub(super) fn print(accepted: &Accepted, as_json: bool) -> Result<(), Failure> {
    let mut output = Output::new();
    let written = match as_json {
        true => output.json(accepted),
        false => output.line(&accepted_line(accepted)),
    };
    let Accepted { id, position, .. } = accepted;
    match written.and_then(|()| output.flush()) {
        Err(Failure::ClosedPipe) => {
            say(&format!("stdout was closed; the event was published as {id} at {position}"));
            Ok(())
        }
        Err(failure) => {
            failure.report();
            say(&format!("The event was published as {id} at {position}."));
            Err(Failure::Reported)
        }
        Ok(()) => Ok(()),
    }
}

/// The readable line of an accepted event.
fn accepted_line(accepted: &Accepted) -> String {
    let colour = colour_of(&accepted.event_type);
    let duplicate = if accepted.duplicate { "  (published before)" } else { "" };
    let Accepted { event_type, position, id, .. } = accepted;
    format!("{colour}{event_type}{colour:#}  {position}  {DIM}{id}{DIM:#}{duplicate}")
}
