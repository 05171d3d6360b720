//! Translates JSON Schemas to TypeScript types: each keyword that restricts the type narrows it, others are ignored.

use std::collections::{HashMap, HashSet, VecDeque};

use serde_json::{Map, Value};

use super::shape::{Field, Object, Shape, Tuple};
use crate::event::{SchemaNames, SchemaNode};

/// A declared type: one with a name.
#[derive(Debug)]
pub(super) struct Declared {
    pub name: String,
    pub doc: Option<String>,
    pub shape: Shape,
}

/// Translates schemas, and gives a name to each schema that another refers to.
///
/// A named schema is queued when a reference meets it, and translated once, later. So recursive schemas end.
#[derive(Debug)]
pub(super) struct Translator<'a> {
    names: SchemaNames<'a>,
    roots: Vec<(String, SchemaNode<'a>)>,
    queue: VecDeque<(String, SchemaNode<'a>)>,
}

/// The rules of the enclosing schemas for the same value, such as those around an `anyOf` for its branches.
#[derive(Debug, Clone, Default)]
struct Context<'a> {
    kinds: Option<Vec<&'a str>>,
    fields: HashMap<String, Shape>,
}

const OF_OBJECTS: [&str; 4] = ["properties", "required", "additionalProperties", "patternProperties"];
const OF_ARRAYS: [&str; 2] = ["prefixItems", "items"];

impl<'a> Translator<'a> {
    /// `reserved`: names that no declaration may have.
    pub fn new<const N: usize>(reserved: [&str; N]) -> Self {
        Self { names: SchemaNames::new(&reserved), roots: Vec::new(), queue: VecDeque::new() }
    }

    /// Adds the schema of the event type `name`. Returns its name in TypeScript.
    pub fn root(&mut self, name: &str, schema: &'a Value) -> String {
        let name = self.names.root(name, schema);
        self.roots.push((name.clone(), SchemaNode::root(schema)));
        name
    }

    /// Translates all added schemas. Each is followed by the schemas that it refers to.
    pub fn finish(mut self) -> Vec<Declared> {
        let mut declared = Vec::new();
        for root in std::mem::take(&mut self.roots) {
            let owner = root.0.clone();
            self.queue.push_back(root);
            while let Some((name, node)) = self.queue.pop_front() {
                let shape = self.schema(node, &owner, &Context::default());
                declared.push(Declared { name, doc: doc(node.schema), shape });
            }
        }
        break_cycles(&mut declared);
        declared
    }

    fn schema(&mut self, node: SchemaNode<'a>, owner: &str, known: &Context<'a>) -> Shape {
        let schema = match node.schema {
            Value::Object(schema) => schema,
            Value::Bool(false) => return Shape::Never,
            _ => return Shape::Unknown,
        };
        let mut shape = self.structure(node, schema, owner, known);
        let mut inner = known.clone();
        inner.kinds = kinds(schema).or(inner.kinds);
        inner.fields.extend(shape.fields().iter().map(|field| (field.name.clone(), field.shape.clone())));
        shape = shape.and(schema.get("const").map_or(Shape::Unknown, Shape::of_value));
        if let Some(Value::Array(values)) = schema.get("enum") {
            shape = shape.and(Shape::union(values.iter().map(Shape::of_value)));
        }
        if let Some(Value::String(reference)) = schema.get("$ref") {
            shape = self.reference(node, reference, owner).and(shape);
        }
        for keyword in ["allOf", "anyOf", "oneOf"] {
            let Some(Value::Array(branches)) = schema.get(keyword) else { continue };
            let branches: Vec<_> =
                branches.iter().map(|branch| self.schema(node.child(branch), owner, &inner)).collect();
            shape = shape.and(if keyword == "allOf" { Shape::intersection(branches) } else { Shape::union(branches) });
        }
        shape
    }

    /// The type from the keyword `type` and the keywords of objects and arrays.
    fn structure(
        &mut self,
        node: SchemaNode<'a>,
        schema: &'a Map<String, Value>,
        owner: &str,
        known: &Context<'a>,
    ) -> Shape {
        let has = |keywords: &[&str]| keywords.iter().any(|keyword| schema.contains_key(*keyword));
        let (of_objects, of_arrays) = (has(&OF_OBJECTS), has(&OF_ARRAYS));
        let around = || known.kinds.clone().filter(|_| of_objects || of_arrays);
        let kinds = kinds(schema).or_else(around).unwrap_or_else(|| {
            let meant = [("object", of_objects), ("array", of_arrays)];
            meant.into_iter().filter_map(|(kind, is_meant)| is_meant.then_some(kind)).collect()
        });
        if kinds.is_empty() {
            return Shape::Unknown;
        }
        Shape::union(kinds.into_iter().map(|kind| match kind {
            "string" => Shape::Keyword("string"),
            "number" | "integer" => Shape::Keyword("number"),
            "boolean" => Shape::Keyword("boolean"),
            "null" => Shape::Keyword("null"),
            "object" => Shape::Object(self.object(node, schema, owner, known)),
            "array" => self.array(node, schema, owner),
            _ => Shape::Unknown,
        }))
    }

