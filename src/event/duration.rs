//! Durations as people write them: `250ms`, `25s`, `10m`, `1h`, `7d`.

use std::time::Duration;

/// In milliseconds.
const DAY: u64 = 24 * 3_600_000;

/// A duration of at least a millisecond.
///
/// # Errors
/// What was expected instead: completes the sentence "expected …".
pub fn duration(text: &str) -> Result<Duration, String> {
    duration_or_zero(text).and_then(|time| match time {
        Duration::ZERO => Err("a duration above zero".into()),
        time => Ok(time),
    })
}

/// A duration, also zero: a whole number followed by `ms`, `s`, `m`, `h` or `d`. At most a year.
///
/// # Errors
/// As [`duration`].
pub fn duration_or_zero(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let millis = |unit| number.parse::<u64>().ok()?.checked_mul(unit);
    // A clock overflows if a very long duration is added to it.
    let one_year = 365 * DAY;
    match millis_of(unit).and_then(millis) {
        Some(millis) if millis <= one_year => Ok(Duration::from_millis(millis)),
        Some(_) => Err("a duration of at most a year, 365d".into()),
        None => Err(format!("a duration such as 250ms, 25s, 10m, 1h or 7d{}", hint(number, unit))),
    }
}

/// The digits at the beginning of a text, and what follows them.
pub(super) fn split(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

/// The length of a unit in milliseconds.
pub(super) fn millis_of(unit: &str) -> Option<u64> {
    match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(DAY),
        _ => None,
    }
}

/// What to write instead of a text that is nearly a duration.
fn hint(number: &str, unit: &str) -> String {
    match (number.parse::<u64>(), unit) {
        (Ok(number), "") => format!(" (write {number}s for {number} seconds)"),
        _ => String::new(),
    }
}
