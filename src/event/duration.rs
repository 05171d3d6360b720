//! Durations as people write them: `250ms`, `25s`, `10m`, `1h`, `7d`.

use std::time::Duration;

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
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let millis_of_unit: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 24 * 3_600_000,
        _ => 0,
    };
    // A clock overflows if a very long duration is added to it.
    let one_year = 365 * 24 * 3_600_000;
    match number.parse::<u64>().ok().and_then(|number| number.checked_mul(millis_of_unit)) {
        Some(millis) if millis_of_unit > 0 && millis <= one_year => Ok(Duration::from_millis(millis)),
        Some(_) if millis_of_unit > 0 => Err("a duration of at most a year, 365d".into()),
        _ => Err(format!("a duration such as 250ms, 25s, 10m, 1h or 7d{}", hint(number, unit))),
    }
}

/// What to write instead of a text that is nearly a duration.
fn hint(number: &str, unit: &str) -> String {
    match (number.parse::<u64>(), unit) {
        (Ok(number), "") => format!(" (write {number}s for {number} seconds)"),
        _ => String::new(),
    }
}
