//! Reads the fields that filters name out of an event's JSON.
//!
//! The reader skips all other fields without keeping them, and borrows strings from the text, so it usually allocates
//! nothing. It gives each field a number; only this module compares names. It does not know filters or subscriptions:
//! the index takes and releases references to fields.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
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
        read_value(&self.root, data, &mut values)?;
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

impl PathNode {
    /// Removes what was read at this node: the last member of a name counts, as in
    /// [`Json::parse_logged`](crate::event::Json::parse_logged). The daemon publishes no event with a name twice, but another
    /// program may have written one into the log, and a pin must not match what a replay does not.
    fn forget(&self, values: &mut FieldValues<'_>) {
        if !values.is_empty() {
            values.retain(|value| !self.has(value.field));
        }
    }

    /// Whether this field is at the node or below it.
    fn has(&self, field: u32) -> bool {
        self.field == Some(field) || self.children.values().any(|child| child.has(field))
    }
}

/// Reads the members of an object that have a node.
struct ObjectReader<'n, 'f, 'a> {
    node: &'n PathNode,
    values: &'f mut FieldValues<'a>,
}

impl<'a> Visitor<'a> for ObjectReader<'_, '_, 'a> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut members: A) -> Result<(), A::Error> {
        let Self { node, values } = self;
        while let Some(node) = members.next_key_seed(MemberName(node))? {
            match node {
                None => members.next_value::<IgnoredAny>().map(|_| ())?,
                Some(node) => {
                    node.forget(values);
                    read_value(node, members.next_value::<&RawValue>()?.get(), values).map_err(A::Error::custom)?;
                }
            }
        }
        Ok(())
    }
}

/// Reads the scalars of an array, each as a value of the field.
struct ArrayReader<'f, 'a> {
    field: u32,
    values: &'f mut FieldValues<'a>,
}

impl<'a> Visitor<'a> for ArrayReader<'_, 'a> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut elements: A) -> Result<(), A::Error> {
        let Self { field, values } = self;
        while let Some(element) = elements.next_element::<&RawValue>()? {
            let scalar = scalar(element.get()).map_err(A::Error::custom)?;
            values.extend(scalar.map(|value| FieldValue { field, value }));
        }
        Ok(())
    }
}

/// Reads the value at a node: its scalars, and the nested fields if it is an object.
fn read_value<'a>(node: &PathNode, text: &'a str, values: &mut FieldValues<'a>) -> serde_json::Result<()> {
    let mut json = serde_json::Deserializer::from_str(text);
    match (text.as_bytes().first(), node.field) {
        (Some(b'{'), _) if node.children.is_empty() => Ok(()),
        (Some(b'{'), _) => json.deserialize_map(ObjectReader { node, values }),
        (_, None) => Ok(()),
        (Some(b'['), Some(field)) => json.deserialize_seq(ArrayReader { field, values }),
        (_, Some(field)) => {
            values.extend(scalar(text)?.map(|value| FieldValue { field, value }));
            Ok(())
        }
    }
}

/// The scalar of a JSON text; `None` for arrays and objects. The text of a number is kept, since a double would round it.
fn scalar(text: &str) -> serde_json::Result<Option<Scalar<Cow<'_, str>>>> {
    Ok(Some(match text.as_bytes().first() {
        Some(b'"') => Scalar::String(string(text)?),
        Some(b't') => Scalar::Bool(true),
        Some(b'f') => Scalar::Bool(false),
        Some(b'n') => Scalar::Null,
        Some(b'{' | b'[') | None => return Ok(None),
        Some(_) => Scalar::of_number(text),
    }))
}

/// The string of a JSON text. One without escapes is borrowed.
fn string(text: &str) -> serde_json::Result<Cow<'_, str>> {
    match text.get(1..text.len() - 1) {
        Some(inner) if !inner.contains('\\') => Ok(Cow::Borrowed(inner)),
        _ => serde_json::from_str(text).map(Cow::Owned),
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
    use crate::event::Json;
    use serde_json::json;

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
    fn the_last_member_of_a_name_counts() {
        assert_eq!(read(&["a", "b"], r#"{"a":1,"b":2,"a":3}"#), ["b=Integer(2)", "a=Integer(3)"]);
        assert_eq!(read(&["a", "a.b"], r#"{"a":{"b":1},"a":[2,3]}"#), ["a=Integer(2)", "a=Integer(3)"]);
        assert_eq!(read(&["a", "a.b"], r#"{"a":[2,3],"a":{"b":1,"b":4}}"#), ["a.b=Integer(4)"]);
        assert_eq!(read(&["a.b"], r#"{"a":{"b":1},"a":{}}"#), [""; 0]);
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
            "1e400",
            "18446744073709551617",
            "true",
            "null",
            r#""""#,
            r#""x""#,
            r#""é\u00e9\n\"""#,
            r#""\ud83d\ude00""#,
        ] {
            let value = Json::parse(text).unwrap();
            let data = format!(r#"{{"a":{text}}}"#);
            let mut fields = Fields::default();
            fields.reference(&path("a"));
            let values = fields.read(&data).unwrap();
            assert_eq!(values[0].value, Scalar::of(&value).unwrap(), "{text}");
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
