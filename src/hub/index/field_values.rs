//! What filters ask of an event: the fields that they name, read out of its JSON, and nothing else of it.
//!
//! Most of an event is of no concern to any filter. It is passed over without being kept, a string that is wanted is lent
//! from the text: reading an event takes no memory. The fields have numbers, so that nothing compares names but this.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use slab::Slab;
use smallvec::SmallVec;

use crate::event::Scalar;

/// One thing that is so in an event: a field has this value, or contains it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldValue<'a> {
    pub field: u32,
    pub value: Scalar<Cow<'a, str>>,
}

/// What is so in one event; few filters name more than four fields.
pub type FieldValues<'a> = SmallVec<[FieldValue<'a>; 4]>;

/// The fields that filters name, by number.
#[derive(Debug, Default)]
pub struct Fields {
    root: Node,
    paths: Slab<Box<[Box<str>]>>,
}

/// A name on the way to fields.
#[derive(Debug, Default)]
struct Node {
    /// The field whose way ends here.
    field: Option<u32>,
    /// How often that field is named.
    named: u32,
    below: BTreeMap<Box<str>, Node>,
}

impl Fields {
    /// Adds one who names the field at the end of this way; its number.
    pub fn name(&mut self, path: &[Box<str>]) -> u32 {
        let mut node = &mut self.root;
        for name in path {
            node = node.below.entry(name.clone()).or_default();
        }
        node.named += 1;
        *node.field.get_or_insert_with(|| self.paths.insert(path.into()) as u32)
    }

    /// One who named the field does so no longer.
    pub fn forget(&mut self, field: u32) {
        if let Some(path) = self.paths.get(field as usize)
            && self.root.forget(path)
        {
            self.paths.remove(field as usize);
        }
    }

    /// How many fields are named.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    /// The number of a field that somebody names.
    pub fn number(&self, path: &[Box<str>]) -> Option<u32> {
        path.iter().try_fold(&self.root, |node, name| node.below.get(name))?.field
    }

    /// What is so in an event whose `data` this begins with; what follows it is not looked at.
    ///
    /// # Errors
    /// Where it is not JSON.
    pub fn read<'a>(&self, data: &'a str) -> serde_json::Result<FieldValues<'a>> {
        let mut values = FieldValues::new();
        let reader = Reader { node: &self.root, element: false, values: &mut values };
        reader.deserialize(&mut serde_json::Deserializer::from_str(data))?;
        Ok(values)
    }
}

impl Node {
    /// Whether nobody names the field any more.
    fn forget(&mut self, path: &[Box<str>]) -> bool {
        let Some((first, rest)) = path.split_first() else {
            self.named -= 1;
            if self.named == 0 {
                self.field = None;
            }
            return self.field.is_none();
        };
        let Some(node) = self.below.get_mut(first) else { return false };
        let forgotten = node.forget(rest);
        if node.field.is_none() && node.below.is_empty() {
            self.below.remove(first);
        }
        forgotten
    }
}

/// Reads the value that stands at a node, or an element of it.
struct Reader<'n, 'f, 'a> {
    node: &'n Node,
    element: bool,
    values: &'f mut FieldValues<'a>,
}

