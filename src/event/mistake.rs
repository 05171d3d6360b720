//! What is wrong with a document, and where: the `errors` of a refusal.
//!
//! Turns what the JSON Schema validator found into sentences for the person who sent the document. A message never
//! repeats the document's values (they may be long or secret), a pointer always leads to the place: for a missing field
//! to where it should stand, for an unknown one to the field itself.

use std::collections::HashSet;

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{ValidationError, Validator};
use serde::Serialize;
use serde_json::Value;

/// The most mistakes that are listed of one document or batch.
pub const MAX_MISTAKES: usize = 100;

/// One mistake in a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mistake {
    /// JSON Pointer (RFC 6901) into the document.
    pub pointer: String,
    /// What is wrong there, for people.
    pub message: String,
}

impl Mistake {
    pub fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), message: message.into() }
    }
}

/// All that `validator` finds wrong with `value`, up to `limit` mistakes, their pointers beginning with `at`.
///
/// `known` are names that a misspelt field may have meant.
pub(super) fn mistakes(validator: &Validator, value: &Value, at: &str, known: &[&str], limit: usize) -> Vec<Mistake> {
    let mut found: Vec<Mistake> = Vec::new();
    let mut places = HashSet::new();
    for error in validator.iter_errors(value) {
        let mut of_one = Vec::new();
        describe(&error, at, known, &mut of_one);
        // What is of another type is also none of the names that are allowed: one sentence about a place is enough.
        found.extend(of_one.into_iter().filter(|mistake| places.insert(mistake.pointer.clone())));
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
            found.push(Mistake::new(child(name), format!("is no allowed name: {}", sentence(error))));
        }
        _ => found.push(Mistake::new(here, sentence(error))),
    }
}

/// "WHAT", with the nearest of `known` where one is near enough to be what was meant.
pub(crate) fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    match nearest(name, known) {
        Some(near) => format!("{what}; did you mean {near}?"),
        None => what.into(),
    }
}

/// The known name that `name` most likely was meant to be.
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
            let ways: Vec<String> = context
                .iter()
                .filter_map(|branch| branch.first())
                .map(|first| {
                    let mut one = Vec::new();
                    describe(first, "", &[], &mut one);
                    one.pop().map(|mistake| format!("{} {}", mistake.pointer, mistake.message)).unwrap_or_default()
                })
                .collect();
            format!("fits none of the forms that are allowed here: {}", ways.join("; or "))
        }
        ValidationErrorKind::MinLength { limit: 1 } => "must not be empty".into(),
        _ => error.masked_with("the value").to_string(),
    }
}

/// The JSON type of a value, as JSON Schema names it.
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

/// One reference token of a JSON Pointer (RFC 6901, section 3).
pub(crate) fn escape(token: &str) -> String {
    token.replace('~', "~0").replace('/', "~1")
}
