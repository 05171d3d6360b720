//! Validation errors: what is wrong with a document and where, as the member `errors` of a response lists it.
//!
//! This module finds the place of each error of the JSON Schema validator; [`sentence`](super::sentence) says it in words.
//! The pointer of a missing field is the path where the field belongs; the pointer of an unknown field is that of the
//! field itself.

use std::collections::HashSet;

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use serde::Serialize;
use serde_json::Value;

pub(crate) use super::pointer::escape;
use super::sentence::{NONE_OF, none_of, sentence};
use crate::suggest::Known;

/// The maximum number of mistakes that a refusal lists, for one document or a whole batch.
pub const MAX_MISTAKES: usize = 100;

/// The maximum number of validator errors that are looked at. Several may be about one place.
const MAX_ERRORS: usize = 10 * MAX_MISTAKES;

/// One mistake in a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Mistake {
    /// JSON Pointer (RFC 6901) into the document.
    #[schemars(example = &"/data/newStatus")]
    pub pointer: String,
    /// What is wrong there, as a sentence for people.
    #[schemars(example = &"is required")]
    pub message: String,
}

impl Mistake {
    /// A mistake at `pointer`.
    pub fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), message: message.into() }
    }

    /// The first of several mistakes in one sentence, and how many more there are.
    pub fn summary(mistakes: &[Self]) -> String {
        let first = mistakes.first().map_or_else(String::new, |Self { pointer, message }| match pointer.is_empty() {
            true => message.clone(),
            false => format!("{pointer}: {message}"),
        });
        match mistakes.len() {
            0 | 1 => first,
            2 => format!("{first}; and 1 more mistake"),
            count => format!("{first}; and {} more mistakes", count - 1),
        }
    }
}

/// The fields that a document may have at a JSON Pointer into it.
pub(super) type FieldsAt<'a> = &'a dyn Fn(&str) -> Vec<&'a str>;

/// The mistakes that these errors of a validator stand for, at most `limit`. Each pointer gets the prefix `at`.
///
/// `known` are the fields to suggest for an unknown one.
pub(super) fn mistakes<'a>(
    errors: impl Iterator<Item = ValidationError<'a>>,
    at: &str,
    known: FieldsAt<'_>,
    limit: usize,
) -> Vec<Mistake> {
    let mut found: Vec<Mistake> = Vec::new();
    let mut reported = HashSet::new();
    let (others, choices): (Vec<_>, Vec<_>) = errors.take(MAX_ERRORS).partition(|error| alternatives(error).is_empty());
    for error in others.iter().chain(&choices) {
        // A publisher who mends the mistakes that are reported already also meets this alternative.
        let is_reported = |error: &ValidationError<'_>| {
            describe_one(error, at, known).iter().all(|mistake| reported.contains(&mistake.pointer))
        };
        if alternatives(error).iter().any(|alternative| alternative.iter().all(is_reported)) {
            continue;
        }
        let of_one = describe_one(error, at, known);
        // A value of the wrong type also fails `enum`, `pattern` and others: the first message of a pointer is enough.
        found.extend(of_one.into_iter().filter(|mistake| reported.insert(mistake.pointer.clone())));
        if found.len() >= limit {
            found.truncate(limit);
            break;
        }
    }
    // A mistake in a part of the value is one of the reasons why the value fits no form; it is said once.
    let said = found.clone();
    found.retain(|mistake| {
        let repeats =
            |other: &Mistake| other.pointer.len() > mistake.pointer.len() && mistake.message.contains(&other.message);
        !mistake.message.starts_with(NONE_OF) || !said.iter().any(repeats)
    });
    found
}

/// Which of the members at these JSON Pointers the errors refuse for their names alone: the schema has no such field there, and
/// allows no other. A member whose value is wrong has a field.
pub(super) fn unknown<'p>(errors: &[ValidationError<'_>], pointers: &[&'p str]) -> Vec<&'p str> {
    let is_unknown = |pointer: &&&str| {
        let has_field = |error: &ValidationError<'_>| {
            error.instance_path().as_str() == **pointer && !matches!(error.kind(), ValidationErrorKind::FalseSchema)
        };
        errors.iter().any(|error| refuses_name(error, pointer)) && !errors.iter().any(has_field)
    };
    pointers.iter().filter(is_unknown).copied().collect()
}

