//! The parameter `where`: which events of a channel a subscriber wants, checked against the channel's schema.
//!
//! `where` maps a field of `data` (dotted for a nested field) to a scalar, to an array of scalars (any of them), or to
//! `{"prefix": "…"}`. An event matches if all conditions hold. On an array field a condition means "contains".
//!
//! Two filters with the same meaning are equal, however they were written, so that the hub indexes them once. A condition
//! that can never match (an unknown field, a string for an integer field) is an error, because a client cannot tell a
//! misspelt filter from a quiet channel.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::EventType;
use super::Scalar;
use super::decimal::Decimal;
use super::json::Json;
use super::mistake::unknown;
use super::schema_field::SchemaField;

/// A filter in canonical form: conditions sorted by path, all of which must hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Filter {
    conditions: Vec<Condition>,
}

/// A test of one field.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Condition {
    /// The path to the field: one name for each level of nesting.
    pub path: Vec<Box<str>>,
    pub test: Test,
}

/// What the value of a field must be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Test {
    /// Equal to this scalar.
    Is(Scalar),
    /// Equal to one of these scalars: sorted, without duplicates, at least two.
    AnyOf(Box<[Scalar]>),
    /// A string with this prefix.
    Prefix(Box<str>),
}

/// Why a `where` was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// The channel's schema does not have the field.
    #[error("{0}")]
    UnknownField(String),
    /// Any other mistake.
    #[error("{0}")]
    Invalid(String),
}

/// The maximum number of fields in one filter.
const MAX_CONDITIONS: usize = 16;
/// The maximum number of values that one field is compared with.
const MAX_VALUES: usize = 128;
/// The maximum length of a string in a filter, in characters: that of the longest text in a built-in type.
const MAX_STRING: usize = 1_024;
/// How many characters of an unknown field's name an error message repeats.
const MAX_SHOWN: usize = 100;

impl Filter {
    /// Parses a `where` for events of `event_type`.
    ///
    /// # Errors
    /// [`FilterError::UnknownField`] for a field that the schema does not have, else [`FilterError::Invalid`].
    pub fn parse(value: &Json<'_>, event_type: &EventType) -> Result<Self, FilterError> {
        let Some(fields) = value.as_object() else {
            return Err(invalid(format!("a filter is an object, not of type {}", value.type_name())));
        };
        if fields.len() > MAX_CONDITIONS {
            return Err(invalid(format!("a filter names at most {MAX_CONDITIONS} fields, not {}", fields.len())));
        }
        let mut conditions =
            fields.iter().map(|(name, test)| condition(name, test, event_type)).collect::<Result<Vec<_>, _>>()?;
        conditions.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self { conditions })
    }

    /// Whether the filter has no condition, so that every event matches.
    pub fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }

    /// The conditions, sorted by path.
    pub fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    /// Whether an event with this `data` matches.
    pub fn matches(&self, data: &Json<'_>) -> bool {
        self.conditions.iter().all(|condition| condition.matches(data))
    }
}

impl Condition {
    /// Whether the condition holds for `data`. A missing field never matches.
    pub fn matches(&self, data: &Json<'_>) -> bool {
        match lookup(data, &self.path) {
            None => false,
            Some(Json::Array(elements)) => {
                elements.iter().filter_map(Scalar::of).any(|value| self.test.holds(value.lent()))
            }
            Some(value) => Scalar::of(value).is_some_and(|value| self.test.holds(value.lent())),
        }
    }
}

impl Test {
    /// Whether the test holds for a field with this value, or for this element of an array.
    pub fn holds(&self, value: Scalar<&str>) -> bool {
        match (self, value) {
            (Self::Is(scalar), value) => scalar.lent() == value,
            (Self::AnyOf(scalars), value) => scalars.binary_search_by(|scalar| scalar.lent().cmp(&value)).is_ok(),
            (Self::Prefix(prefix), Scalar::String(text)) => text.starts_with(&**prefix),
            (Self::Prefix(_), _) => false,
        }
    }
}

/// The value at the end of `path`.
fn lookup<'a, 'b>(data: &'a Json<'b>, path: &[Box<str>]) -> Option<&'a Json<'b>> {
    path.iter().try_fold(data, |value, name| value.get(name))
}

fn invalid(message: String) -> FilterError {
    FilterError::Invalid(message)
}

