//! Prints events, one per line: readable text on a terminal, or a JSON object with `--json`.
//!
//! Used by `tidings tail` and `tidings history`.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::failure::Failure;
use super::output::{DIM, Output, colour_of};
use crate::event::Position;

/// Writes events to stdout.
pub struct Printer {
    pub output: Output,
    json: bool,
    /// The time zone of the printed times.
    zone: TimeZone,
}

/// One line of `--json`.
#[derive(Serialize)]
struct JsonLine<'a> {
    position: &'a Position,
    event: &'a RawValue,
}

/// The attributes of an event that the readable line shows.
#[derive(Deserialize)]
struct ShownAttributes {
    time: Option<String>,
    subject: Option<String>,
    data: Value,
}

impl Printer {
    /// Times are in UTC or in the time zone of this system (`TZ`, `/etc/localtime`).
    pub fn new(json: bool, utc: bool) -> Self {
        let output = if json { Output::ndjson() } else { Output::new() };
        Self { output, json, zone: if utc { TimeZone::UTC } else { TimeZone::system() } }
    }

    /// Prints one event. It appears after the output is flushed.
    pub fn print(&mut self, channel: &str, position: &Position, event: &RawValue) -> Result<(), Failure> {
        if self.json {
            return self.output.json(&JsonLine { position, event });
        }
        let shown: ShownAttributes = serde_json::from_str(event.get()).map_err(|error| error.to_string())?;
        self.output.line(&human_line(channel, position, &shown, &self.zone, Timestamp::now()))
    }
}

/// A time with its offset from UTC, and with its date if that is another day than `now`.
fn human_time(time: Timestamp, zone: &TimeZone, now: Timestamp) -> String {
    let [time, now] = [time, now].map(|time| time.to_zoned(zone.clone()));
    let day = if time.date() == now.date() { "" } else { "%Y-%m-%d " };
    let offset = if time.offset().is_zero() { "Z" } else { "%:z" };
    time.strftime(&format!("{day}%H:%M:%S%.3f{offset}")).to_string()
}

/// The readable line of an event.
fn human_line(channel: &str, position: &Position, event: &ShownAttributes, zone: &TimeZone, now: Timestamp) -> String {
    let time = event.time.as_deref().and_then(|time| time.parse::<Timestamp>().ok());
    let time = time.map_or_else(String::new, |time| human_time(time, zone, now));
    let colour = colour_of(channel);
    let subject =
        event.subject.as_deref().map_or_else(String::new, |subject| format!("  {}", quote_if_needed(subject)));
    let empty = Map::new();
    let data = match &event.data {
        Value::Object(fields) => fields,
        _ => &empty,
    };
    let mut line = format!("{DIM}{time}{DIM:#}  {colour}{channel}{colour:#}{subject} ");
    for (name, value) in data {
        let value = match value {
            Value::String(text) => quote_if_needed(text),
            other => replace_controls(&other.to_string()),
        };
        line.push_str(&format!(" {DIM}{}={DIM:#}{value}", quote_if_needed(name)));
    }
    if !event.data.is_object() {
        line.push_str(&format!(" {}", replace_controls(&event.data.to_string())));
    }
    format!("{line}  {DIM}{position}{DIM:#}")
}

/// Replaces control characters, so that the text cannot send escape sequences to the terminal. JSON leaves some of them
/// unescaped (U+0080 to U+009F).
fn replace_controls(json: &str) -> String {
    json.chars().map(|letter| if letter.is_control() { char::REPLACEMENT_CHARACTER } else { letter }).collect()
}

/// Returns a plain word unchanged. Quotes and escapes any other text, so that it is one token and cannot send escape
/// sequences to the terminal.
fn quote_if_needed(text: &str) -> String {
    let plain = |letter: char| !letter.is_control() && !letter.is_whitespace() && !"\"'\\=".contains(letter);
    if !text.is_empty() && text.chars().all(plain) { text.to_owned() } else { format!("{text:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_is_one_line_without_control_characters() {
        let event = ShownAttributes {
            time: Some("2026-11-21T06:30:00.5Z".into()),
            subject: Some("123".into()),
            data: json!({"reason":"a \u{1b}[2J\n\u{9b}b","tags":["x\u{9b}"],"n":-1,"id":"p/1"}),
        };
        let now = "2026-11-21T23:00:00Z".parse().unwrap();
        let line = human_line("own", &"k3:42".parse().unwrap(), &event, &TimeZone::UTC, now);
        let line = anstream::adapter::strip_str(&line).to_string();
        assert_eq!(
            line,
            "06:30:00.500Z  own  123  reason=\"a \\u{1b}[2J\\n\\u{9b}b\" tags=[\"x\u{fffd}\"] n=-1 id=p/1  k3:42"
        );
    }
    #[test]
    fn a_time_says_its_offset_and_another_day() {
        let [time, now]: [Timestamp; 2] =
            ["2026-11-21T20:00:00.25Z", "2026-11-21T23:00:00Z"].map(|time| time.parse().unwrap());
        let kolkata = TimeZone::posix("IST-5:30").unwrap();
        assert_eq!(human_time(time, &TimeZone::UTC, now), "20:00:00.250Z");
        assert_eq!(human_time(time, &kolkata, now), "01:30:00.250+05:30");
        // There it was yesterday.
        let tokyo = TimeZone::posix("JST-9").unwrap();
        let earlier = "2026-11-21T10:00:00Z".parse().unwrap();
        assert_eq!(human_time(earlier, &tokyo, now), "2026-11-21 19:00:00.000+09:00");
    }
}
