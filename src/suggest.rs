//! "Did you mean": what a text says about a name that is not known here. Every refusal of an unknown name uses this file.
//!
//! [`nearest`] finds the known name that was probably meant. [`Known`] writes it into the refusal, with the known names
//! where they are few. The caller decides which names those are: only names that its own caller may see.

use std::borrow::Cow;

/// The most names that a text lists.
const MAX_LISTED: usize = 10;
/// The longest part of a given name that a text repeats, in characters.
const MAX_SHOWN: usize = 100;
/// A given name longer than this, in bytes, resembles no known one.
const MAX_COMPARED: usize = 256;
/// The shortest given name that may stand for a longer one of which it is a part, in bytes.
const MIN_PART: usize = 3;

/// The names that would have been understood.
#[derive(Debug, Clone)]
pub struct Known<'a> {
    /// What the names are, in the plural: `channels`.
    pub plural: &'static str,
    /// The names, in the order in which a text lists them.
    pub names: Vec<&'a str>,
    /// Where all of them are listed, such as `GET /v1/channels`. Empty if there is no such place.
    pub listed: &'a str,
}

impl<'a> Known<'a> {
    /// These names, which no other place lists.
    pub fn new(plural: &'static str, names: impl IntoIterator<Item = &'a str>) -> Self {
        Self { plural, names: names.into_iter().collect(), listed: "" }
    }

    /// The text `refusal`, with the name that was probably meant and with what is known.
    pub fn refuse(&self, refusal: &str, given: &str) -> String {
        self.refuse_near(refusal, nearest(given, self.names.iter().copied()))
    }

    /// As [`Known::refuse`], with a name that the caller has found.
    pub fn refuse_near(&self, refusal: &str, near: Option<&str>) -> String {
        let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        format!("{refusal}{near}{}", self.list())
    }

    /// The names in parentheses if they are few, else how many there are; and where they are listed.
    fn list(&self) -> String {
        let Self { plural, names, listed } = self;
        match (names.len(), *listed) {
            (0, _) => format!(" (there are no {plural})"),
            (1..=MAX_LISTED, "") => format!(" ({plural}: {})", names.join(", ")),
            (1..=MAX_LISTED, listed) => format!(" ({plural}: {}{})", names.join(", "), see(listed)),
            (count, "") => format!(" (there are {count} {plural})"),
            (_, listed) => lists(listed, plural),
        }
    }
}

/// The end of a list of names that are listed elsewhere, too.
fn see(listed: &str) -> String {
    format!("; see {listed}")
}

/// Says where many names are listed.
fn lists(listed: &str, plural: &str) -> String {
    format!(" ({listed} lists the {plural})")
}

/// A text that [`Known::refuse`] wrote, without the place where the names are listed: for readers who have another one. `plurals`
/// are what the names may be.
#[cfg(feature = "server")]
pub fn without_place(text: &str, listed: &str, plurals: &[&str]) -> String {
    let text = text.replace(&format!("{})", see(listed)), ")");
    plurals.iter().fold(text, |text, plural| text.replace(&lists(listed, plural), ""))
}

/// The name of `known` that `given` was probably meant to be, if there is one.
///
/// Case and separators do not count. Otherwise one edit is allowed for each three letters: an insertion, a deletion, a
/// substitution or a transposition. A part of a name is enough if it is a part of no other one.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given = plain(given);
    if given.is_empty() || given.len() > MAX_COMPARED {
        return None;
    }
    let length = given.chars().count();
    // Two names of one letter have nothing in common.
    let allowed = (length / 3).max(1).min(length - 1);
    let known: Vec<_> = known.into_iter().map(|name| (plain(name), name)).collect();
    let measured = known.iter().map(|(plain, name)| (strsim::osa_distance(&given, plain), *name));
    if let Some(near) = first_within(allowed, measured) {
        return Some(near);
    }
    let mut longer = known.iter().filter(|(plain, _)| given.len() >= MIN_PART && plain.contains(&given));
    match (longer.next(), longer.next()) {
        (Some((_, only)), None) => Some(only),
        _ => None,
    }
}

/// As [`nearest`], for names beside which unknown ones are normal: at most two edits, one for each four letters.
#[cfg(feature = "server")]
pub fn misspelt<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if given.len() > MAX_COMPARED {
        return None;
    }
    let (plain_given, lower) = (plain(given), given.to_lowercase());
    let allowed = (given.chars().count() / 4).clamp(1, 2);
    let measured = known.into_iter().map(|name| match plain(name) == plain_given {
        true => (0, name),
        false => (strsim::osa_distance(&lower, &name.to_lowercase()), name),
    });
    first_within(allowed, measured)
}

/// The name with the fewest edits, the first of several, if it has at most `allowed`.
fn first_within<'a>(allowed: usize, measured: impl Iterator<Item = (usize, &'a str)>) -> Option<&'a str> {
    let near = measured.filter(|(edits, _)| *edits <= allowed).min_by_key(|(edits, _)| *edits);
    near.map(|(_, name)| name)
}

