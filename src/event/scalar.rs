//! A JSON scalar that can be compared, sorted and hashed: what filters compare fields with.
//!
//! Two numbers are equal when their values are, however they were written: `5`, `5.0` and `50e-1` are one scalar.

use serde_json::Value;

/// The largest integer that a double, and so every JavaScript client, holds exactly: 2^53 - 1 (RFC 7493, section 2.2).
pub(super) const MAX_INTEGER: i64 = 9_007_199_254_740_991;

/// A JSON scalar. A filter owns the text of its strings; a field of an event borrows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scalar<Text = Box<str>> {
    Null,
    Bool(bool),
    Integer(i64),
    /// An integer above [`i64::MAX`]. Smaller ones are always `Integer`, so that each value has one form.
    Large(u64),
    /// The bits of a double that is not an integer of 64 bits.
    Float(u64),
    String(Text),
}

impl<Text> Scalar<Text> {
    /// The scalar with its text converted.
    pub fn map<Other>(self, text: impl FnOnce(Text) -> Other) -> Scalar<Other> {
        match self {
            Self::Null => Scalar::Null,
            Self::Bool(value) => Scalar::Bool(value),
            Self::Integer(value) => Scalar::Integer(value),
            Self::Large(value) => Scalar::Large(value),
            Self::Float(bits) => Scalar::Float(bits),
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
            Self::Large(value) => Scalar::Large(*value),
            Self::Float(bits) => Scalar::Float(*bits),
            Self::String(value) => Scalar::String(value.as_ref()),
        }
    }

    /// The scalar of an integer.
    pub fn of_integer(integer: u64) -> Self {
        i64::try_from(integer).map_or(Self::Large(integer), Self::Integer)
    }

    /// The scalar of a double.
    ///
    /// A whole number within 64 bits becomes an integer. Above 2^53 a double stands for many integers; the one that it
    /// equals exactly is used. A number beyond 64 bits stays a double, because serde_json reads such integers as doubles.
    pub fn of_double(double: f64) -> Self {
        const TO_63: f64 = (1_u64 << 63) as f64;
        match double.fract() == 0.0 {
            true if (-TO_63..TO_63).contains(&double) => Self::Integer(double as i64),
            true if (TO_63..2.0 * TO_63).contains(&double) => Self::Large(double as u64),
            _ => Self::Float(double.to_bits()),
        }
    }
}

impl<'a> Scalar<&'a str> {
    /// The scalar of a JSON value; `None` for arrays and objects.
    pub fn of(value: &'a Value) -> Option<Self> {
        Some(match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::String(text) => Self::String(text),
            Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(integer), _) => Self::Integer(integer),
                (None, Some(large)) => Self::of_integer(large),
                (None, None) => Self::of_double(number.as_f64()?),
            },
            Value::Array(_) | Value::Object(_) => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_equal_when_their_values_are() {
        let of = |text: &str| Scalar::of(&serde_json::from_str(text).unwrap()).unwrap().map(Box::<str>::from);
        for (one, other) in [
            ("5", "5.0"),
            ("5", "50e-1"),
            ("0", "-0.0"),
            ("-9223372036854775808", "-9223372036854775808.0"),
            ("9223372036854775808", "9223372036854775808.0"),
            ("18446744073709549568", "18446744073709549568.0"),
            ("18446744073709551616", "1.8446744073709551616e19"),
            ("100000000000000000000000", "1e23"),
        ] {
            assert_eq!(of(one), of(other), "{one} {other}");
        }
        for (one, other) in [
            ("5", "5.5"),
            ("9223372036854775807", "9223372036854775808"),
            ("9223372036854775807", "9223372036854775807.0"),
            ("18446744073709551615", "18446744073709551616"),
            ("-9223372036854775808", "9223372036854775808"),
            ("5", "\"5\""),
        ] {
            assert_ne!(of(one), of(other), "{one} {other}");
        }
    }
}
