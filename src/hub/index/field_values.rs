//! Reads the fields that filters name out of an event's JSON.
//!
//! The reader skips all other fields without keeping them, and borrows strings from the text, so it usually allocates
//! nothing. It gives each field a number; only this module compares names. It does not know filters or subscriptions:
//! the index takes and releases references to fields.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use slab::Slab;
use smallvec::SmallVec;

use crate::event::Scalar;

/// A value of a field in an event. For an array, each scalar element is a value of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldValue<'a> {
    pub field: u32,
    pub value: Scalar<Cow<'a, str>>,
}

/// The values of the named fields in one event. Filters seldom name more than four fields.
pub type FieldValues<'a> = SmallVec<[FieldValue<'a>; 4]>;

/// The fields that filters name, as a tree of their paths and by number.
#[derive(Debug, Default)]
pub struct Fields {
    root: PathNode,
    paths: Slab<Box<[Box<str>]>>,
}

/// A name in the path of a field.
#[derive(Debug, Default)]
struct PathNode {
    /// The field whose path ends here.
    field: Option<u32>,
    /// How many filter conditions name that field.
    references: u32,
    children: BTreeMap<Box<str>, PathNode>,
}

impl Fields {
    /// Adds a reference to the field at `path`, and returns its number.
    pub fn reference(&mut self, path: &[Box<str>]) -> u32 {
        let mut node = &mut self.root;
        for name in path {
            node = node.children.entry(name.clone()).or_default();
        }
        node.references += 1;
        *node.field.get_or_insert_with(|| self.paths.insert(path.into()) as u32)
    }

    /// Removes a reference to a field. The last one frees its number.
    pub fn release(&mut self, field: u32) {
        if let Some(path) = self.paths.get(field as usize)
            && self.root.release(path)
        {
            self.paths.remove(field as usize);
        }
    }

    /// How many fields have a reference.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    /// The number of a field, if it has a reference.
    pub fn number(&self, path: &[Box<str>]) -> Option<u32> {
        path.iter().try_fold(&self.root, |node, name| node.children.get(name))?.field
    }

    /// Reads the values of all named fields. `data` begins with the event's `data`; the rest is not read.
    ///
    /// # Errors
    /// Where `data` does not begin with valid JSON.
    pub fn read<'a>(&self, data: &'a str) -> serde_json::Result<FieldValues<'a>> {
        let mut values = FieldValues::new();
        let reader = Reader { node: &self.root, is_element: false, values: &mut values };
        reader.deserialize(&mut serde_json::Deserializer::from_str(data))?;
        Ok(values)
    }
}

impl PathNode {
    /// Removes a reference to the field at `path`; returns whether it was the last.
    fn release(&mut self, path: &[Box<str>]) -> bool {
        let Some((first, rest)) = path.split_first() else {
            self.references -= 1;
            if self.references == 0 {
                self.field = None;
            }
            return self.field.is_none();
        };
        let Some(node) = self.children.get_mut(first) else { return false };
        let is_last = node.release(rest);
        if node.field.is_none() && node.children.is_empty() {
            self.children.remove(first);
        }
        is_last
    }
}

/// Reads the value at a node, or an element of that value if it is an array.
struct Reader<'n, 'f, 'a> {
    node: &'n PathNode,
    is_element: bool,
    values: &'f mut FieldValues<'a>,
}

impl<'a> Reader<'_, '_, 'a> {
    fn push<E>(self, value: Scalar<Cow<'a, str>>) -> Result<(), E> {
        self.values.extend(self.node.field.map(|field| FieldValue { field, value }));
        Ok(())
    }
}

impl<'a> DeserializeSeed<'a> for Reader<'_, '_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Reader<'_, '_, 'a> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.push(Scalar::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.push(Scalar::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.push(Scalar::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.push(Scalar::of_integer(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.push(Scalar::of_double(value))
    }

    fn visit_borrowed_str<E>(self, value: &'a str) -> Result<(), E> {
        self.push(Scalar::String(Cow::Borrowed(value)))
    }

    /// A string with escapes cannot be borrowed from the text.
    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.push(Scalar::String(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut elements: A) -> Result<(), A::Error> {
        // A filter does not reach into an array within an array.
        if self.is_element || self.node.field.is_none() {
            return IgnoredAny.visit_seq(elements).map(|_| ());
        }
        let Self { node, values, .. } = self;
        while elements.next_element_seed(Reader { node, is_element: true, values })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'a>>(self, mut members: A) -> Result<(), A::Error> {
        if self.is_element || self.node.children.is_empty() {
            return IgnoredAny.visit_map(members).map(|_| ());
        }
        let Self { node, values, .. } = self;
        while let Some(node) = members.next_key_seed(MemberName(node))? {
            match node {
                Some(node) => members.next_value_seed(Reader { node, is_element: false, values })?,
                None => members.next_value::<IgnoredAny>().map(|_| ())?,
            }
        }
        Ok(())
    }
}

