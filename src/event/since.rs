//! From where a subscriber wants a channel's events: what `since` says.
//!
//! A position, a cursor that the daemon gave out (the positions of several channels in one string), `start`, `now`, an
//! RFC 3339 time, or an age such as `10m`.

use std::str::FromStr;
use std::time::Duration;

use super::{Cursor, Position};

/// From where a subscriber wants a channel's events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Since {
    /// The oldest that is retained.
    Start,
    /// What comes from now on.
    Now,
    /// What stands after this position.
    After(Position),
    /// What stands after this cursor.
    Cursor(Cursor),
    /// What the broker took from then on.
    Taken(Moment),
}

/// A moment, on the broker's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    At(i64),
    Ago(Duration),
}

/// The text says nothing of the kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no position, no cursor of this daemon, no time and no age: write start, now, 10m or 2026-11-21T10:00:00Z"
)]
pub struct ParseSinceError(String);

impl Since {
    /// What it says of one channel; nothing, where it is a cursor of others.
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
            return Ok(Self::Taken(Moment::At(time.as_millisecond())));
        }
        age(text)
            .map(|age| Self::Taken(Moment::Ago(age)))
            .ok_or_else(|| ParseSinceError(text.chars().take(100).collect()))
    }
}

/// A whole number with a unit, as durations are written in the configuration.
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
        assert_eq!(read("10m"), Since::Taken(Moment::Ago(Duration::from_secs(600))));
        assert_eq!(read("1970-01-01T00:00:01.5Z"), Since::Taken(Moment::At(1_500)));
        assert_eq!(read("1970-01-01T01:00:00+01:00"), Since::Taken(Moment::At(0)));
        let cursor = Cursor([("a.b".to_owned(), position.clone()), ("c".to_owned(), "p9:0".parse().unwrap())].into());
        assert_eq!(cursor.to_string(), "a.b=k3:41,c=p9:0");
        assert_eq!(read("a.b=k3:41,c=p9:0"), Since::Cursor(cursor.clone()));
        assert_eq!(Since::Cursor(cursor.clone()).of("a.b"), Some(Since::After(position)));
        assert_eq!(Since::Cursor(cursor).of("d"), None);
    }

    #[test]
    fn what_says_nothing_is_refused() {
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
