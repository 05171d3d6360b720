//! An error of the JSON Schema validator as a sentence: what the value must be, and what it is.
//!
//! The sentence completes a JSON Pointer: "/data/newStatus must be one of …". It names the keyword's rule in words, since
//! its reader may not know JSON Schema.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::{JsonType, ValidationError};
use serde_json::Value;

use crate::suggest;

/// How the sentence about `anyOf` and `oneOf` begins.
pub(super) const NONE_OF: &str = "fits none of the allowed forms: ";
/// The most values of an `enum` that a sentence lists.
const MAX_LISTED: usize = 12;
/// The longest part of a value that a sentence repeats, in characters.
const MAX_VALUE: usize = 60;

/// What is wrong with the value, without its place.
pub(super) fn sentence(error: &ValidationError<'_>) -> String {
    let value = error.instance().as_ref();
    let not = || format!(", not {}", shown(value));
    match error.kind() {
        Kind::Type { kind } => format!("must be of type {}, not {}", type_names(kind), described(value)),
        Kind::Enum { options } => match options.as_array() {
            Some(options) => {
                let options: Vec<_> = options.iter().collect();
                format!("must be {}{}{}", one_of(&options), not(), meant(value.as_str(), &options))
            }
            None => "must be one of the values that its schema lists".into(),
        },
        Kind::Constant { expected_value } => format!("must be {}{}", shown(expected_value), not()),
        Kind::Pattern { pattern } => format!("must match the pattern {pattern}{}", not()),
        Kind::Format { format } => format!("must be {}{}", format_in_words(format), not()),
        Kind::MinLength { limit: 1 } => "must not be empty".into(),
        Kind::MinLength { limit } => {
            format!("must have at least {}, not {}", count(*limit, "character"), length(value))
        }
        Kind::MaxLength { limit } => format!("must have at most {}, not {}", count(*limit, "character"), length(value)),
        Kind::Minimum { limit } => format!("must be at least {limit}{}", not()),
        Kind::Maximum { limit } => format!("must be at most {limit}{}", not()),
        Kind::ExclusiveMinimum { limit } => format!("must be more than {limit}{}", not()),
        Kind::ExclusiveMaximum { limit } => format!("must be less than {limit}{}", not()),
        Kind::MultipleOf { multiple_of } => format!("must be a multiple of {multiple_of}{}", not()),
        Kind::MinItems { limit } => format!("must have at least {}, not {}", count(*limit, "element"), length(value)),
        Kind::MaxItems { limit } => format!("must have at most {}, not {}", count(*limit, "element"), length(value)),
        Kind::AdditionalItems { limit } => {
            format!("must have at most {}, not {}", count(*limit as u64, "element"), length(value))
        }
        Kind::UnevaluatedItems { .. } => "has more elements than its schema describes".into(),
        Kind::MinProperties { limit } => {
            format!("must have at least {}, not {}", count(*limit, "field"), length(value))
        }
        Kind::MaxProperties { limit } => format!("must have at most {}, not {}", count(*limit, "field"), length(value)),
        Kind::UniqueItems => format!("must not have equal elements{}", equal_elements(value)),
        Kind::Contains => "must have an element as `contains` of its schema describes".into(),
        Kind::Not { .. } => format!("must not be as `not` of its schema describes, but is {}", shown(value)),
        Kind::FalseSchema => "is not allowed here: leave it out".into(),
        Kind::OneOfMultipleValid { .. } => "fits several of the forms of which it must fit exactly one".into(),
        _ => error.masked_with("the value").to_string(),
    }
}