fn condition(name: &str, test: &Json<'_>, event_type: &EventType) -> Result<Condition, FilterError> {
    let found = SchemaField::find(&event_type.schema, name);
    let name = name.char_indices().nth(MAX_SHOWN).map_or(name, |(end, _)| &name[..end]);
    let Some(SchemaField { path, types }) = found else {
        let what = format!("{} has no field {name}", event_type.name);
        return Err(FilterError::UnknownField(unknown(&what, name, &event_type.fields())));
    };
    let check_length = |text: &str| match text.len() > MAX_STRING && text.chars().count() > MAX_STRING {
        false => Ok(()),
        true => Err(invalid(format!(
            "{name}: a string is at most {MAX_STRING} characters long, not {}",
            text.chars().count()
        ))),
    };
    let scalar = |value: &Json<'_>| {
        value.as_str().map_or(Ok(()), check_length)?;
        let scalar = Scalar::of(value).ok_or_else(|| {
            invalid(format!(
                "{name}: expected a scalar, an array of scalars or {{\"prefix\": …}}, not {}",
                value.type_name()
            ))
        })?;
        if !allow(&types, &scalar) {
            return Err(invalid(format!("{name} is never {value}: it is of type {}", names(&types))));
        }
        Ok(scalar.map(Box::<str>::from))
    };
    let test = match test {
        Json::Array(values) if values.is_empty() => {
            return Err(invalid(format!("{name}: an empty array matches nothing; leave the field out to match all")));
        }
        Json::Array(values) if values.len() > MAX_VALUES => {
            return Err(invalid(format!(
                "{name}: a field is compared with at most {MAX_VALUES} values, not {}",
                values.len()
            )));
        }
        Json::Array(values) => {
            let mut scalars = values.iter().map(scalar).collect::<Result<BTreeSet<_>, _>>()?;
            match (scalars.len(), scalars.pop_first()) {
                (1, Some(only)) => Test::Is(only),
                (_, first) => Test::AnyOf(first.into_iter().chain(scalars).collect()),
            }
        }
        Json::Object(_) => match (test.as_object().map(<[_]>::len), test.get("prefix")) {
            (Some(1), Some(Json::String(prefix))) if types.contains("string") => {
                check_length(prefix)?;
                Test::Prefix(prefix.as_ref().into())
            }
            (Some(1), Some(Json::String(_))) => {
                return Err(invalid(format!("{name} has no prefix: it is of type {}", names(&types))));
            }
            _ => return Err(invalid(format!("{name}: the only operator is {{\"prefix\": \"…\"}}, with a string"))),
        },
        single => Test::Is(scalar(single)?),
    };
    Ok(Condition { path, test })
}

/// Whether a field of these types can have this value.
fn allow(types: &BTreeSet<&str>, scalar: &Scalar<Cow<'_, str>>) -> bool {
    match scalar {
        Scalar::Null => types.contains("null"),
        Scalar::Bool(_) => types.contains("boolean"),
        Scalar::Integer(_) => types.contains("integer") || types.contains("number"),
        Scalar::Decimal(text) => {
            types.contains("number") || (types.contains("integer") && Decimal::parse(text).is_integer())
        }
        Scalar::String(_) => types.contains("string"),
    }
}

