//! The parameter `where`: which events of a channel a subscriber wants, checked against the channel's schema.
//!
//! `where` maps a field of `data` (dotted for a nested field) to a scalar, to an array of scalars (any of them), or to
//! `{"prefix": "…"}`. An event matches if all conditions hold. On an array field a condition means "contains".
//!
//! Two filters with the same meaning are equal, however they were written, so that the hub indexes them once. A condition
//! that can never match (an unknown field, a string for an integer field) is an error, because a client cannot tell a
//! misspelt filter from a quiet channel.

mod condition;

use serde_json::Value;

use super::json::Json;
use super::mistake::{MAX_MISTAKES, Mistake};
use super::sentence::described;
use super::{EventType, Scalar};

/// A filter in canonical form: conditions sorted by path, all of which must hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Filter {
    conditions: Vec<Condition>,
}

/// A test of one field.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Condition {
    /// The path to the field: one name for each level of nesting.
    pub path: Vec<Box<str>>,
    pub test: Test,
}

/// What the value of a field must be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Test {
    /// Equal to this scalar.
    Is(Scalar),
    /// Equal to one of these scalars: sorted, without duplicates, at least two.
    AnyOf(Box<[Scalar]>),
    /// A string with this prefix.
    Prefix(Box<str>),
}

/// Why a `where` was refused: every mistake up to [`MAX_MISTAKES`], of which the first decides the kind. Pointers begin with `/where`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// The channel's schema does not have the field.
    #[error("{}", Mistake::summary(.0))]
    UnknownField(Vec<Mistake>),
    /// Any other mistake.
    #[error("{}", Mistake::summary(.0))]
    Invalid(Vec<Mistake>),
}

/// The maximum number of fields in one filter.
const MAX_CONDITIONS: usize = 16;
/// The maximum number of values that one field is compared with.
const MAX_VALUES: usize = 128;
/// The maximum length of a string in a filter, in characters: that of the longest text in a built-in type.
const MAX_STRING: usize = 1_024;
/// The pointer of the filter itself.
const AT: &str = "/where";

impl Filter {
    /// Parses a `where` for events of `event_type`.
    ///
    /// # Errors
    /// [`FilterError::UnknownField`] for a field that the schema does not have, else [`FilterError::Invalid`].
    pub fn parse(value: &Json<'_>, event_type: &EventType) -> Result<Self, FilterError> {
        Self::read(value, &event_type.name, &event_type.schema)
    }

    /// The same for an event type that is in no catalogue: its name, and the JSON Schema of its `data`.
    ///
    /// # Errors
    /// As [`Filter::parse`].
    pub fn read(value: &Json<'_>, event_type: &str, schema: &Value) -> Result<Self, FilterError> {
        let invalid = |message: String| Err(FilterError::Invalid(vec![Mistake::new(AT, message)]));
        let Some(fields) = value.as_object() else {
            return invalid(format!(
                "a filter must be an object from fields to values, such as {{\"productId\":\"123\"}}, not {}",
                described(&value.to_value())
            ));
        };
        if fields.len() > MAX_CONDITIONS {
            return invalid(format!("a filter can name at most {MAX_CONDITIONS} fields, not {}", fields.len()));
        }
        let mut refused: Option<FilterError> = None;
        let mut conditions = Vec::with_capacity(fields.len());
        for (name, test) in fields {
            match (condition::read(name, test, event_type, schema), &mut refused) {
                (Ok(condition), _) => conditions.push(condition),
                (Err(error), None) => refused = Some(error),
                (Err(error), Some(refused)) => refused.mistakes_mut().extend(error.into_mistakes()),
            }
            if let Some(mistakes) = refused.as_mut().map(FilterError::mistakes_mut)
                && mistakes.len() >= MAX_MISTAKES
            {
                mistakes.truncate(MAX_MISTAKES);
                break;
            }
        }
        conditions.sort_unstable();
        refused.map_or(Ok(Self { conditions }), Err)
    }

    /// Whether the filter has no condition, so that every event matches.
    pub fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }

    /// A filter of these conditions, which are sorted and have no duplicates.
    pub(super) fn from_sorted(conditions: Vec<Condition>) -> Self {
        Self { conditions }
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

impl FilterError {
    /// Every mistake, with its pointer.
    pub fn into_mistakes(self) -> Vec<Mistake> {
        match self {
            Self::UnknownField(mistakes) | Self::Invalid(mistakes) => mistakes,
        }
    }

    fn mistakes_mut(&mut self) -> &mut Vec<Mistake> {
        match self {
            Self::UnknownField(mistakes) | Self::Invalid(mistakes) => mistakes,
        }
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

#[cfg(test)]
mod tests;
