//! Makes a text that fits the rules of a schema: of its `format`, its `pattern`, or named after the field.

use rand::RngExt as _;
use rand::distr::Distribution as _;
use rand::rngs::StdRng;

use super::rules::Rules;

/// How often the most repeated part of a pattern is repeated where the pattern sets no limit.
const MAX_REPEAT: u32 = 8;
/// Texts are made no longer than this, whatever a schema asks for.
const MAX_LENGTH: usize = 100_000;

/// A text for a field of this name.
pub fn make(rules: &Rules<'_>, name: &str, dice: &mut StdRng) -> String {
    if let Some(text) = rules.text("pattern").and_then(|pattern| matching(pattern, dice)) {
        return text;
    }
    let number: u16 = dice.random_range(1..=999);
    if let Some(text) = rules.text("format").and_then(|format| formatted(format, number, dice)) {
        return text;
    }
    fitting(format!("{}-{number}", words(name)), rules)
}

/// A text that matches a regular expression, or `None` for one that the generator cannot read (such as one that looks ahead).
fn matching(pattern: &str, dice: &mut StdRng) -> Option<String> {
    // The generator makes the whole text, so it refuses anchors. A pattern without them may match a part of it.
    let pattern = pattern.strip_prefix('^').unwrap_or(pattern);
    let pattern = pattern.strip_suffix('$').filter(|rest| !rest.ends_with('\\')).unwrap_or(pattern);
    // `\d` and `\w` are ASCII in ECMA-262, and any digit of Unicode here.
    let pattern = pattern.replace("\\d", "[0-9]").replace("\\w", "[0-9A-Za-z_]");
    rand_regex::Regex::compile(&pattern, MAX_REPEAT).ok().map(|regex| regex.sample(dice))
}

/// A text of one of JSON Schema's formats (draft 2020-12, validation, section 7.3).
fn formatted(format: &str, number: u16, dice: &mut StdRng) -> Option<String> {
    let two = |most: u8, dice: &mut StdRng| format!("{:02}", dice.random_range(1..=most));
    let date = |dice: &mut StdRng| format!("2026-{}-{}", two(12, dice), two(28, dice));
    let time = |dice: &mut StdRng| format!("{}:{}:{}Z", two(23, dice), two(59, dice), two(59, dice));
    Some(match format {
        "date" => date(dice),
        "time" => time(dice),
        "date-time" => format!("{}T{}", date(dice), time(dice)),
        "duration" => format!("PT{number}S"),
        "email" | "idn-email" => format!("person{number}@example.com"),
        "hostname" | "idn-hostname" => format!("host{number}.example.com"),
        "ipv4" => format!("192.0.2.{}", number % 255),
        "ipv6" => format!("2001:db8::{number:x}"),
        "uri" | "iri" => format!("https://example.com/{number}"),
        "uri-reference" | "iri-reference" | "json-pointer" => format!("/{number}"),
        "uri-template" => format!("https://example.com/{number}/{{name}}"),
        "relative-json-pointer" => format!("{}/name", number % 10),
        "regex" => format!("^[a-z]{{{number}}}$"),
        "uuid" => uuid::Builder::from_random_bytes(dice.random()).into_uuid().to_string(),
        _ => return None,
    })
}

/// The words of a field's name, without the one that says that it is an id: `customerId` gives `customer`.
fn words(name: &str) -> String {
    let mut words: Vec<String> = vec![String::new()];
    for letter in name.chars() {
        match (letter, words.last_mut()) {
            ('_' | '-' | '.' | ' ', _) => words.push(String::new()),
            (letter, Some(last)) if letter.is_uppercase() && last.ends_with(char::is_lowercase) => {
                words.push(letter.to_lowercase().collect());
            }
            (letter, Some(last)) => last.extend(letter.to_lowercase()),
            (_, None) => {}
        }
    }
    words.retain(|word| !word.is_empty());
    if words.len() > 1 && words.last().is_some_and(|word| word == "id") {
        words.pop();
    }
    words.join("-")
}

/// `text`, shortened or filled up to the lengths of the schema. What tells one text from another is at its end.
fn fitting(text: String, rules: &Rules<'_>) -> String {
    let least = rules.largest("minLength").map_or(0, |length| length as usize).min(MAX_LENGTH);
    let most = rules.smallest("maxLength").map_or(usize::MAX, |length| length as usize);
    let length = text.chars().count();
    if length < least {
        return text + &"x".repeat(least - length);
    }
    text.chars().skip(length.saturating_sub(most)).collect()
}