/// What an error says of the value at this JSON Pointer. `None` for errors about other places, or members in it, and those that
/// depend on other members.
pub(super) fn wrong_value(error: &ValidationError<'_>, pointer: &str) -> Option<String> {
    const CONDITIONS: [&str; 7] = ["if", "then", "else", "anyOf", "oneOf", "not", "dependentSchemas"];
    let is_about_members = matches!(
        error.kind(),
        ValidationErrorKind::Required { .. }
            | ValidationErrorKind::AdditionalProperties { .. }
            | ValidationErrorKind::UnevaluatedProperties { .. }
            | ValidationErrorKind::PropertyNames { .. }
    );
    let depends = error.schema_path().as_str().split('/').any(|part| CONDITIONS.contains(&part));
    if error.instance_path().as_str() != pointer || is_about_members || depends {
        return None;
    }
    describe_one(error, "", &|_| Vec::new()).into_iter().next().map(|mistake| mistake.message)
}

/// Whether an error says that there may be no member at this pointer. Of alternatives, all must say so.
fn refuses_name(error: &ValidationError<'_>, pointer: &str) -> bool {
    let here = error.instance_path().as_str();
    let names = |name: &str| pointer.strip_prefix(here) == Some(&*format!("/{}", escape(name)));
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => unexpected.iter().any(|name| names(name)),
        ValidationErrorKind::PropertyNames { error } => names(error.instance().as_str().unwrap_or_default()),
        ValidationErrorKind::FalseSchema => here == pointer,
        _ => {
            let alternatives = alternatives(error);
            let refuses = |errors: &Vec<ValidationError<'_>>| errors.iter().any(|error| refuses_name(error, pointer));
            !alternatives.is_empty() && alternatives.iter().all(refuses)
        }
    }
}

/// The alternatives of `anyOf` or `oneOf`, each with the errors of a value that does not fit it. Empty for other errors.
fn alternatives<'a>(error: &'a ValidationError<'_>) -> &'a [Vec<ValidationError<'static>>] {
    match error.kind() {
        ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } => context,
        _ => &[],
    }
}

fn describe_one(error: &ValidationError<'_>, at: &str, known: FieldsAt<'_>) -> Vec<Mistake> {
    let mut found = Vec::new();
    describe(error, at, known, &mut found);
    found
}

/// The mistakes of one validator error, in words. Most errors are one mistake; several unknown fields are several.
pub(super) fn describe(error: &ValidationError<'_>, at: &str, known: FieldsAt<'_>, found: &mut Vec<Mistake>) {
    let here = format!("{at}{}", error.instance_path().as_str());
    let child = |name: &str| format!("{here}/{}", escape(name));
    let fields = || Known::new("fields", known(error.instance_path().as_str()));
    match error.kind() {
        ValidationErrorKind::Required { property } => {
            found.push(Mistake::new(child(property.as_str().unwrap_or_default()), "is required"));
        }
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
            let fields = fields();
            let listed = unexpected.iter().take(MAX_MISTAKES);
            found.extend(listed.map(|name| Mistake::new(child(name), fields.refuse("unknown field", name))));
        }
        ValidationErrorKind::PropertyNames { error } => {
            let name = error.instance().as_str().unwrap_or_default();
            let refusal = format!("is not an allowed name: {}", sentence(error));
            found.push(Mistake::new(child(name), fields().refuse(&refusal, name)));
        }
        ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } => {
            let first = |error: &ValidationError<'_>| {
                let mut one = Vec::new();
                describe(error, "", known, &mut one);
                let first = one.into_iter().next();
                let words = first.map(|mistake| format!("{} {}", mistake.pointer, mistake.message)).unwrap_or_default();
                // The pointer of the value itself is empty.
                words.trim_start().to_owned()
            };
            found.push(Mistake::new(&*here, none_of(context, first)));
        }
        _ => found.push(Mistake::new(here, sentence(error))),
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

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    fn described(schema: &Value, value: &Value) -> Vec<Mistake> {
        let validator = jsonschema::draft202012::new(schema).unwrap();
        let mut found = Vec::new();
        validator.iter_errors(value).for_each(|error| describe(&error, "", &|_| vec!["known"], &mut found));
        found
    }

    #[test]
    fn no_more_unknown_fields_are_described_than_a_refusal_lists() {
        let value: Map<_, _> = (0..7_000).map(|number| (format!("x{number}"), json!(1))).collect();
        for keyword in ["additionalProperties", "unevaluatedProperties"] {
            let found = described(&json!({"properties":{"known":{}},keyword:false}), &value.clone().into());
            assert_eq!(found.len(), MAX_MISTAKES, "{keyword}");
        }
    }

    #[test]
    fn a_form_that_does_not_fit_is_described_by_its_first_mistake() {
        let forms = json!({"anyOf":[{"properties":{"known":{}},"additionalProperties":false}, {"type":"string"}]});
        let found = described(&forms, &json!({"first":1,"second":2}));
        assert_eq!(
            found[0].message,
            "fits none of the allowed forms: /first unknown field (fields: known); or must be of type string, not an object"
        );
    }
}