/// Reads the name of an object's member, and finds the node of that name.
struct MemberName<'n>(&'n PathNode);

impl<'a, 'n> DeserializeSeed<'a> for MemberName<'n> {
    type Value = Option<&'n PathNode>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'n> Visitor<'_> for MemberName<'n> {
    type Value = Option<&'n PathNode>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.children.get(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn path(name: &str) -> Vec<Box<str>> {
        name.split('.').map(Box::from).collect()
    }

    /// The values of the fields `names` in `data`, as `NAME=VALUE`.
    fn read(names: &[&str], data: &str) -> Vec<String> {
        let mut fields = Fields::default();
        let numbers: Vec<u32> = names.iter().map(|name| fields.reference(&path(name))).collect();
        let name = |field| names[numbers.iter().position(|number| *number == field).unwrap()];
        let values = fields.read(data).unwrap();
        values.iter().map(|value| format!("{}={:?}", name(value.field), value.value)).collect()
    }

    #[test]
    fn only_named_fields_are_read() {
        let data = json!({"a": "x", "b": {"c": 1, "a": 2}, "d": null, "e": true}).to_string();
        assert_eq!(read(&["a"], &data), [r#"a=String("x")"#]);
        assert_eq!(read(&["b.c", "d"], &data), ["b.c=Integer(1)", "d=Null"]);
        assert_eq!(read(&["b", "a.b", "b.c.d", "x", "e.x"], &data), [""; 0]);
        assert_eq!(read(&["b.a", "b", "e"], &data), ["b.a=Integer(2)", "e=Bool(true)"]);
        for data in ["[]", "7", "\"a\"", "null", "[[{\"a\":1}]]"] {
            assert_eq!(read(&["a"], data), [""; 0], "{data}");
        }
    }

    #[test]
    fn each_element_of_an_array_is_a_value() {
        let data = json!({"a": ["x", 1, null, ["y"], {"b": 2}, "x"], "b": [[1]], "c": []}).to_string();
        assert_eq!(read(&["a", "b", "c"], &data), [r#"a=String("x")"#, "a=Integer(1)", "a=Null", r#"a=String("x")"#]);
        assert_eq!(read(&["a.b", "b.a"], &data), [""; 0]);
    }

    #[test]
    fn scalars_equal_those_of_a_parsed_value() {
        for text in [
            "0",
            "-0",
            "-0.0",
            "5",
            "5.0",
            "50e-1",
            "5.5",
            "-7",
            "9223372036854775807",
            "9223372036854775808",
            "-9223372036854775808",
            "-9223372036854775809",
            "18446744073709551615",
            "18446744073709551616",
            "1e23",
            "1e-7",
            "true",
            "null",
            r#""""#,
            r#""x""#,
            r#""é\u00e9\n\"""#,
            r#""\ud83d\ude00""#,
        ] {
            let value: Value = serde_json::from_str(text).unwrap();
            let data = format!(r#"{{"a":{text}}}"#);
            let mut fields = Fields::default();
            fields.reference(&path("a"));
            let values = fields.read(&data).unwrap();
            assert_eq!(values[0].value.lent(), Scalar::of(&value).unwrap(), "{text}");
            assert_eq!(values.len(), 1, "{text}");
        }
    }

    #[test]
    fn escaped_names_are_matched() {
        let data = r#"{"\u0061":1,"a\"b":2,"a.b":3}"#;
        assert_eq!(read(&["a"], data), ["a=Integer(1)"]);
        let mut fields = Fields::default();
        let dotted = fields.reference(&["a.b".into()]);
        let quoted = fields.reference(&["a\"b".into()]);
        assert_eq!(fields.read(data).unwrap().iter().map(|value| value.field).collect::<Vec<_>>(), [quoted, dotted]);
    }

    #[test]
    fn values_of_other_fields_may_be_nested_to_any_depth() {
        let deep = format!(r#"{{"x":{}{},"a":1}}"#, "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(read(&["a"], &deep), ["a=Integer(1)"]);
        assert_eq!(read(&["x", "a"], &deep), ["a=Integer(1)"]);
    }

    #[test]
    fn a_field_keeps_its_number_until_its_last_reference_is_released() {
        let mut fields = Fields::default();
        let (outer, inner) = (fields.reference(&path("a")), fields.reference(&path("a.b.c")));
        assert_eq!(fields.reference(&path("a")), outer);
        fields.release(outer);
        assert_eq!(fields.number(&path("a")), Some(outer));
        fields.release(outer);
        assert_eq!((fields.number(&path("a")), fields.number(&path("a.b.c"))), (None, Some(inner)));
        assert_eq!(fields.number(&path("a.b")), None);
        fields.release(inner);
        assert!(fields.root.children.is_empty() && fields.paths.is_empty());
    }
}
