//! How a command prints events: as readable lines, as JSON, through a jq program, or by a template.
//!
//! The flags `--json`, `--jq`, `--format` and `--utc` of every command that prints events, and the [`Printer`] they choose.

mod jq;
mod template;

use clap::Args;
use jiff::tz::TimeZone;

use super::failure::{Failure, say_warning};
use super::printer::{Form, Printer};
use crate::client::{Client, Error};
use crate::event::{Filter, FilterError, Json};
pub use jq::Jq;
pub use template::{Template, absent};

/// The flags.
#[derive(Debug, Args)]
pub struct Shape {
    /// Print one JSON object per line, with `position` and `event`.
    #[arg(long)]
    json: bool,
    /// Print what this jq program makes of each line of --json, such as `.event.data.productId`. Strings are printed
    /// without quotes.
    #[arg(long, value_name = "PROGRAM", conflicts_with = "json", value_parser = jq::checked)]
    jq: Option<String>,
    /// Print each event by a template, such as '{time} {subject} {data.newStatus}'. The names are attributes of the event
    /// and paths into its data; `{position}` and `{data}` work, too.
    #[arg(long, value_name = "TEMPLATE", conflicts_with_all = ["json", "jq"], value_parser = template::checked)]
    format: Option<String>,
    /// Print times in UTC, instead of the local time zone. `--json` and `--jq` always have them as they were published.
    #[arg(long)]
    utc: bool,
}

impl Shape {
    /// The printer that the flags choose. Times are in UTC or in the time zone of this system (`TZ`, `/etc/localtime`).
    ///
    /// # Errors
    /// Why a program or a template cannot be read. The command line has checked both.
    pub fn printer(&self) -> Result<Printer, String> {
        let zone = || self.zone();
        let form = match self {
            Self { jq: Some(program), .. } => Form::Jq(Jq::new(program)?),
            Self { format: Some(template), .. } => {
                let template = Template::new(template)?;
                let unusual = template.unusual();
                Form::Template { template, zone: zone(), unusual }
            }
            Self { json: true, .. } => Form::Json,
            _ => Form::Line(zone()),
        };
        Ok(Printer::new(form))
    }

    /// Warns of fields of the template that no event of these channels can have, by their schemas. They print nothing.
    ///
    /// # Errors
    /// The daemon cannot be asked.
    pub async fn check_fields(&self, client: &Client, channels: &[&str]) -> Result<(), Failure> {
        let Some(template) = &self.format else { return Ok(()) };
        let mut missing: Vec<_> = Template::new(template)?.fields().into_iter().map(|field| (field, None)).collect();
        for channel in channels {
            if missing.is_empty() {
                return Ok(());
            }
            let schema = match client.schema(channel).await {
                // The daemon refuses the subscription, and suggests a similar name.
                Err(Error::Refused(problem)) if problem.status == 404 => return Ok(()),
                schema => schema?,
            };
            missing.retain_mut(|(field, why)| {
                let asked = Json::Object(vec![(field.clone().into(), Json::Null)]);
                match Filter::read(&asked, channel, &schema) {
                    Err(FilterError::UnknownField(mistakes)) => {
                        *why = mistakes.into_iter().next().map(|mistake| mistake.message);
                        true
                    }
                    _ => false,
                }
            });
        }
        for (field, why) in missing {
            let why = match channels {
                [_] => why.unwrap_or_default(),
                _ => "no channel has this field".to_owned(),
            };
            say_warning(&format!("--format: {{data.{field}}} prints nothing: {why}"));
        }
        Ok(())
    }

    /// Whether `--json` was given.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// The time zone to print times in.
    pub fn zone(&self) -> TimeZone {
        if self.utc { TimeZone::UTC } else { TimeZone::system() }
    }
}
