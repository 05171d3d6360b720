//! Brings the schemas of several types under the `$defs` of one document, where code generators of all languages find them.
//!
//! Each type's schema, and each schema that it refers to, becomes a definition with a name and a `title`. A reference of
//! any form (to `#`, a pointer, an anchor, an embedded `$id`) becomes `#/$defs/NAME`. So no definition needs an `$id`,
//! `$anchor` or `$defs` of its own, of which generators understand little.

use std::collections::VecDeque;

use serde_json::{Map, Value, json};

use super::schema_names::SchemaNames;
use super::schema_node::SchemaNode;

/// Keywords whose value is a schema.
const SCHEMA: [&str; 11] = [
    "additionalProperties",
    "contains",
    "contentSchema",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
];
/// Keywords whose value is a list of schemas.
const LIST: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];
/// Keywords whose value maps names to schemas.
const BY_NAME: [&str; 3] = ["dependentSchemas", "patternProperties", "properties"];
/// Keywords that identify or hold schemas. A definition has none: its name identifies it.
const DROPPED: [&str; 7] = ["$anchor", "$defs", "$dynamicAnchor", "$id", "$schema", "$vocabulary", "definitions"];

/// The definitions of one document.
#[derive(Debug)]
pub(super) struct Definitions<'a> {
    names: SchemaNames<'a>,
    /// The named schemas that are not yet rewritten, and whether each is a type's schema.
    queue: VecDeque<(String, SchemaNode<'a>)>,
    written: Map<String, Value>,
}

impl<'a> Definitions<'a> {
    /// `reserved`: names that no definition of a type gets.
    pub fn new(reserved: &[&str]) -> Self {
        Self { names: SchemaNames::new(reserved), queue: VecDeque::new(), written: Map::new() }
    }

    /// Adds the schema of the event type `name`. Returns the name of its definition.
    pub fn root(&mut self, name: &str, schema: &'a Value) -> String {
        let name = self.names.root(name, schema);
        self.queue.push_back((name.clone(), SchemaNode::root(schema)));
        name
    }

    /// Adds a definition as it is. Returns its name: `name`, with a number if that is taken.
    pub fn add(&mut self, name: &str, schema: Value) -> String {
        let name = self.names.unused([name]);
        self.written.insert(name.clone(), titled(&name, schema));
        name
    }

    /// The definitions: those of the types, and after each those that it refers to.
    pub fn finish(mut self) -> Map<String, Value> {
        for root in std::mem::take(&mut self.queue) {
            let owner = root.0.clone();
            self.queue.push_back(root);
            while let Some((name, node)) = self.queue.pop_front() {
                let schema = self.rewritten(node, &owner);
                self.written.insert(name.clone(), titled(&name, schema));
            }
        }
        self.written
    }

    /// A schema without identifiers and definitions of its own, whose references lead to definitions of this document.
    fn rewritten(&mut self, node: SchemaNode<'a>, owner: &str) -> Value {
        let Value::Object(schema) = node.schema else { return node.schema.clone() };
        let mut new = Map::new();
        let mut references = Vec::new();
        for (keyword, value) in schema {
            let value = match (keyword.as_str(), value) {
                ("$ref", Value::String(reference)) => {
                    references
                        .push(self.reference(node.resolve(reference), owner).unwrap_or_else(|| reference.clone()));
                    continue;
                }
                ("$dynamicRef", Value::String(reference)) => {
                    // Where the target depends on the instance, the document allows too much rather than too little.
                    references.extend(self.reference(node.resolve_dynamic(reference), owner));
                    continue;
                }
                (keyword, _) if DROPPED.contains(&keyword) => continue,
                (keyword, schema) if SCHEMA.contains(&keyword) => self.rewritten(node.child(schema), owner),
                (keyword, Value::Array(schemas)) if LIST.contains(&keyword) => {
                    schemas.iter().map(|schema| self.rewritten(node.child(schema), owner)).collect()
                }
                (keyword, Value::Object(schemas)) if BY_NAME.contains(&keyword) => {
                    let rewritten = schemas.iter().map(|(name, schema)| {
                        let schema = self.rewritten(node.child(schema), owner);
                        (name.clone(), schema)
                    });
                    Value::Object(rewritten.collect())
                }
                (_, data) => data.clone(),
            };
            new.insert(keyword.clone(), value);
        }
        with_references(new, references)
    }

    /// The reference to a definition of `target`; `None` if there is no target.
    fn reference(&mut self, target: Option<(SchemaNode<'a>, String)>, owner: &str) -> Option<String> {
        let (target, hint) = target?;
        let (name, is_new) = self.names.referred(target, &hint, owner);
        if is_new {
            self.queue.push_back((name.clone(), target));
        }
        Some(format!("#/$defs/{name}"))
    }
}

/// Adds references to a schema. One beside other keywords goes into `allOf`: some generators take a `$ref` with a
/// description beside it for another type.
fn with_references(mut schema: Map<String, Value>, references: Vec<String>) -> Value {
    if let ([only], true) = (references.as_slice(), schema.is_empty()) {
        return json!({ "$ref": only });
    }
    if !references.is_empty() {
        let mut all: Vec<Value> = references.into_iter().map(|reference| json!({ "$ref": reference })).collect();
        if let Some(Value::Array(others)) = schema.remove("allOf") {
            all.extend(others);
        }
        schema.insert("allOf".into(), all.into());
    }
    Value::Object(schema)
}

/// A definition with its name as `title`, from which some generators name a type. A title in other words becomes the
/// description where there is none.
fn titled(name: &str, schema: Value) -> Value {
    let Value::Object(mut rest) = schema else { return schema };
    let title = rest.shift_remove("title").filter(|title| title != name);
    let mut titled = Map::from_iter([("title".to_owned(), Value::from(name))]);
    if let (Some(title), false) = (title, rest.contains_key("description")) {
        titled.insert("description".into(), title);
    }
    titled.extend(rest);
    Value::Object(titled)
}