impl<'a> Reader<'_, '_, 'a> {
    fn note<E>(self, value: Scalar<Cow<'a, str>>) -> Result<(), E> {
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
        self.note(Scalar::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.note(Scalar::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.note(Scalar::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.note(Scalar::of_integer(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.note(Scalar::of_double(value))
    }

    fn visit_borrowed_str<E>(self, value: &'a str) -> Result<(), E> {
        self.note(Scalar::String(Cow::Borrowed(value)))
    }

    /// One with escapes in it.
    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.note(Scalar::String(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut elements: A) -> Result<(), A::Error> {
        // No filter reaches into an array within an array.
        if self.element || self.node.field.is_none() {
            return IgnoredAny.visit_seq(elements).map(|_| ());
        }
        let Self { node, values, .. } = self;
        while elements.next_element_seed(Reader { node, element: true, values })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'a>>(self, mut members: A) -> Result<(), A::Error> {
        if self.element || self.node.below.is_empty() {
            return IgnoredAny.visit_map(members).map(|_| ());
        }
        let Self { node, values, .. } = self;
        while let Some(node) = members.next_key_seed(Name(node))? {
            match node {
                Some(node) => members.next_value_seed(Reader { node, element: false, values })?,
                None => members.next_value::<IgnoredAny>().map(|_| ())?,
            }
        }
        Ok(())
    }
}

/// Reads a member's name: the node that it leads to.
struct Name<'n>(&'n Node);

impl<'a, 'n> DeserializeSeed<'a> for Name<'n> {
    type Value = Option<&'n Node>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'n> Visitor<'_> for Name<'n> {
    type Value = Option<&'n Node>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.below.get(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn path(name: &str) -> Vec<Box<str>> {
        name.split('.').map(Box::from).collect()
    }

    /// What is so in `data` of the fields `names`, as `NAME=VALUE`.
    fn read(names: &[&str], data: &str) -> Vec<String> {
        let mut fields = Fields::default();
        let numbers: Vec<u32> = names.iter().map(|name| fields.name(&path(name))).collect();
        let name = |field| names[numbers.iter().position(|number| *number == field).unwrap()];
        let values = fields.read(data).unwrap();
        values.iter().map(|value| format!("{}={:?}", name(value.field), value.value)).collect()
    }

    #[test]
    fn only_what_is_named_is_read() {
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
    fn an_array_is_each_of_its_elements() {
        let data = json!({"a": ["x", 1, null, ["y"], {"b": 2}, "x"], "b": [[1]], "c": []}).to_string();
        assert_eq!(read(&["a", "b", "c"], &data), [r#"a=String("x")"#, "a=Integer(1)", "a=Null", r#"a=String("x")"#]);
        assert_eq!(read(&["a.b", "b.a"], &data), [""; 0]);
    }

    #[test]
    fn scalars_are_those_of_a_parsed_value() {
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
            fields.name(&path("a"));
            let values = fields.read(&data).unwrap();
            assert_eq!(values[0].value.lent(), Scalar::of(&value).unwrap(), "{text}");
            assert_eq!(values.len(), 1, "{text}");
        }
    }

    #[test]
    fn names_with_escapes_are_names() {
        let data = r#"{"\u0061":1,"a\"b":2,"a.b":3}"#;
        assert_eq!(read(&["a"], data), ["a=Integer(1)"]);
        let mut fields = Fields::default();
        let dotted = fields.name(&["a.b".into()]);
        let quoted = fields.name(&["a\"b".into()]);
        assert_eq!(fields.read(data).unwrap().iter().map(|value| value.field).collect::<Vec<_>>(), [quoted, dotted]);
    }

    #[test]
    fn what_is_not_named_may_be_as_deep_as_it_likes() {
        let deep = format!(r#"{{"x":{}{},"a":1}}"#, "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(read(&["a"], &deep), ["a=Integer(1)"]);
        assert_eq!(read(&["x", "a"], &deep), ["a=Integer(1)"]);
    }

    #[test]
    fn a_field_is_known_as_long_as_somebody_names_it() {
        let mut fields = Fields::default();
        let (outer, inner) = (fields.name(&path("a")), fields.name(&path("a.b.c")));
        assert_eq!(fields.name(&path("a")), outer);
        fields.forget(outer);
        assert_eq!(fields.number(&path("a")), Some(outer));
        fields.forget(outer);
        assert_eq!((fields.number(&path("a")), fields.number(&path("a.b.c"))), (None, Some(inner)));
        assert_eq!(fields.number(&path("a.b")), None);
        fields.forget(inner);
        assert!(fields.root.below.is_empty() && fields.paths.is_empty());
    }
}
