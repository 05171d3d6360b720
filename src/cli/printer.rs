//! Prints events in the form that the flags of [`shape`](super::shape) choose.
//!
//! Used by every command that prints events.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::failure::{Failure, say_warning};
use super::output::{DIM, Output, colour_of, thousands};
use super::shape::{Jq, Template, absent};
use super::shown::{human_time, quote_if_needed, visible};
use crate::event::{Json, Position};

/// Writes events to stdout.
pub struct Printer {
    pub output: Output,
    form: Form,
    /// How many events the jq program could not take.
    failed: u64,
}

/// What an event looks like. Times are in the zone.
pub enum Form {
    /// A readable line.
    Line(TimeZone),
    /// A line of NDJSON.
    Json,
    /// What a program makes of that line.
    Jq(Jq),
    /// A line by a template.
    Template {
        template: Template,
        zone: TimeZone,
        /// The names that the next event is looked at for. Empty after the first event.
        unusual: Vec<String>,
    },
}

/// One line of `--json`.
#[derive(Serialize)]
struct JsonLine<'a> {
    position: &'a Position,
    event: &'a RawValue,
}

/// The attributes of an event that the readable line shows.
#[derive(Deserialize)]
struct ShownAttributes<'a> {
    time: Option<String>,
    subject: Option<String>,
    #[serde(borrow)]
    data: &'a RawValue,
}

impl Printer {
    /// Prints events in this form.
    pub fn new(form: Form) -> Self {
        let output = match form {
            Form::Line(_) => Output::new(),
            // No colours, and in a pipe every byte as it is.
            _ => Output::ndjson(),
        };
        Self { output, form, failed: 0 }
    }

    /// Writes out what is buffered, after the last event.
    ///
    /// # Errors
    /// The program of `--jq` has failed for an event.
    pub fn end(&mut self) -> Result<(), Failure> {
        self.output.flush()?;
        match self.failed {
            0 => Ok(()),
            count => {
                let s = if count == 1 { "" } else { "s" };
                Err(format!("the --jq program failed for {} event{s}: see the warnings", thousands(count)).into())
            }
        }
    }

    /// Prints one event. It appears after the output is flushed.
    pub fn print(&mut self, channel: &str, position: &Position, event: &RawValue) -> Result<(), Failure> {
        let Self { output, form, failed } = self;
        match form {
            Form::Json => output.json(&JsonLine { position, event }),
            Form::Line(zone) => {
                let shown: ShownAttributes<'_> =
                    serde_json::from_str(event.get()).map_err(|error| error.to_string())?;
                output.line(&human_line(channel, position, &shown, zone, Timestamp::now()))
            }
            Form::Template { template, zone, unusual } => {
                let event = Json::parse_logged(event.get()).map_err(|error| error.to_string())?;
                for name in std::mem::take(unusual).iter().filter(|name| event.get(name).is_none()) {
                    say_warning(&absent(name));
                }
                output.text(&template.line(position, &event, zone, Timestamp::now()))
            }
            Form::Jq(jq) => {
                let line = serde_json::to_vec(&JsonLine { position, event }).map_err(|error| error.to_string())?;
                // An event that the program cannot take is no reason to miss the next one.
                match jq.run(&line, |result| output.text(result).map_err(Ended::Output)) {
                    Err(Ended::Output(failure)) => Err(failure),
                    Err(Ended::Program(cause)) => {
                        output.flush()?;
                        *failed += 1;
                        say_warning(&format!("--jq at {position} of {channel}: {cause}"));
                        Ok(())
                    }
                    Ok(()) => Ok(()),
                }
            }
        }
    }
}

/// Why a jq program ended early.
enum Ended {
    Program(String),
    Output(Failure),
}

impl From<String> for Ended {
    fn from(cause: String) -> Self {
        Self::Program(cause)
    }
}

/// The readable line of an event.
fn human_line(
    channel: &str,
    position: &Position,
    event: &ShownAttributes<'_>,
    zone: &TimeZone,
    now: Timestamp,
) -> String {
    let time = event.time.as_deref().and_then(|time| time.parse::<Timestamp>().ok());
    let time = time.map_or_else(String::new, |time| human_time(time, zone, now));
    let colour = colour_of(channel);
    let subject =
        event.subject.as_deref().map_or_else(String::new, |subject| format!("  {}", quote_if_needed(subject)));
    let data = Json::parse_logged(event.data.get()).unwrap_or_default();
    let mut line = format!("{DIM}{time}{DIM:#}  {colour}{channel}{colour:#}{subject} ");
    for (name, value) in data.as_object().unwrap_or_default() {
        let value = match value {
            Json::String(text) => quote_if_needed(text),
            other => visible(&other.to_string()),
        };
        line.push_str(&format!(" {DIM}{}={DIM:#}{value}", quote_if_needed(name)));
    }
    if data.as_object().is_none() {
        line.push_str(&format!(" {}", visible(&data.to_string())));
    }
    format!("{line}  {DIM}{position}{DIM:#}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_is_one_line_without_control_characters() {
        let data = json!({"reason":"a \u{1b}[2J\n\u{9b}b","tags":["x\u{9b}"],"n":-1,"id":"p/1"});
        let event = ShownAttributes {
            time: Some("2026-11-21T06:30:00.5Z".into()),
            subject: Some("123".into()),
            data: &RawValue::from_string(data.to_string()).unwrap(),
        };
        let now = "2026-11-21T23:00:00Z".parse().unwrap();
        let line = human_line("own", &"k3:42".parse().unwrap(), &event, &TimeZone::UTC, now);
        let line = anstream::adapter::strip_str(&line).to_string();
        assert_eq!(
            line,
            "06:30:00.500Z  own  123  reason=\"a \\u{1b}[2J\\n\\u{9b}b\" tags=[\"x\u{fffd}\"] n=-1 id=p/1  k3:42"
        );
    }
}
