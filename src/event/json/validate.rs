//! The tree as the JSON Schema validator sees it: without a copy, and with numbers as they were written.
//!
//! A validator compares a number within 64 bits exactly, and any other as the nearest double, as other validators do
//! (RFC 8259, section 6; RFC 7493, section 2.2). Whether a number is an integer, its written value says. `multipleOf` with an
//! integer is exact for an integer of any size.

use std::borrow::Cow;

use jsonschema::JsonType;
use jsonschema::json::{Array, Json as Format, JsonNumber, Node, NodeIdentity, Object};
use serde_json::{Number, Value};

use super::super::decimal::Decimal;
use super::{Json, Member, to_number};

/// The longest number that is written out for the validator. The tokenizer takes as many digits.
const MAX_DIGITS: usize = 4_300;

/// The representation of [`Json`] for [`jsonschema::options_for`].
#[derive(Debug)]
pub struct Representation;

/// The text of a number.
pub struct NumberText<'a>(&'a str);

impl Format for Representation {
    type Node<'a> = &'a Json<'a>;
    type PreparedKey = Box<str>;
    type StringBuffer = Json<'static>;

    // A lookup compares the names of an object one by one.
    const KEYS_PER_LOOKUP: usize = 4;

    fn prepare_key(key: &str) -> Box<str> {
        key.into()
    }

    fn with_string_node<T>(buffer: &mut Json<'static>, string: &str, f: impl for<'x> FnOnce(&'x Json<'x>) -> T) -> T {
        *buffer = Json::String(string.to_owned().into());
        f(buffer)
    }
}

impl<'a> Node<'a, Representation> for &'a Json<'a> {
    type Object = &'a [Member<'a>];
    type Array = &'a [Json<'a>];
    type Number = NumberText<'a>;

    fn as_object(&self) -> Option<&'a [Member<'a>]> {
        match self {
            Json::Object(members) => Some(members),
            _ => None,
        }
    }

    fn as_array(&self) -> Option<&'a [Json<'a>]> {
        match self {
            Json::Array(elements) => Some(elements),
            _ => None,
        }
    }

    fn as_string(&self) -> Option<Cow<'a, str>> {
        match self {
            Json::String(text) => Some(Cow::Borrowed(text)),
            _ => None,
        }
    }

    fn as_number(&self) -> Option<NumberText<'a>> {
        match self {
            Json::Number(text) => Some(NumberText(text)),
            _ => None,
        }
    }

    fn as_boolean(&self) -> Option<bool> {
        match self {
            Json::Bool(value) => Some(*value),
            _ => None,
        }
    }

    fn is_null(&self) -> bool {
        matches!(self, Json::Null)
    }

    fn json_type(&self) -> JsonType {
        match self {
            Json::Null => JsonType::Null,
            Json::Bool(_) => JsonType::Boolean,
            Json::Number(_) => JsonType::Number,
            Json::String(_) => JsonType::String,
            Json::Array(_) => JsonType::Array,
            Json::Object(_) => JsonType::Object,
        }
    }

    fn equals_value(&self, expected: &Value) -> bool {
        match (self, expected) {
            // The usual case, an `enum` of strings, needs no copy.
            (Json::String(text), Value::String(expected)) => *text == **expected,
            (Json::String(_), _) | (_, Value::String(_)) => false,
            _ => jsonschema::json::cmp::equal(&self.to_value(), expected),
        }
    }

    fn to_value(&self) -> Cow<'a, Value> {
        Cow::Owned(Json::to_value(self))
    }

    fn identity(&self) -> Option<NodeIdentity> {
        Some(NodeIdentity::new(std::ptr::from_ref::<Json<'a>>(self) as usize))
    }
}

/// The members of an object.
pub struct Members<'a>(std::slice::Iter<'a, Member<'a>>);

impl<'a> Iterator for Members<'a> {
    type Item = (&'a str, &'a Json<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(name, value)| (name.as_ref(), value))
    }
}

impl<'a> Object<'a, Representation> for &'a [Member<'a>] {
    type Node = &'a Json<'a>;
    type MemberName = &'a str;
    type MembersIter = Members<'a>;

    fn len(&self) -> usize {
        <[Member<'a>]>::len(self)
    }

    fn get(&self, key: &Box<str>) -> Option<&'a Json<'a>> {
        self.iter().find(|(name, _)| **name == **key).map(|(_, value)| value)
    }

    fn members(&self) -> Members<'a> {
        Members(self.iter())
    }
}

impl<'a> Array<'a, Representation> for &'a [Json<'a>] {
    type Node = &'a Json<'a>;
    type ElementsIter = std::slice::Iter<'a, Json<'a>>;

    fn len(&self) -> usize {
        <[Json<'a>]>::len(self)
    }

    fn elements(&self) -> std::slice::Iter<'a, Json<'a>> {
        self.iter()
    }
}

impl JsonNumber for NumberText<'_> {
    fn as_u64(&self) -> Option<u64> {
        self.0.parse().ok()
    }

    fn as_i64(&self) -> Option<i64> {
        self.0.parse().ok()
    }

    /// `None` beyond the largest double: the validator then takes the number as infinite.
    fn as_f64(&self) -> Option<f64> {
        self.0.parse().ok().filter(|double: &f64| double.is_finite())
    }

    fn as_str(&self) -> Cow<'_, str> {
        let has_exponent = self.0.contains(['e', 'E']);
        let plain = has_exponent.then(|| Decimal::parse(self.0).plain(MAX_DIGITS)).flatten();
        plain.map_or(Cow::Borrowed(self.0), Cow::Owned)
    }

    fn to_number(&self) -> Cow<'_, Number> {
        Cow::Owned(to_number(self.0))
    }

    /// Judges the written value: the nearest double of `4.9999999999999999999999` is 5, and a filter for 5 does not match it.
    fn is_integer(&self) -> bool {
        // Most numbers are short integers, which need no allocation.
        self.as_i64().is_some() || Decimal::parse(self.0).is_integer()
    }
}
