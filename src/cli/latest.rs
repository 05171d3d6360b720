//! `tidings latest`: prints the newest event of a subject, or of each subject of a type.

use clap::Args;

use super::candidates;
use super::failure::{Failure, say};
use super::fields::Field;
use super::follow::subscriptions;
use super::output::DIM;
use super::remote::Remote;
use super::shape::Shape;
use crate::client::{Error, LoggedEvent};
use crate::event::Position;

/// Print the newest event of a subject, or of each subject of a type.
///
/// For types that keep it: `latest` in `[types.NAME]`, or `x-tidings-latest` in a schema. The events come in the order of the log.
/// Exits with 1 if the subject has none. Says so if a list is empty, which is no error.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  tidings latest order-status o-1\n  tidings latest order-status --where newStatus=shipped\n  tidings latest order-status --json | jq .event.data"
)]
pub struct Latest {
    /// The type of the events.
    #[arg(value_name = "TYPE", add = candidates::channels())]
    event_type: String,
    /// The subject [default: all].
    #[arg(value_name = "SUBJECT", conflicts_with = "filter")]
    subject: Option<String>,
    /// Print only events whose data has this value in this field. Repeat a field to match any of several values.
    #[arg(long = "where", value_name = "FIELD=VALUE", add = candidates::fields())]
    filter: Vec<Field>,
    #[command(flatten)]
    shape: Shape,
    #[command(flatten)]
    remote: Remote,
}

/// The most events that one request returns.
const PAGE_SIZE: u32 = 1_000;

impl Latest {
    pub fn event_type(&self) -> &str {
        &self.event_type
    }

    pub async fn run(self) -> Result<(), Failure> {
        let client = self.remote.client()?;
        let mut printer = self.shape.printer()?;
        let name = self.event_type;
        self.shape.check_fields(&client, &[&name]).await?;
        if let Some(subject) = &self.subject {
            let found = client.latest(&name, subject).await.map_err(|error| match error {
                Error::Url(text) => Failure::from(format!("{text} (--where FIELD=VALUE)")),
                error => error.into(),
            });
            let Some(LoggedEvent { position, event }) = found? else {
                return Err(format!("{name}: the subject {subject:?} has no event").into());
            };
            printer.print(&name, &position, &event)?;
            return printer.end();
        }
        let selected = subscriptions(&client, vec![name.clone()], &self.filter).await?;
        let filter = selected.into_iter().next().and_then(|subscription| subscription.filter);
        let (mut cursor, mut is_empty): (Option<Position>, _) = (None, true);
        loop {
            let page = client.latest_list(&name, filter.as_ref(), cursor.as_ref(), PAGE_SIZE).await?;
            if !page.gaps.is_empty() {
                say(&format!("{DIM}{name}: the log was lost; what was printed before does not count{DIM:#}"));
            }
            for LoggedEvent { position, event } in &page.events {
                printer.print(&name, position, event)?;
            }
            is_empty &= page.events.is_empty();
            if !page.more {
                if is_empty {
                    let none =
                        if filter.is_some() { "no newest event matches --where" } else { "no subject has an event" };
                    say(&format!("{DIM}{name}: {none}{DIM:#}"));
                }
                return printer.end();
            }
            cursor = Some(page.cursor);
        }
    }
}