/// The alternatives of `anyOf` or `oneOf`, each with the reason why the value does not fit: `first` describes the first
/// error of an alternative.
pub(super) fn none_of(
    alternatives: &[Vec<ValidationError<'_>>],
    first: impl Fn(&ValidationError<'_>) -> String,
) -> String {
    let firsts = || alternatives.iter().filter_map(|alternative| alternative.first());
    let types = firsts().map(|error| match error.kind() {
        Kind::Type { kind } => Some((type_names(kind), error)),
        _ => None,
    });
    // The alternatives are types: "string or null".
    if let Some(types) = types.collect::<Option<Vec<_>>>()
        && let Some((_, error)) = types.first()
        && types.iter().all(|(_, other)| other.instance_path() == error.instance_path())
    {
        let names: Vec<_> = types.iter().map(|(name, _)| name.as_str()).collect();
        return format!("must be of type {}, not {}", or_list(&names), described(error.instance().as_ref()));
    }
    let reasons: Vec<_> = firsts().map(first).collect();
    format!("{NONE_OF}{}", reasons.join("; or "))
}

/// A value as JSON, cut if it is long.
pub(super) fn shown(value: &Value) -> String {
    suggest::cut(&value.to_string(), MAX_VALUE).into_owned()
}

/// The values of an `enum`, or how many there are.
pub(super) fn one_of(options: &[&Value]) -> String {
    let listed = |options: &[&Value]| options.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match options {
        [only] => only.to_string(),
        few if few.len() <= MAX_LISTED => format!("one of {}", listed(few)),
        many => format!("one of the {} values that its schema lists, such as {}", many.len(), listed(&many[..3])),
    }
}

/// Which of these values was probably meant by a text.
pub(super) fn meant(text: Option<&str>, options: &[&Value]) -> String {
    let near = text.and_then(|text| suggest::nearest(text, options.iter().filter_map(|option| option.as_str())));
    near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
}

/// A value with its type: `the string "7"`.
pub(super) fn described(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) => format!("the boolean {value}"),
        Value::Number(_) => format!("the number {}", shown(value)),
        Value::String(_) => format!("the string {}", shown(value)),
        Value::Array(_) => "an array".into(),
        Value::Object(_) => "an object".into(),
    }
}

fn type_names(kind: &TypeKind) -> String {
    match kind {
        TypeKind::Single(one) => one.to_string(),
        TypeKind::Multiple(many) => or_list(&many.iter().map(JsonType::as_str).collect::<Vec<_>>()),
    }
}

/// `a, b or c`.
pub(super) fn or_list(names: &[&str]) -> String {
    match names {
        [others @ .., one, last] => [others, &[&*format!("{one} or {last}")]].concat().join(", "),
        few => few.concat(),
    }
}

fn format_in_words(format: &str) -> String {
    match format {
        "date-time" => "a time (RFC 3339) such as 2026-01-31T12:00:00Z",
        "date" => "a date such as 2026-01-31",
        "time" => "a time of day such as 12:00:00Z",
        "duration" => "an ISO 8601 duration such as PT10M",
        "email" | "idn-email" => "an e-mail address",
        "hostname" | "idn-hostname" => "a host name",
        "ipv4" => "an IPv4 address",
        "ipv6" => "an IPv6 address",
        "uri" | "iri" => "an absolute URI such as https://example.com/a",
        "uri-reference" | "iri-reference" => "a URI or a path such as /a",
        "uuid" => "a UUID such as 01234567-89ab-cdef-0123-456789abcdef",
        "regex" => "a regular expression",
        other => return format!("of the format {other}"),
    }
    .into()
}

fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// The number of characters, elements or fields.
fn length(value: &Value) -> usize {
    match value {
        Value::String(text) => text.chars().count(),
        Value::Array(elements) => elements.len(),
        Value::Object(fields) => fields.len(),
        _ => 0,
    }
}

/// The indexes of the first two elements that are equal.
fn equal_elements(value: &Value) -> String {
    let mut first_index = HashMap::new();
    let mut elements = value.as_array().into_iter().flatten().enumerate();
    let pair = elements.find_map(|(index, element)| match first_index.entry(element) {
        Entry::Occupied(earlier) => Some((*earlier.get(), index)),
        Entry::Vacant(unseen) => {
            unseen.insert(index);
            None
        }
    });
    pair.map(|(one, other)| format!(", but /{one} and /{other} are equal")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_equal_elements_are_named_in_an_array_of_any_length() {
        assert_eq!(equal_elements(&json!([1, "a", {"b":2,"c":3}, "a", {"c":3,"b":2}])), ", but /1 and /3 are equal");
        assert_eq!(equal_elements(&json!([1, 2])), "");
        let mut long: Vec<_> = (0..200_000).collect();
        long.push(199_999);
        assert_eq!(equal_elements(&json!(long)), ", but /199999 and /200000 are equal");
    }
}
