//! The parameter `since`: where in a channel's log a subscription or a history request begins.
//!
//! It is a position, a cursor (the positions of several channels in one string), `start`, `now`, an RFC 3339 time, or an
//! age such as `10m`.

use std::str::FromStr;
use std::time::Duration;

use super::{Cursor, Position};

/// Where in a channel's log to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Since {
    /// At the oldest event that is retained.
    Start,
    /// After the newest event: only events that are published from now on.
    Now,
    /// After this position.
    After(Position),
    /// After the channel's position in this cursor.
    Cursor(Cursor),
    /// At the first event that the broker accepted at this time or later.
    AcceptedFrom(Moment),
}

/// A time, compared with the broker's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    At(i64),
    /// This long before now.
    Ago(Duration),
}

/// The text has none of the forms of `since`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`since`: {0:?} is not a position, a cursor, a time or an age: write start, now, 10m, 2026-11-21T10:00:00Z, or a position or cursor that the daemon gave out"
)]
pub struct ParseSinceError(String);

impl Since {
    /// Where to begin in one channel; `None` for a cursor that does not contain the channel.
    pub fn of(&self, channel: &str) -> Option<Self> {
        match self {
            Self::Cursor(cursor) => cursor.0.get(channel).cloned().map(Self::After),
            other => Some(other.clone()),
        }
    }
}

impl FromStr for Since {
    type Err = ParseSinceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "start" => return Ok(Self::Start),
            "now" => return Ok(Self::Now),
            _ => {}
        }
        if let Ok(position) = text.parse() {
            return Ok(Self::After(position));
        }
        if let Some(cursor) = Cursor::parse(text) {
            return Ok(Self::Cursor(cursor));
        }
        if let Ok(time) = text.parse::<jiff::Timestamp>() {
            return Ok(Self::AcceptedFrom(Moment::At(time.as_millisecond())));
        }
        age(text)
            .map(|age| Self::AcceptedFrom(Moment::Ago(age)))
            .ok_or_else(|| ParseSinceError(text.chars().take(100).collect()))
    }
}

/// Reads an age: a whole number and a unit, as for durations in the configuration, and `d` for days.
fn age(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().ok()?;
    let millis = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        let read = |text: &str| text.parse::<Since>().unwrap();
        let position: Position = "k3:41".parse().unwrap();
        assert_eq!(read("start"), Since::Start);
        assert_eq!(read("now"), Since::Now);
        assert_eq!(read("k3:41"), Since::After(position.clone()));
        assert_eq!(read("10m"), Since::AcceptedFrom(Moment::Ago(Duration::from_secs(600))));
        assert_eq!(read("1970-01-01T00:00:01.5Z"), Since::AcceptedFrom(Moment::At(1_500)));
        assert_eq!(read("1970-01-01T01:00:00+01:00"), Since::AcceptedFrom(Moment::At(0)));
        let cursor = Cursor([("a.b".to_owned(), position.clone()), ("c".to_owned(), "p9:0".parse().unwrap())].into());
        assert_eq!(cursor.to_string(), "a.b=k3:41,c=p9:0");
        assert_eq!(read("a.b=k3:41,c=p9:0"), Since::Cursor(cursor.clone()));
        assert_eq!(Since::Cursor(cursor.clone()).of("a.b"), Some(Since::After(position)));
        assert_eq!(Since::Cursor(cursor).of("d"), None);
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "",
            "k3",
            "k3:",
            "10",
            "m",
            "10 m",
            "-10m",
            "yesterday",
            "a=b",
            "a=k3:1,",
            "=",
            "2026-11-21",
            "9999999999999999999d",
        ] {
            assert!(text.parse::<Since>().is_err(), "{text}");
        }
    }
}
