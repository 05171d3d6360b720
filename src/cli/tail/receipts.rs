//! What `tidings tail --forward-to` and `--exec` print of each attempt: a line with the answer, or JSON.

use std::time::Duration;

use anstyle::AnsiColor;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::super::failure::{Failure, say};
use super::super::output::{DIM, Output, colour_of, human};
use super::super::shown::{human_time, quote_if_needed};
use super::item::{Item, Refusal};
use crate::event::Position;

/// Prints the outcome of attempts.
pub enum Receipts {
    /// Lines for people on stdout.
    Lines(Output, TimeZone),
    /// NDJSON on stdout.
    Json(Output),
    /// Failures only, on stderr: stdout belongs to the commands of --exec.
    Failures,
}

/// A line of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    channel: &'a str,
    position: &'a Position,
    #[serde(rename = "type")]
    kind: &'a str,
    id: &'a str,
    attempt: u32,
    taken: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(rename = "retryInMs", skip_serializing_if = "Option::is_none")]
    retry_in_ms: Option<u64>,
}

impl Receipts {
    /// The event was taken.
    pub fn taken(&mut self, item: &Item, attempt: u32, status: Option<u16>, took: Duration) -> Result<(), Failure> {
        let answer = match status {
            Some(status) => status.to_string(),
            None => "done".into(),
        };
        let green = AnsiColor::Green.on_default();
        self.print(item, attempt, status, took, None, &format!("{green}{answer}{green:#} in {}", human(took)))
    }

    /// The event was not taken, and is tried again after the pause. Without one, it is not tried again.
    pub fn refused(
        &mut self,
        item: &Item,
        attempt: u32,
        refusal: &Refusal,
        took: Duration,
        pause: Option<Duration>,
    ) -> Result<(), Failure> {
        let red = AnsiColor::Red.on_default();
        let answer = match refusal.status {
            // Where it leads is what to correct.
            Some(300..=399) => format!("{},", refusal.reason.trim_start_matches("the receiver answered ")),
            Some(status) => status.to_string(),
            None => refusal.reason.clone(),
        };
        let again = pause.map(|pause| format!("; again in {}", human(pause))).unwrap_or_default();
        let text = format!("{red}{answer}{red:#} in {}{again}", human(took));
        self.print(item, attempt, refusal.status, took, Some((&refusal.reason, pause)), &text)
    }

    fn print(
        &mut self,
        item: &Item,
        attempt: u32,
        status: Option<u16>,
        took: Duration,
        refused: Option<(&str, Option<Duration>)>,
        answer: &str,
    ) -> Result<(), Failure> {
        match self {
            Self::Lines(output, zone) => {
                let now = Timestamp::now();
                let (time, colour) = (human_time(now, zone, now), colour_of(&item.kind));
                let subject = item.subject.as_deref().map(|subject| format!("  {}", quote_if_needed(subject)));
                output.line(&format!(
                    "{DIM}{time}{DIM:#}  {colour}{}{colour:#}{}  {answer}  {DIM}{}{DIM:#}",
                    item.kind,
                    subject.unwrap_or_default(),
                    item.position
                ))?;
                output.flush()
            }
            Self::Json(output) => {
                output.json(&Line {
                    channel: &item.channel,
                    position: &item.position,
                    kind: &item.kind,
                    id: &item.message.id,
                    attempt,
                    taken: refused.is_none(),
                    status,
                    // Microseconds are more than enough.
                    ms: (took.as_secs_f64() * 1e6).round() / 1e3,
                    reason: refused.map(|(reason, _)| reason),
                    retry_in_ms: refused.and_then(|(_, pause)| u64::try_from(pause?.as_millis()).ok()),
                })?;
                output.flush()
            }
            Self::Failures => {
                // Without a next attempt, the command says why it ends or what it leaves out.
                if let Some((reason, pause)) = refused {
                    let again = pause.map(|pause| format!("; again in {}", human(pause))).unwrap_or_default();
                    say(&format!("{DIM}{} {}:{DIM:#} {reason}{again}", item.channel, item.position));
                }
                Ok(())
            }
        }
    }
}
