//! How a command prints events: as readable lines, as JSON, through a jq program, or by a template.
//!
//! The flags `--json`, `--jq`, `--format` and `--utc` of every command that prints events, and the [`Printer`] they choose.

mod jq;
mod template;

use clap::Args;
use jiff::tz::TimeZone;

use super::printer::{Form, Printer};
pub use jq::Jq;
pub use template::Template;

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
            Self { format: Some(template), .. } => Form::Template(Template::new(template)?, zone()),
            Self { json: true, .. } => Form::Json,
            _ => Form::Line(zone()),
        };
        Ok(Printer::new(form))
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
