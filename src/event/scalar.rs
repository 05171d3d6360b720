//! A JSON scalar that can be compared, sorted and hashed: what filters compare fields with.
//!
//! Two numbers are equal when their values are, however they were written: `5`, `5.0` and `50e-1` are one scalar.

use std::borrow::Cow;

use super::decimal::Decimal;
use super::json::Json;

/// The largest integer that a double, and so every JavaScript client, holds exactly: 2^53 - 1 (RFC 7493, section 2.2).
pub(super) const MAX_INTEGER: i64 = 9_007_199_254_740_991;

/// A JSON scalar. A filter owns the text of its strings; a field of an event borrows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scalar<Text = Box<str>> {
    Null,
    Bool(bool),
    Integer(i64),
    /// Any other number, in its [canonical](Decimal::canonical) form, so that each value has one form.
    Decimal(Text),
    String(Text),
}

impl<Text> Scalar<Text> {
    /// The scalar with its text converted.
    pub fn map<Other>(self, text: impl FnOnce(Text) -> Other) -> Scalar<Other> {
        match self {
            Self::Null => Scalar::Null,
            Self::Bool(value) => Scalar::Bool(value),
            Self::Integer(value) => Scalar::Integer(value),
            Self::Decimal(value) => Scalar::Decimal(text(value)),
            Self::String(value) => Scalar::String(text(value)),
        }
    }

    /// The scalar with its text borrowed.
    pub fn lent(&self) -> Scalar<&str>
    where
        Text: AsRef<str>,
    {
        match self {
            Self::Null => Scalar::Null,
            Self::Bool(value) => Scalar::Bool(*value),
            Self::Integer(value) => Scalar::Integer(*value),
            Self::Decimal(value) => Scalar::Decimal(value.as_ref()),
            Self::String(value) => Scalar::String(value.as_ref()),
        }
    }
}

impl<'a> Scalar<Cow<'a, str>> {
    /// The scalar of a JSON value; `None` for arrays and objects.
    pub fn of(value: &'a Json<'_>) -> Option<Self> {
        Some(match value {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(text) => Self::of_number(text),
            Json::String(text) => Self::String(Cow::Borrowed(text)),
            Json::Array(_) | Json::Object(_) => return None,
        })
    }

    /// The scalar of the text of a number.
    pub fn of_number(text: &str) -> Self {
        // Most numbers are short integers, which need no allocation.
        if let Ok(integer) = text.parse() {
            return Self::Integer(integer);
        }
        let decimal = Decimal::parse(text);
        decimal.to_i64().map_or_else(|| Self::Decimal(decimal.canonical().into()), Self::Integer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_equal_when_their_values_are() {
        let of = |text: &str| Scalar::of(&Json::parse(text).unwrap()).unwrap().map(Box::<str>::from);
        for (one, other) in [
            ("5", "5.0"),
            ("5", "50e-1"),
            ("0", "-0.0"),
            ("-9223372036854775808", "-9223372036854775808.0"),
            ("9223372036854775807", "9223372036854775807.0"),
            ("18446744073709551616", "1.8446744073709551616E+19"),
            ("100000000000000000000000", "1e23"),
            ("1e400", "10e399"),
            ("1.10", "1.1"),
        ] {
            assert_eq!(of(one), of(other), "{one} {other}");
        }
        for (one, other) in [
            ("5", "5.5"),
            ("9223372036854775807", "9223372036854775808"),
            ("18446744073709551616", "18446744073709551617"),
            ("-9223372036854775808", "9223372036854775808"),
            ("0", "1e-400"),
            ("0.1", "0.1000000000000000000001"),
            ("1e400", "2e400"),
            ("5", "\"5\""),
            ("1.5", "\"15e-1\""),
        ] {
            assert_ne!(of(one), of(other), "{one} {other}");
        }
    }
}
