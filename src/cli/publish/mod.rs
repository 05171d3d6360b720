//! `tidings publish`: one event from the command line, or many from stdin.

mod lines;
mod stream;

use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};

use super::failure::{Failure, say};
use super::fields::{self, Field};
use super::output::{DIM, Output, colour_of};
use super::remote::Remote;
use crate::client::{Accepted, Client, Error};

/// Publish events.
///
/// Values are written as the schema of TYPE says: numbers as numbers, arrays by repeating a field, nested fields with
/// dots. With `-`, whole events are read from stdin, one JSON object a line; with TYPE and `-`, the data of such events.
#[derive(Debug, Args)]
#[command(
    override_usage = "tidings publish TYPE FIELD=VALUE...\n       tidings publish TYPE --data JSON\n       tidings publish [TYPE] -",
    after_help = "Examples:\n  tidings publish inventory-change productId=123 oldQuantity=100 newQuantity=95 reason=sale\n  tidings publish cache-invalidate tags=products tags=home\n  tidings publish order-status --data '{\"orderId\":\"7\",\"newStatus\":\"shipped\"}'\n  zcat changes.ndjson.gz | tidings publish inventory-change -"
)]
pub struct Publish {
    /// Type of the event; or `-`: whole events on stdin.
    #[arg(value_name = "TYPE")]
    event_type: String,
    /// Fields of the data; or `-`: data objects on stdin.
    #[arg(value_name = "FIELD=VALUE", conflicts_with = "data")]
    fields: Vec<String>,
    /// The data, as JSON.
    #[arg(long, value_name = "JSON")]
    data: Option<String>,
    /// Id of the event: one that the daemon has seen is not published again.
    #[arg(long)]
    id: Option<String>,
    /// Subject of the event, where it is not that of the type's key field.
    #[arg(long)]
    subject: Option<String>,
    /// Source of the event: a URI-reference.
    #[arg(long)]
    source: Option<String>,
    /// Print what was accepted, a JSON object a line: id, type, position, duplicate.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

/// For how long one event is tried again: somebody waits.
const PATIENCE: Duration = Duration::from_secs(3);
/// For how long a stream is: nobody wants to begin it again.
const STREAM_PATIENCE: Duration = Duration::from_secs(60);

impl Publish {
    pub async fn run(self) -> Result<(), Failure> {
        let client = self.remote.client()?;
        let from_stdin = match (self.event_type.as_str(), self.fields.as_slice()) {
            ("-", []) => Some(None),
            (event_type, [only]) if only == "-" => Some(Some(event_type)),
            _ => None,
        };
        if let Some(event_type) = from_stdin {
            if self.data.is_some() || self.id.is_some() || self.subject.is_some() || self.source.is_some() {
                usage("--data, --id, --subject and --source are for one event, not for stdin");
            }
            return stream::run(&client.with_patience(STREAM_PATIENCE), event_type, self.json).await;
        }
        let data = self.data(&client).await?;
        let mut event = Map::new();
        event.insert("type".into(), self.event_type.into());
        for (name, value) in [("id", self.id), ("subject", self.subject), ("source", self.source)] {
            event.extend(value.map(|value| (name.to_owned(), Value::from(value))));
        }
        event.insert("data".into(), data);
        let accepted = match client.with_patience(PATIENCE).publish(&event).await {
            Err(Error::Unconfirmed { ids, cause }) => {
                Failure::from(*cause).report();
                say(&format!(
                    "Whether it was published is not known. With --id {} it can be published again: it is taken once.",
                    ids.join(" ")
                ));
                return Err(Failure::Said);
            }
            accepted => accepted?,
        };
        let mut output = Output::new();
        match self.json {
            true => output.json(&accepted)?,
            false => output.line(&told(&accepted))?,
        }
        Ok(output.flush()?)
    }

    async fn data(&self, client: &Client) -> Result<Value, Failure> {
        if let Some(data) = &self.data {
            return serde_json::from_str(data).map_err(|error| usage(&format!("--data is not JSON: {error}")));
        }
        if self.fields.is_empty() {
            usage("nothing to publish: give FIELD=VALUE, --data JSON, or - to read from stdin");
        }
        let parse = |text: &String| text.parse::<Field>().map_err(|error| usage(&format!("{text:?}: {error}")));
        let fields = self.fields.iter().map(parse).collect::<Result<Vec<_>, Failure>>()?;
        let schema = match client.schema(&self.event_type).await {
            // An unknown type: the daemon will say so, and which one may have been meant.
            Err(Error::Refused(problem)) if problem.status == 404 => json!({}),
            schema => schema?,
        };
        Ok(fields::data(&schema, &fields)?)
    }
}

/// Bad usage that clap cannot see.
fn usage(message: &str) -> Failure {
    let mut command = Publish::augment_args(clap::Command::new("tidings publish"));
    command.error(clap::error::ErrorKind::ValueValidation, message).exit()
}

fn told(accepted: &Accepted) -> String {
    let colour = colour_of(&accepted.event_type);
    let repeated = if accepted.duplicate { "  was published before" } else { "" };
    let Accepted { event_type, position, id, .. } = accepted;
    format!("{colour}{event_type}{colour:#}  {position}  {DIM}{id}{DIM:#}{repeated}")
}