/// A text as it is repeated to its author: quoted, escaped, and cut if it is long.
pub fn quoted(text: &str) -> String {
    format!("{:?}", cut(text, MAX_SHOWN))
}

/// The text, or its first `max` characters and `…` if it is longer.
pub fn cut(text: &str, max: usize) -> Cow<'_, str> {
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

/// The text as one line for a log or a terminal, whoever wrote a part of it: a control character becomes U+FFFD.
pub fn one_line(text: &str) -> Cow<'_, str> {
    match text.contains(char::is_control) {
        true => text.split(char::is_control).collect::<Vec<_>>().join("\u{fffd}").into(),
        false => text.into(),
    }
}

/// The letters and digits of a name, in lower case: `max-event_bytes` and `maxEventBytes` are the same.
fn plain(name: &str) -> String {
    name.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANNELS: [&str; 3] = ["inventory-change", "order-status", "finance-change"];

    #[test]
    fn the_nearest_name_is_the_one_that_was_meant() {
        for (given, meant) in [
            ("inventory-chnage", "inventory-change"),
            ("InventoryChange", "inventory-change"),
            ("order_statu", "order-status"),
            ("inventory", "inventory-change"),
            ("status", "order-status"),
        ] {
            assert_eq!(nearest(given, CHANNELS), Some(meant), "{given}");
        }
        assert_eq!(nearest("shippd", ["shipped", "pending"]), Some("shipped"));
        assert_eq!(nearest("inof", ["info", "off"]), Some("info"));
    }

    #[test]
    fn a_line_has_no_control_characters() {
        assert_eq!(one_line("plain é"), "plain é");
        assert_eq!(one_line("a\x1b[31m\r\nb\u{85}"), "a\u{fffd}[31m\u{fffd}\u{fffd}b\u{fffd}");
    }

    #[test]
    fn nonsense_resembles_nothing() {
        for given in ["", "no-such-type", "change", "x", "nonsense", "orders-and-more", &"order-status".repeat(100)] {
            assert_eq!(nearest(given, CHANNELS), None, "{given}");
        }
        assert_eq!(nearest("verbose", ["off", "error", "warn", "info", "debug", "trace"]), None);
    }

    #[test]
    #[cfg(feature = "server")]
    fn a_misspelt_name_differs_by_one_or_two_letters() {
        let known = ["type", "properties", "description", "title"];
        assert_eq!(misspelt("propertes", known), Some("properties"));
        assert_eq!(misspelt("tpye", known), Some("type"));
        for other in ["tsType", "description_de", "title_de", "prop", "unit"] {
            assert_eq!(misspelt(other, known), None, "{other}");
        }
    }

    #[test]
    fn a_refusal_has_the_nearest_name_and_what_is_known() {
        let known = Known { listed: "GET /v1/channels", ..Known::new("channels", CHANNELS) };
        assert_eq!(
            known.refuse("there is no channel", "order-statu"),
            "there is no channel; did you mean `order-status`? (channels: inventory-change, order-status, \
             finance-change; see GET /v1/channels)"
        );
        let many: Vec<String> = (100..140).map(|number| format!("channel-{number}")).collect();
        let known = Known { names: many.iter().map(String::as_str).collect(), ..known };
        assert_eq!(known.refuse("no", "nonsense"), "no (GET /v1/channels lists the channels)");
        assert_eq!(Known::new("fields", []).refuse("no", "x"), "no (there are no fields)");
    }

    #[test]
    #[cfg(feature = "server")]
    fn the_place_of_the_names_can_be_taken_out_of_each_refusal() {
        let many: Vec<String> = (100..140).map(|number| format!("channel-{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let places = ["GET /v1/channels", "GET /v1/schemas"];
        for (names, plural) in
            [(&CHANNELS[..], "channels"), (&many, "channels"), (&many, "event types"), (&[], "channels")]
        {
            let known = Known { listed: places[0], ..Known::new(plural, names.iter().copied()) };
            let text = known.refuse("there is none", "nonsense");
            let here = without_place(&text, places[0], &["channels", "event types"]);
            let elsewhere = without_place(&text, places[1], &["channels", "event types"]);
            assert!(!here.contains("GET") && here.starts_with("there is none"), "{here}");
            assert_eq!(elsewhere, text);
            if names.len() <= MAX_LISTED {
                assert_eq!(here, Known { listed: "", ..known }.refuse("there is none", "nonsense"));
            }
        }
    }

    #[test]
    fn a_long_name_is_cut() {
        assert_eq!(quoted("a\"b"), r#""a\"b""#);
        assert_eq!(quoted(&"é".repeat(20_000)).chars().count(), MAX_SHOWN + 3);
        assert_eq!([cut("été", 3), cut("étés", 3)], ["été", "été…"]);
    }
}
