//! Validation errors: what is wrong with a document and where, as the member `errors` of a response lists it.
//!
//! This module turns the errors of the JSON Schema validator into sentences for the publisher. A message never repeats
//! the document's values, which may be long or secret. The pointer of a missing field is the path where the field
//! belongs; the pointer of an unknown field is that of the field itself.

use std::collections::HashSet;

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{ValidationError, Validator};
use serde::Serialize;
use serde_json::Value;

use super::json::{Json, Representation};
pub(crate) use super::pointer::escape;

/// The maximum number of mistakes that a refusal lists, for one document or a whole batch.
pub const MAX_MISTAKES: usize = 100;

/// One mistake in a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mistake {
    /// JSON Pointer (RFC 6901) into the document.
    pub pointer: String,
    /// What is wrong there, as a sentence for people.
    pub message: String,
}

impl Mistake {
    /// A mistake at `pointer`.
    pub fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), message: message.into() }
    }
}

/// The mistakes that `validator` finds in `value`, at most `limit`. Each pointer gets the prefix `at`.
///
/// `known` are the field names to suggest for an unknown field.
pub(super) fn mistakes(
    validator: &Validator<Representation>,
    value: &Json<'_>,
    at: &str,
    known: &[&str],
    limit: usize,
) -> Vec<Mistake> {
    let mut found: Vec<Mistake> = Vec::new();
    let mut reported = HashSet::new();
    for error in validator.iter_errors(value) {
        let mut of_one = Vec::new();
        describe(&error, at, known, &mut of_one);
        // A value of the wrong type also fails `enum`, `pattern` and others: the first message of a pointer is enough.
        found.extend(of_one.into_iter().filter(|mistake| reported.insert(mistake.pointer.clone())));
        if found.len() >= limit {
            found.truncate(limit);
            break;
        }
    }
    found
}

fn describe(error: &ValidationError<'_>, at: &str, known: &[&str], found: &mut Vec<Mistake>) {
    let here = format!("{at}{}", error.instance_path().as_str());
    let child = |name: &str| format!("{here}/{}", escape(name));
    match error.kind() {
        ValidationErrorKind::Required { property } => {
            found.push(Mistake::new(child(property.as_str().unwrap_or_default()), "is required"));
        }
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
            found
                .extend(unexpected.iter().map(|name| Mistake::new(child(name), unknown("unknown field", name, known))));
        }
        ValidationErrorKind::PropertyNames { error } => {
            let name = error.instance().as_str().unwrap_or_default();
            found.push(Mistake::new(child(name), format!("is not an allowed name: {}", sentence(error))));
        }
        _ => found.push(Mistake::new(here, sentence(error))),
    }
}

/// The text `what`, followed by a suggestion if one of `known` is similar to `name`.
pub(crate) fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    match nearest(name, known) {
        Some(near) => format!("{what}; did you mean {near}?"),
        None => what.into(),
    }
}

/// The name of `known` that is most similar to `name`, if any is similar enough to be meant.
pub(crate) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), *candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

fn sentence(error: &ValidationError<'_>) -> String {
    match error.kind() {
        ValidationErrorKind::Type { kind } => {
            let expected = match kind {
                TypeKind::Single(one) => one.to_string(),
                TypeKind::Multiple(many) => many.iter().map(|one| one.to_string()).collect::<Vec<_>>().join(" or "),
            };
            format!("must be of type {expected}, not {}", type_name(error.instance()))
        }
        ValidationErrorKind::Enum { options } => {
            let options = options.as_array().map(Vec::as_slice).unwrap_or_default();
            let shown: Vec<String> = options.iter().take(12).map(Value::to_string).collect();
            let more =
                if options.len() > 12 { format!(" or one of {} more", options.len() - 12) } else { String::new() };
            format!("must be one of {}{more}", shown.join(", "))
        }
        ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } => {
            let reasons: Vec<String> = context
                .iter()
                .filter_map(|branch| branch.first())
                .map(|first| {
                    let mut one = Vec::new();
                    describe(first, "", &[], &mut one);
                    one.pop().map(|mistake| format!("{} {}", mistake.pointer, mistake.message)).unwrap_or_default()
                })
                .collect();
            format!("matches none of the allowed forms: {}", reasons.join("; or "))
        }
        ValidationErrorKind::MinLength { limit: 1 } => "must not be empty".into(),
        _ => error.masked_with("the value").to_string(),
    }
}

/// The JSON type of a value, by its name in JSON Schema.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
