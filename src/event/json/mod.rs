//! JSON as its author wrote it: a tree that keeps the text of every number, and the strict reader that makes it.
//!
//! `serde_json::Value` reads `18446744073709551616` as a double, takes a member that occurs twice, and gives two names a
//! meaning of their own. A tree of [`Json`] does none of this, and borrows its text from the document. The reader refuses a
//! member that occurs twice in one object (RFC 7493, section 2.3), and says what is wrong and where.

mod error;
mod read;
#[cfg(test)]
mod tests;
mod text;
#[cfg(feature = "server")]
mod validate;

use std::borrow::Cow;
use std::fmt;

use serde_json::{Number, Value};

pub use error::{JsonError, MAX_DEPTH};
pub use read::ElementsError;
pub use text::JsonText;
#[cfg(feature = "server")]
pub use validate::Representation;

/// A JSON value.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Json<'a> {
    #[default]
    Null,
    Bool(bool),
    /// The text of a number, in JSON's grammar. [`Decimal`](super::Decimal) has its value.
    Number(Cow<'a, str>),
    String(Cow<'a, str>),
    Array(Vec<Json<'a>>),
    /// The members in the order of the text. No name occurs twice.
    Object(Vec<Member<'a>>),
}

/// A member of an object: its name and its value.
pub type Member<'a> = (Cow<'a, str>, Json<'a>);

impl<'a> Json<'a> {
    /// The member `name` of an object.
    pub fn get(&self, name: &str) -> Option<&Json<'a>> {
        self.as_object()?.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// The members, if this is an object.
    pub fn as_object(&self) -> Option<&[Member<'a>]> {
        match self {
            Self::Object(members) => Some(members),
            _ => None,
        }
    }

    /// The text, if this is a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// Whether this is `null`.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Appends the value as compact JSON: numbers as they were written, strings with no more escapes than they need. The
    /// result is never longer than the text that was read.
    pub fn write(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(true) => out.push_str("true"),
            Self::Bool(false) => out.push_str("false"),
            Self::Number(text) => out.push_str(text),
            Self::String(text) => write_string(text, out),
            Self::Array(elements) => {
                out.push('[');
                for (index, element) in elements.iter().enumerate() {
                    out.push_str(if index == 0 { "" } else { "," });
                    element.write(out);
                }
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                for (index, (name, value)) in members.iter().enumerate() {
                    out.push_str(if index == 0 { "" } else { "," });
                    write_string(name, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }

    /// The same value, which borrows nothing.
    pub fn into_owned(self) -> Json<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        match self {
            Self::Null => Json::Null,
            Self::Bool(value) => Json::Bool(value),
            Self::Number(text) => Json::Number(owned(text)),
            Self::String(text) => Json::String(owned(text)),
            Self::Array(elements) => Json::Array(elements.into_iter().map(Json::into_owned).collect()),
            Self::Object(members) => {
                Json::Object(members.into_iter().map(|(name, value)| (owned(name), value.into_owned())).collect())
            }
        }
    }

    /// The value for a program that knows `serde_json`. A number beyond 64 bits becomes the nearest double.
    pub fn to_value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Number(text) => Value::Number(to_number(text)),
            Self::String(text) => Value::String(text.as_ref().into()),
            Self::Array(elements) => elements.iter().map(Json::to_value).collect(),
            Self::Object(members) => {
                members.iter().map(|(name, value)| (name.as_ref().to_owned(), value.to_value())).collect()
            }
        }
    }
}

/// A number for a program that knows `serde_json`. One beyond the largest double becomes the largest double.
pub(crate) fn to_number(text: &str) -> Number {
    let largest = || Number::from_f64(if text.starts_with('-') { f64::MIN } else { f64::MAX });
    text.parse().ok().or_else(largest).unwrap_or_else(|| 0.into())
}

/// Appends a string with its quotes.
pub(crate) fn write_string(text: &str, out: &mut String) {
    if text.bytes().any(|byte| byte < b' ' || byte == b'"' || byte == b'\\') {
        // A string always serializes.
        out.push_str(&serde_json::to_string(text).unwrap_or_default());
    } else {
        out.push('"');
        out.push_str(text);
        out.push('"');
    }
}

impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.write(&mut text);
        f.write_str(&text)
    }
}

impl From<Value> for Json<'static> {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(value),
            Value::Number(number) => Self::Number(number.to_string().into()),
            Value::String(text) => Self::String(text.into()),
            Value::Array(elements) => Self::Array(elements.into_iter().map(Self::from).collect()),
            Value::Object(members) => {
                Self::Object(members.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
            }
        }
    }
}

impl<'a> From<&'a str> for Json<'a> {
    fn from(text: &'a str) -> Self {
        Self::String(text.into())
    }
}

impl From<String> for Json<'_> {
    fn from(text: String) -> Self {
        Self::String(text.into())
    }
}
