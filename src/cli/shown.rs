//! How the texts and times of events are shown to people: nothing of a stranger reaches the terminal as an escape sequence.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A time with its offset from UTC, and with its date if that is another day than `now`.
pub fn human_time(time: Timestamp, zone: &TimeZone, now: Timestamp) -> String {
    let [time, now] = [time, now].map(|time| time.to_zoned(zone.clone()));
    let day = if time.date() == now.date() { "" } else { "%Y-%m-%d " };
    let offset = if time.offset().is_zero() { "Z" } else { "%:z" };
    time.strftime(&format!("{day}%H:%M:%S%.3f{offset}")).to_string()
}

/// Replaces control characters, so that the text cannot send escape sequences to the terminal. JSON leaves some of them
/// unescaped (U+0080 to U+009F).
pub fn replace_controls(json: &str) -> String {
    json.chars().map(|letter| if letter.is_control() { char::REPLACEMENT_CHARACTER } else { letter }).collect()
}

/// Replaces control characters, and escapes what else a reader does not see or that changes how the rest is shown, such as
/// U+202E (right to left), as [`quote_if_needed`] does: `\u{202e}`.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            letter if letter.is_control() => shown.push(char::REPLACEMENT_CHARACTER),
            letter if is_deceptive(letter) => shown.extend(letter.escape_unicode()),
            letter => shown.push(letter),
        }
    }
    shown
}

/// Whether a letter that is no control character is not shown as itself: formats, unassigned ones, other blanks. An accent
/// that stands on its letter is.
pub fn is_deceptive(letter: char) -> bool {
    // Behind another letter, so that an accent is not escaped.
    !letter.is_ascii() && format!("a{letter}").escape_debug().nth(1) == Some('\\')
}

/// Returns a plain word unchanged. Quotes and escapes any other text, so that it is one token and cannot send escape
/// sequences to the terminal.
pub fn quote_if_needed(text: &str) -> String {
    let plain = |letter: char| {
        !letter.is_control() && !letter.is_whitespace() && !is_deceptive(letter) && !"\"'\\=".contains(letter)
    };
    if !text.is_empty() && text.chars().all(plain) { text.to_owned() } else { format!("{text:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_reader_would_not_see_is_escaped() {
        for (text, shown) in [
            ("plain é 日本 👍 e\u{301}", "plain é 日本 👍 e\u{301}"),
            ("a\u{202e}b\u{200b}\u{feff}", "a\\u{202e}b\\u{200b}\\u{feff}"),
            ("a\x1b[2J\u{9b}\n", "a\u{fffd}[2J\u{fffd}\u{fffd}"),
        ] {
            assert_eq!(visible(text), shown);
        }
        assert_eq!(quote_if_needed("a\u{202e}b"), "\"a\\u{202e}b\"");
        assert_eq!(quote_if_needed("é"), "é");
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