    fn object(
        &mut self,
        node: SchemaNode<'a>,
        schema: &'a Map<String, Value>,
        owner: &str,
        known: &Context<'a>,
    ) -> Object {
        let nothing = Context::default();
        let required: Vec<&str> = strings(schema.get("required")).collect();
        let from_outside = |name: &str| known.fields.get(name).cloned().unwrap_or(Shape::Unknown);
        let mut fields: Vec<Field> = Vec::new();
        for (name, property) in members(schema.get("properties")) {
            let shape = from_outside(name).and(self.schema(node.child(property), owner, &nothing));
            fields.push(Field { name: name.clone(), doc: doc(property), required: required.contains(&&**name), shape });
        }
        for name in required {
            if !fields.iter().any(|field| field.name == name) {
                fields.push(Field { name: name.into(), doc: None, required: true, shape: from_outside(name) });
            }
        }

        let mut others: Vec<Shape> = members(schema.get("patternProperties"))
            .map(|(_, property)| self.schema(node.child(property), owner, &nothing))
            .collect();
        match schema.get("additionalProperties") {
            None if others.is_empty() => return Object { fields, index: None },
            None => others.push(Shape::Unknown),
            Some(Value::Bool(false)) if others.is_empty() && !fields.is_empty() => {
                return Object { fields, index: None };
            }
            Some(additional) => others.push(self.schema(node.child(additional), owner, &nothing)),
        }
        // In TypeScript an index signature covers the named fields, too.
        others.extend(fields.iter().map(|field| field.shape.clone()));
        if fields.iter().any(|field| !field.required) {
            others.push(Shape::Keyword("undefined"));
        }
        Object { fields, index: Some(Box::new(Shape::union(others))) }
    }

    fn array(&mut self, node: SchemaNode<'a>, schema: &'a Map<String, Value>, owner: &str) -> Shape {
        let nothing = Context::default();
        let count = |keyword: &str| schema.get(keyword).and_then(Value::as_f64).map(|count| count as usize);
        let items = schema.get("items").map_or(Shape::Unknown, |items| self.schema(node.child(items), owner, &nothing));
        let Some(Value::Array(first)) = schema.get("prefixItems") else { return Shape::Array(Box::new(items)) };
        let most = count("maxItems").unwrap_or(usize::MAX);
        let members: Vec<_> =
            first.iter().take(most).map(|member| self.schema(node.child(member), owner, &nothing)).collect();
        let required = count("minItems").unwrap_or(0).min(members.len());
        let rest = (items != Shape::Never && most > members.len()).then(|| Box::new(items));
        Shape::Tuple(Tuple { members, required, rest })
    }

    fn reference(&mut self, node: SchemaNode<'a>, reference: &str, owner: &str) -> Shape {
        let Some((target, hint)) = node.resolve(reference) else { return Shape::Unknown };
        if !target.schema.is_object() {
            return self.schema(target, owner, &Context::default());
        }
        let (name, is_new) = self.names.referred(target, &hint, owner);
        if is_new {
            self.queue.push_back((name.clone(), target));
        }
        Shape::Name(name)
    }
}

/// Removes references by which a type would consist of itself, such as `type A = A | string`: TypeScript refuses them.
fn break_cycles(declared: &mut [Declared]) {
    for index in 0..declared.len() {
        let leads_back = |name: &str, declared: &[Declared]| {
            let mut seen = HashSet::new();
            let mut waiting = vec![name.to_owned()];
            while let Some(name) = waiting.pop() {
                if name == declared[index].name {
                    return true;
                }
                if let Some(next) = declared.iter().find(|other| other.name == name).filter(|_| seen.insert(name)) {
                    waiting.extend(next.shape.names().into_iter().map(str::to_owned));
                }
            }
            false
        };
        let circular: Vec<String> = declared[index]
            .shape
            .names()
            .into_iter()
            .filter(|name| leads_back(name, declared))
            .map(str::to_owned)
            .collect();
        if !circular.is_empty() {
            let shape = std::mem::replace(&mut declared[index].shape, Shape::Unknown);
            declared[index].shape = shape.replace_names(&|name| {
                if circular.contains(&name) { Shape::Unknown } else { Shape::Name(name) }
            });
        }
    }
}

/// The names in the keyword `type`, if the schema has it.
fn kinds(schema: &Map<String, Value>) -> Option<Vec<&str>> {
    match schema.get("type")? {
        Value::String(kind) => Some(vec![kind]),
        several => Some(strings(Some(several)).collect()),
    }
}

fn strings(value: Option<&Value>) -> impl Iterator<Item = &str> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn members(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value.and_then(Value::as_object).into_iter().flatten()
}

fn doc(schema: &Value) -> Option<String> {
    let description = schema.get("description").and_then(Value::as_str);
    let deprecated = schema.get("deprecated").and_then(Value::as_bool).unwrap_or(false).then_some("@deprecated");
    let lines: Vec<&str> = description.into_iter().chain(deprecated).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}
