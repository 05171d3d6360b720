//! The parameter `since`: where in a channel's log a subscription or a history request begins.
//!
//! It is a position, a cursor (the positions of several channels in one string), `start`, `now`, `latest`, an RFC 3339
//! time, or an age such as `10m`.

use std::str::FromStr;
use std::time::Duration;

use super::{Cursor, PackedCursor, Position, duration};
use crate::suggest;

/// How many characters of a text without a form an error repeats.
const MAX_SHOWN: usize = 100;

/// Where in a channel's log to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Since {
    /// At the oldest event that is retained.
    Start,
    /// After the newest event: only events that are published from now on.
    Now,
    /// With the newest event of each subject, and then after the newest event.
    Latest,
    /// After this position.
    After(Position),
    /// After the channel's position in this cursor.
    Cursor(Cursor),
    /// After the channel's position in this cursor, which can be read only with its base. It names no channel before.
    Packed(PackedCursor),
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
    "`since`: {shown:?} is not a position, a cursor, a time or an age: write start, now, latest, 10m, 2026-11-21T10:00:00Z, or a position or cursor that the daemon gave out{hint}"
)]
pub struct ParseSinceError {
    shown: String,
    hint: &'static str,
}

impl Since {
    /// Where to begin in one channel; `None` for a cursor that does not contain the channel.
    pub fn of(&self, channel: &str) -> Option<Self> {
        match self {
            Self::Cursor(cursor) => cursor.0.get(channel).cloned().map(Self::After),
            Self::Packed(_) => None,
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
            "latest" => return Ok(Self::Latest),
            _ => {}
        }
        if let Ok(position) = text.parse() {
            return Ok(Self::After(position));
        }
        if let Some(cursor) = Cursor::parse(text) {
            return Ok(Self::Cursor(cursor));
        }
        if let Some(packed) = PackedCursor::parse(text) {
            return Ok(Self::Packed(packed));
        }
        let moment = time(text).map(Moment::At).or_else(|| age(text).map(Moment::Ago));
        moment.map(Self::AcceptedFrom).ok_or_else(|| {
            let with_plus = text.rsplit_once(' ').map(|(before, offset)| format!("{before}+{offset}"));
            let is_time = with_plus.is_some_and(|text| time(&text).is_some());
            // In the query of a URL, `+` stands for a blank.
            let hint = if is_time { "; in a URL, write the `+` of an offset as %2B" } else { "" };
            ParseSinceError { shown: suggest::cut(text, MAX_SHOWN).into_owned(), hint }
        })
    }
}

/// Reads an RFC 3339 time, in milliseconds since 1970-01-01T00:00:00Z, rounded down.
///
/// It takes all that the RFC allows: every year from 0000 to 9999 with every offset (a `jiff::Timestamp` ends before the
/// year 10000 does), any number of digits in a fraction, `t` and `z`, and a leap second.
fn time(text: &str) -> Option<i64> {
    let (date, rest) = (text.get(..10)?, text.get(10..)?);
    let (clock, rest) = (rest.strip_prefix(['T', 't', ' '])?.get(..8)?, rest.get(9..)?);
    let (fraction, offset) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count()),
        None => ("000", rest),
    };
    let fraction = format!("{fraction:0<3}").get(..3).filter(|_| !fraction.is_empty())?.parse::<i64>().ok()?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
    let offset = match offset {
        "Z" | "z" => 0,
        offset => {
            let sign = if offset.starts_with('-') { -1 } else { 1 };
            let [hours, minutes] = numbers(offset.strip_prefix(['+', '-'])?, ':', [2, 2])?;
            (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes))?
        }
    };
    // A leap second is the end of its minute, which is 23:59 in UTC.
    let is_leap = second == 60 && (hour * 60 + minute - offset).rem_euclid(1440) == 1439;
    let last = if is_leap { 59 } else { second };
    let civil =
        jiff::civil::DateTime::new(year as i16, month as i8, day as i8, hour as i8, minute as i8, last as i8, 0);
    let since_epoch = civil.ok()?.duration_since(jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0)).as_secs();
    Some((since_epoch - offset * 60 + second - last) * 1_000 + fraction)
}

