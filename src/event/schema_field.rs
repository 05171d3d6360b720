//! The fields of `data`, as far as a JSON Schema tells: where each is, and of which types it can be.

use std::collections::BTreeSet;

use serde_json::Value;

use super::mistake::type_name;
use super::schema_node::SchemaNode;

/// A field that a schema has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaField<'a> {
    /// The way to it, a name for each level.
    pub path: Vec<Box<str>>,
    /// What it can be, by JSON Schema's names; the types of its elements too, where it can be an array.
    pub types: BTreeSet<&'a str>,
}

const ALL_TYPES: [&str; 6] = ["array", "boolean", "null", "number", "object", "string"];

/// The keywords by which a schema says something through another one.
const REFERRING: [&str; 6] = ["$ref", "allOf", "anyOf", "oneOf", "then", "else"];

/// The longest name, in bytes, and the most levels of one: a schema that refers to itself has no end of its own.
const MAX_NAME: usize = 1_024;
const MAX_LEVELS: usize = 32;

impl<'a> SchemaField<'a> {
    /// The field that a name, dotted for nested fields, means in documents of `schema`; `None` where it has no such one.
    ///
    /// A name that itself contains a dot is taken before a nested one. No field has more than 1,024 bytes or 32 levels.
    pub fn find(schema: &'a Value, name: &str) -> Option<Self> {
        if name.len() > MAX_NAME {
            return None;
        }
        let mut path = Vec::new();
        let mut nodes = vec![SchemaNode::root(schema)];
        let mut rest = name;
        while path.len() < MAX_LEVELS {
            let whole = step(&nodes, rest);
            if !whole.is_empty() {
                path.push(rest.into());
                return Some(Self { path, types: types(&whole, true) });
            }
            let (first, others) = rest.split_once('.')?;
            nodes = step(&nodes, first);
            if nodes.is_empty() {
                return None;
            }
            path.push(first.into());
            rest = others;
        }
        None
    }
}

/// What a value that fits `nodes` can be. `elements`: whether those of an array count too; not those of an array within
/// it, which no filter reaches.
fn types<'a>(nodes: &[SchemaNode<'a>], elements: bool) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    for node in forms(nodes) {
        let says = |keyword: &str| node.schema.get(keyword);
        match says("type") {
            Some(Value::String(name)) => {
                found.insert(name.as_str());
            }
            Some(Value::Array(names)) => found.extend(names.iter().filter_map(Value::as_str)),
            _ => match (says("const"), says("enum").and_then(Value::as_array)) {
                (Some(only), _) => {
                    found.insert(type_name(only));
                }
                (None, Some(options)) => found.extend(options.iter().map(|option| type_name(option))),
                // A form that only refers to others says nothing itself.
                (None, None) if REFERRING.iter().any(|keyword| says(keyword).is_some()) => {}
                (None, None) => found.extend(ALL_TYPES),
            },
        }
        match says("items") {
            Some(items) if elements => found.extend(types(&[node.child(items)], false)),
            None if elements && says("type").is_some_and(|name| name == "array") => found.extend(ALL_TYPES),
            _ => {}
        }
    }
    if found.is_empty() {
        found.extend(ALL_TYPES);
    }
    found
}

/// The schemas of the field `name` under any of `nodes`.
fn step<'a>(nodes: &[SchemaNode<'a>], name: &str) -> Vec<SchemaNode<'a>> {
    let field = |node: SchemaNode<'a>| {
        let own = node.schema.get("properties").and_then(|fields| fields.get(name));
        // A map: every key is a field of it.
        let any = || node.schema.get("additionalProperties").filter(|values| values.is_object());
        own.or_else(any).map(|schema| node.child(schema))
    };
    forms(nodes).into_iter().filter_map(field).collect()
}

/// `nodes` and all the schemas that they refer to or are composed of.
fn forms<'a>(nodes: &[SchemaNode<'a>]) -> Vec<SchemaNode<'a>> {
    let mut seen: Vec<SchemaNode<'a>> = Vec::new();
    let mut waiting = nodes.to_vec();
    while let Some(node) = waiting.pop() {
        if !node.schema.is_object() || seen.iter().any(|known| known.address() == node.address()) {
            continue;
        }
        seen.push(node);
        if let Some(reference) = node.schema.get("$ref").and_then(Value::as_str) {
            waiting.extend(node.resolve(reference).map(|(target, _)| target));
        }
        for keyword in ["allOf", "anyOf", "oneOf"] {
            let parts = node.schema.get(keyword).and_then(Value::as_array).into_iter().flatten();
            waiting.extend(parts.map(|part| node.child(part)));
        }
        for keyword in ["then", "else"] {
            waiting.extend(node.schema.get(keyword).map(|part| node.child(part)));
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_are_found_behind_every_kind_of_reference() {
        let schema = json!({
            "$id": "https://example.com/order",
            "allOf": [{ "$ref": "#/$defs/a%20b" }, { "$ref": "#anchored" }, { "$ref": "https://example.com/order#/$defs/c" }],
            "$defs": {
                "a b": { "properties": { "one": { "type": "string" } } },
                "x": { "$anchor": "anchored", "properties": { "two": { "properties": { "deep": { "enum": [1, null] } } } } },
                "c": { "properties": { "three": { "type": "array", "items": { "type": "integer" } } } },
            },
        });
        let types =
            |name| SchemaField::find(&schema, name).map(|field| field.types.into_iter().collect::<Vec<_>>().join(" "));
        assert_eq!(types("one").unwrap(), "string");
        assert_eq!(types("two.deep").unwrap(), "null number");
        assert_eq!(types("three").unwrap(), "array integer");
        assert_eq!(types("four"), None);
        assert_eq!(types("one.deep"), None);
    }

    #[test]
    fn recursive_schemas_end() {
        let schema = json!({ "allOf": [{ "$ref": "#" }], "type": "array", "items": { "$ref": "#" },
            "properties": { "a": { "$ref": "#" } } });
        assert!(SchemaField::find(&schema, "a.a.a").is_some());
        assert_eq!(SchemaField::find(&schema, "b"), None);
    }

    #[test]
    fn a_name_is_bounded() {
        let schema = json!({ "properties": { "a": { "$ref": "#" } }, "additionalProperties": { "type": "string" } });
        assert!(SchemaField::find(&schema, &vec!["a"; 32].join(".")).is_some());
        let schema = json!({ "properties": { "a": { "$ref": "#" } } });
        assert!(SchemaField::find(&schema, &vec!["a"; 32].join(".")).is_some());
        assert_eq!(SchemaField::find(&schema, &vec!["a"; 33].join(".")), None);
        let schema = json!({ "additionalProperties": { "type": "string" } });
        assert!(SchemaField::find(&schema, &"x".repeat(1024)).is_some());
        assert_eq!(SchemaField::find(&schema, &"x".repeat(1025)), None);
    }
}