fn names(types: &BTreeSet<&str>) -> String {
    types.iter().copied().collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Catalog;
    use serde_json::{Value, json};

    fn parse(channel: &str, filter: Value) -> Result<Filter, FilterError> {
        let mut catalog = Catalog::builtin();
        let own = json!({"type":"object","properties":{
            "a.b":{"type":"string"},
            "a":{"$ref":"#/$defs/node"},
            "labels":{"type":"object","additionalProperties":{"type":"string"}},
            "maybe":{"type":["string","null"]}},
            "$defs":{"node":{"type":"object","properties":{"b":{"type":"integer"},"next":{"$ref":"#/$defs/node"}}}}});
        catalog.add("own", &own.to_string()).unwrap();
        Filter::parse(&filter.into(), catalog.get(catalog.channel(channel).unwrap()))
    }

    fn matches(channel: &str, filter: Value, data: Value) -> bool {
        parse(channel, filter).unwrap().matches(&data.into())
    }

    #[test]
    fn all_conditions_must_hold() {
        let filter = json!({"productId":"1","newQuantity":[0,1]});
        assert!(matches("inventory-change", filter.clone(), json!({"productId":"1","newQuantity":1.0})));
        assert!(!matches("inventory-change", filter.clone(), json!({"productId":"1","newQuantity":2})));
        assert!(!matches("inventory-change", filter, json!({"newQuantity":1})));
        assert!(matches("inventory-change", json!({}), json!({})));
    }

    #[test]
    fn a_condition_on_an_array_means_contains() {
        assert!(matches("cache-invalidate", json!({"tags":["x","b"]}), json!({"tags":["a","b"]})));
        assert!(matches("cache-invalidate", json!({"keys":{"prefix":"user:"}}), json!({"keys":["a","user:7"]})));
        assert!(!matches("cache-invalidate", json!({"tags":"c"}), json!({"tags":["a","b"]})));
    }

    #[test]
    fn nested_fields_are_dotted_and_a_name_with_a_dot_wins() {
        assert!(matches("own", json!({"a.next.next.b": 7}), json!({"a":{"next":{"next":{"b":7}}}})));
        assert!(matches("own", json!({"a.b":"x"}), json!({"a.b":"x","a":{"b":1}})));
        assert!(matches("own", json!({"labels.any":"x"}), json!({"labels":{"any":"x"}})));
        assert!(matches("own", json!({"maybe":null}), json!({"maybe":null})));
        assert!(!matches("own", json!({"maybe":null}), json!({})));
    }

    #[test]
    fn an_unknown_field_gets_a_suggestion() {
        let FilterError::UnknownField(message) = parse("inventory-change", json!({"productid":"1"})).unwrap_err()
        else {
            panic!("another error")
        };
        assert!(message.contains("did you mean productId?"), "{message}");
        assert!(matches!(parse("own", json!({"a.c":1})), Err(FilterError::UnknownField(_))));
        assert!(matches!(parse("inventory-change", json!({"reason.x":1})), Err(FilterError::UnknownField(_))));
    }

    #[test]
    fn a_condition_that_can_never_match_is_refused() {
        for filter in [
            json!([]),
            json!("productId"),
            json!({"productId":7}),
            json!({"newQuantity":"7"}),
            json!({"newQuantity":1.5}),
            json!({"newQuantity":{"prefix":"7"}}),
            json!({"productId":null}),
            json!({"productId":[]}),
            json!({"productId":[["1"]]}),
            json!({"productId":{"prefix":7}}),
            json!({"productId":{"suffix":"7"}}),
            json!({"productId":{"prefix":"7","also":1}}),
        ] {
            assert!(matches!(parse("inventory-change", filter.clone()), Err(FilterError::Invalid(_))), "{filter}");
        }
    }

    #[test]
    fn a_large_whole_number_is_an_integer() {
        assert!(matches("own", json!({"a.next.b": 1e20}), json!({"a":{"next":{"b":1e20}}})), "1e20 is a whole number");
    }

    #[test]
    fn a_filter_is_bounded() {
        assert!(size_of::<Test>() <= 24, "a node keeps a hundred thousand of them");
        let invalid = |filter: Value| match parse("cache-invalidate", filter) {
            Err(FilterError::Invalid(message)) => message,
            other => panic!("{other:?}"),
        };
        let values: Vec<_> = (0..129).map(|n| n.to_string()).collect();
        assert!(parse("cache-invalidate", json!({"tags":values[1..]})).is_ok());
        assert_eq!(invalid(json!({"tags":values})), "tags: a field is compared with at most 128 values, not 129");
        let long = "\u{20ac}".repeat(1024);
        for test in [json!(long), json!({"prefix":long}), json!(["a", long])] {
            assert!(parse("cache-invalidate", json!({"tags":test})).is_ok());
        }
        let long = "x".repeat(1025);
        for test in [json!(long), json!({"prefix":long}), json!(["a", long])] {
            let message = invalid(json!({"tags":test}));
            assert_eq!(message, "tags: a string is at most 1024 characters long, not 1025");
        }
    }

    #[test]
    fn an_error_repeats_only_the_beginning_of_a_long_field_name() {
        let name = format!("a{}", "\u{20ac}".repeat(20_000));
        let Err(FilterError::UnknownField(message)) = parse("own", json!({name:1})) else { panic!("another error") };
        assert!(message.chars().count() < 150, "{} characters", message.chars().count());
    }

    #[test]
    fn filters_with_the_same_meaning_are_equal() {
        let one = parse("inventory-change", json!({"productId":["b","a","b"],"newQuantity":5})).unwrap();
        let other = parse("inventory-change", json!({"newQuantity":5.0,"productId":["a","b"]})).unwrap();
        assert_eq!(one, other);
        let one = parse("inventory-change", json!({"productId":["a","a"]})).unwrap();
        assert_eq!(one, parse("inventory-change", json!({"productId":"a"})).unwrap());
    }
}