/// Numbers with exactly so many digits each, and this character between them.
fn numbers<const N: usize>(text: &str, between: char, digits: [usize; N]) -> Option<[i64; N]> {
    let mut parts = text.split(between);
    let mut numbers = [0; N];
    for (number, digits) in numbers.iter_mut().zip(digits) {
        let part =
            parts.next().filter(|part| part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit()))?;
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

/// Reads an age: a whole number and a unit, as for durations in the configuration. An age of any size is good: it is only longer
/// than that of every event.
fn age(text: &str) -> Option<Duration> {
    let (number, unit) = duration::split(text);
    let number = match number {
        "" => return None,
        digits => digits.parse().unwrap_or(u64::MAX),
    };
    Some(Duration::from_millis(duration::millis_of(unit)?.saturating_mul(number)))
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
    fn every_rfc_3339_time_is_read() {
        let year_0 = -62_167_219_200_000;
        let end_of_9999 = 253_402_300_799_000;
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01t00:00:00z", 0),
            ("1970-01-01 00:00:00Z", 0),
            ("1970-01-01T00:00:00-00:00", 0),
            ("1970-01-01T23:59:00+23:59", 0),
            ("1969-12-31T23:59:59.999Z", -1),
            ("1970-01-01T00:00:00.0019999999999999999999999Z", 1),
            ("1970-01-01T00:00:00.1Z", 100),
            ("2026-11-21T10:00:00.25+01:30", 1_795_249_800_250),
            ("0000-01-01T00:00:00Z", year_0),
            ("0000-01-01T00:00:00+23:59", year_0 - 86_340_000),
            ("0001-01-01T00:00:00Z", -62_135_596_800_000),
            ("9999-12-31T23:59:59Z", end_of_9999),
            ("9999-12-31T23:59:59.999-23:59", end_of_9999 + 999 + 86_340_000),
            // A leap second is as late as the first second after it.
            ("2016-12-31T23:59:60Z", 1_483_228_800_000),
            ("2017-01-01T05:29:60.5+05:30", 1_483_228_800_500),
        ] {
            assert_eq!(text.parse(), Ok(Since::AcceptedFrom(Moment::At(expected))), "{text}");
        }
    }

    #[test]
    fn an_age_may_be_of_any_size() {
        for text in ["9999999999999999999d", "99999999999999999999999999999ms"] {
            let age = Duration::from_millis(u64::MAX);
            assert_eq!(text.parse(), Ok(Since::AcceptedFrom(Moment::Ago(age))), "{text}");
        }
        assert_eq!("007s".parse(), Ok(Since::AcceptedFrom(Moment::Ago(Duration::from_secs(7)))));
    }

    #[test]
    fn a_plus_that_a_url_turned_into_a_blank_is_told() {
        let refusal = |text: &str| text.parse::<Since>().unwrap_err().to_string();
        for text in ["2026-11-21T10:00:00 01:00", "2026-11-21 10:00:00.5 01:00"] {
            assert!(refusal(text).ends_with("; in a URL, write the `+` of an offset as %2B"), "{}", refusal(text));
        }
        for text in ["2026-11-21T10:00:00 25:00", "10 m", "a b", "2026-11-21 10:00:00"] {
            assert!(!refusal(text).contains("%2B"), "{text}");
        }
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
            "2026-11-21T10:00:00",
            "2026-11-21T10:00Z",
            "2026-11-21T10:00:00.Z",
            "2026-11-21T10:00:00+0100",
            "2026-11-21T10:00:00+24:00",
            "2026-11-21T24:00:00Z",
            "2026-11-21T10:00:60Z",
            "2026-11-21T23:59:61Z",
            "2026-02-29T10:00:00Z",
            "2026-00-21T10:00:00Z",
            "10000-01-01T00:00:00Z",
            "+2026-11-21T10:00:00Z",
            "2026-11-21T10:00:00Z[UTC]",
            "2026-11-21é10:00:00Z",
            "ms",
            "1w",
            "1.5h",
        ] {
            assert!(text.parse::<Since>().is_err(), "{text}");
        }
    }
}
