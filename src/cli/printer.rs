//! Events as lines: for a person one that reads well, for a program a JSON object.

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::failure::Failure;
use super::output::{DIM, Output, colour_of};
use crate::event::Position;

/// Events as lines.
pub struct Printer {
    pub output: Output,
    json: bool,
    zone: TimeZone,
}

/// A line of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    position: &'a Position,
    event: &'a RawValue,
}

/// What a person is shown of an event.
#[derive(Deserialize)]
struct Shown {
    time: Option<String>,
    subject: Option<String>,
    data: Value,
}

impl Printer {
    pub fn new(json: bool) -> Self {
        let output = if json { Output::ndjson() } else { Output::new() };
        Self { output, json, zone: TimeZone::system() }
    }

    pub fn print(&mut self, channel: &str, position: &Position, event: &RawValue) -> Result<(), Failure> {
        if self.json {
            return Ok(self.output.json(&Line { position, event })?);
        }
        let shown: Shown = serde_json::from_str(event.get()).map_err(|error| error.to_string())?;
        Ok(self.output.line(&human_line(channel, position, &shown, &self.zone))?)
    }
}

fn human_line(channel: &str, position: &Position, event: &Shown, zone: &TimeZone) -> String {
    let time = event.time.as_deref().and_then(|time| time.parse::<jiff::Timestamp>().ok());
    let time = time.map_or_else(String::new, |time| time.to_zoned(zone.clone()).strftime("%H:%M:%S%.3f").to_string());
    let colour = colour_of(channel);
    let subject = event.subject.as_deref().map_or_else(String::new, |subject| format!("  {}", word(subject)));
    let nothing = Map::new();
    let data = match &event.data {
        Value::Object(fields) => fields,
        _ => &nothing,
    };
    let mut line = format!("{DIM}{time}{DIM:#}  {colour}{channel}{colour:#}{subject} ");
    for (name, value) in data {
        let value = match value {
            Value::String(text) => word(text),
            other => tame(&other.to_string()),
        };
        line.push_str(&format!(" {DIM}{}={DIM:#}{value}", word(name)));
    }
    if !event.data.is_object() {
        line.push_str(&format!(" {}", tame(&event.data.to_string())));
    }
    format!("{line}  {DIM}{position}{DIM:#}")
}

/// JSON without the control characters that it need not escape.
fn tame(json: &str) -> String {
    json.chars().map(|letter| if letter.is_control() { char::REPLACEMENT_CHARACTER } else { letter }).collect()
}

/// A text as it stands, where that is one plain word; else quoted, and so that nothing in it can command the terminal.
fn word(text: &str) -> String {
    let plain = |letter: char| !letter.is_control() && !letter.is_whitespace() && !"\"'\\=".contains(letter);
    if !text.is_empty() && text.chars().all(plain) { text.to_owned() } else { format!("{text:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_is_one_line_that_cannot_command_the_terminal() {
        let event = Shown {
            time: Some("2026-11-21T06:30:00.5Z".into()),
            subject: Some("123".into()),
            data: json!({"reason":"a \u{1b}[2J\n\u{9b}b","tags":["x\u{9b}"],"n":-1,"id":"p/1"}),
        };
        let line = human_line("own", &"k3:42".parse().unwrap(), &event, &TimeZone::UTC);
        let line = anstream::adapter::strip_str(&line).to_string();
        assert_eq!(
            line,
            "06:30:00.500  own  123  reason=\"a \\u{1b}[2J\\n\\u{9b}b\" tags=[\"x\u{fffd}\"] n=-1 id=p/1  k3:42"
        );
    }
}
