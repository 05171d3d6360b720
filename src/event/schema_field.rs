//! A field of `data`, looked up in a JSON Schema: its path and the types that it can have.
//!
//! Filters use it to refuse unknown fields and impossible values; the command line uses it to turn words into JSON.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::mistake::type_name;
use super::schema_node::SchemaNode;

/// A field that a schema allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaField<'a> {
    /// The path to the field: one name for each level of nesting.
    pub path: Vec<Box<str>>,
    /// The JSON Schema types that its value can have. For an array, also those of its elements.
    pub types: BTreeSet<&'a str>,
}

const ALL_TYPES: [&str; 6] = ["array", "boolean", "null", "number", "object", "string"];

/// Keywords through which a schema takes its rules from other schemas.
const REFERRING: [&str; 6] = ["$ref", "allOf", "anyOf", "oneOf", "then", "else"];

/// The maximum length of a dotted name, in bytes.
const MAX_NAME: usize = 1_024;
/// The maximum number of levels of a dotted name. A recursive schema would allow any number.
const MAX_LEVELS: usize = 32;

impl<'a> SchemaField<'a> {
    /// Looks up a field by its name, which is dotted for nested fields; `None` if `schema` has no such field.
    ///
    /// A field whose own name contains a dot wins over a nested one. A name of more than 1,024 bytes or 32 levels is never
    /// found.
    pub fn find(schema: &'a Value, name: &str) -> Option<Self> {
        locate(schema, name).map(|(path, found)| Self { path, types: types(&found, true) })
    }
}

/// The path to a field, by its name as for [`SchemaField::find`].
pub(super) fn path_of(schema: &Value, name: &str) -> Option<Vec<Box<str>>> {
    locate(schema, name).map(|(path, _)| path)
}

/// The path to a field, and the schemas that describe it.
fn locate<'a>(schema: &'a Value, name: &str) -> Option<(Vec<Box<str>>, Vec<SchemaNode<'a>>)> {
    if name.len() > MAX_NAME {
        return None;
    }
    let mut path = Vec::new();
    let mut nodes = vec![SchemaNode::root(schema)];
    let mut rest = name;
    while path.len() < MAX_LEVELS {
        let found = step(&nodes, rest);
        if !found.is_empty() {
            path.push(rest.into());
            return Some((path, found));
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

/// The names of the fields that `schema` has at a JSON Pointer into `data`, which leads through arrays too.
pub(super) fn names_at<'a>(schema: &'a Value, pointer: &str) -> Vec<&'a str> {
    let mut nodes = vec![SchemaNode::root(schema)];
    for token in pointer.split('/').skip(1) {
        let name = token.replace("~1", "/").replace("~0", "~");
        let fields = step(&nodes, &name);
        nodes = if fields.is_empty() { elements(&nodes) } else { fields };
    }
    names(&nodes)
}

/// The names of the fields nearest to a dotted name that [`SchemaField::find`] does not find, each with the path to it:
/// those of the deepest object on the name's path that exists.
pub(super) fn names_near(schema: &Value, name: &str) -> Vec<String> {
    let mut nodes = vec![SchemaNode::root(schema)];
    let (mut path, mut rest) = (String::new(), name);
    while let Some((first, others)) = rest.split_once('.') {
        let next = step(&nodes, first);
        if names(&next).is_empty() {
            break;
        }
        path.extend([first, "."]);
        (nodes, rest) = (next, others);
    }
    names(&nodes).into_iter().map(|name| format!("{path}{name}")).collect()
}

/// The names in `properties` of all schemas that apply.
fn names<'a>(nodes: &[SchemaNode<'a>]) -> Vec<&'a str> {
    let mut found = Vec::new();
    for node in applicable(nodes) {
        for name in node.schema.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::keys) {
            if !found.contains(&name.as_str()) {
                found.push(name.as_str());
            }
        }
    }
    found
}

/// The schemas of the elements of an array.
fn elements<'a>(nodes: &[SchemaNode<'a>]) -> Vec<SchemaNode<'a>> {
    let of_one = |node: SchemaNode<'a>| {
        let positional = node.schema.get("prefixItems").and_then(Value::as_array).into_iter().flatten();
        positional.chain(node.schema.get("items")).map(move |schema| node.child(schema))
    };
    applicable(nodes).into_iter().flat_map(of_one).collect()
}

/// The types of a value that matches any of `nodes`.
///
/// `elements`: whether the types of an array's elements count, too. Those of an array within an array never do, because
/// no filter reaches them.
fn types<'a>(nodes: &[SchemaNode<'a>], elements: bool) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    for node in applicable(nodes) {
        let keyword = |keyword: &str| node.schema.get(keyword);
        match keyword("type") {
            Some(Value::String(name)) => {
                found.insert(name.as_str());
            }
            Some(Value::Array(names)) => found.extend(names.iter().filter_map(Value::as_str)),
            _ => match (keyword("const"), keyword("enum").and_then(Value::as_array)) {
                (Some(only), _) => {
                    found.insert(type_name(only));
                }
                (None, Some(options)) => found.extend(options.iter().map(|option| type_name(option))),
                // The types come from the schemas that this one refers to.
                (None, None) if REFERRING.iter().any(|name| keyword(name).is_some()) => {}
                (None, None) => found.extend(ALL_TYPES),
            },
        }
        match keyword("items") {
            Some(items) if elements => found.extend(types(&[node.child(items)], false)),
            None if elements && keyword("type").is_some_and(|name| name == "array") => found.extend(ALL_TYPES),
            _ => {}
        }
    }
    if found.is_empty() {
        found.extend(ALL_TYPES);
    }
    found
}

/// The schemas of the field `name` in any of `nodes`.
fn step<'a>(nodes: &[SchemaNode<'a>], name: &str) -> Vec<SchemaNode<'a>> {
    let field = |node: SchemaNode<'a>| {
        let own = node.schema.get("properties").and_then(|fields| fields.get(name));
        // The schema describes a map: every key is a field.
        let of_map = || node.schema.get("additionalProperties").filter(|values| values.is_object());
        own.or_else(of_map).map(|schema| node.child(schema))
    };
    applicable(nodes).into_iter().filter_map(field).collect()
}

/// `nodes`, and all schemas that apply to the same value because `nodes` refer to them or combine them.
fn applicable<'a>(nodes: &[SchemaNode<'a>]) -> Vec<SchemaNode<'a>> {
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
            "allOf": [{ "$ref": "#/$defs/a%20b" }, { "$ref": "#anchored" }, { "$ref": "https://example.com/order#/$defs/c" },
                { "$ref": "embedded" }],
            "$defs": {
                "a b": { "properties": { "one": { "type": "string" } } },
                "x": { "$anchor": "anchored", "properties": { "two": { "properties": { "deep": { "enum": [1, null] } } } } },
                "embedded": { "$id": "embedded", "properties": { "five": { "type": "boolean" } } },
                "c": { "properties": { "three": { "type": "array", "items": { "type": "integer" } } } },
            },
        });
        let types =
            |name| SchemaField::find(&schema, name).map(|field| field.types.into_iter().collect::<Vec<_>>().join(" "));
        assert_eq!(types("one").unwrap(), "string");
        assert_eq!(types("two.deep").unwrap(), "null number");
        assert_eq!(types("three").unwrap(), "array integer");
        assert_eq!(types("five").unwrap(), "boolean");
        assert_eq!(types("four"), None);
        assert_eq!(types("one.deep"), None);
    }

    #[test]
    fn a_lookup_in_a_recursive_schema_ends() {
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
