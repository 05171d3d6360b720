//! Names for the schemas of types and for the schemas that they refer to, as generated code and the event schema use them.
//!
//! A type's schema is named after its `title` if that is an identifier, else after the type. A schema that others refer to
//! is named after the last part of the reference. Equal schemas share a name.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::schema_node::SchemaNode;
use super::schema_same::same;

/// The names given so far. Each is PascalCase and unique.
#[derive(Debug, Default)]
pub struct SchemaNames<'a> {
    used: HashSet<String>,
    by_schema: HashMap<*const Value, String>,
    /// The named targets of references, by the last part of the reference.
    referred: HashMap<String, Vec<SchemaNode<'a>>>,
}

impl<'a> SchemaNames<'a> {
    /// `reserved`: names that no schema gets.
    pub fn new(reserved: &[&str]) -> Self {
        Self { used: reserved.iter().copied().map(str::to_owned).collect(), ..Self::default() }
    }

    /// Names the schema of the event type `name`.
    pub fn root(&mut self, name: &str, schema: &'a Value) -> String {
        let title = schema.get("title").and_then(Value::as_str).filter(|title| pascal_case(title) == **title);
        let name = self.unused([title.unwrap_or(name), name]);
        self.by_schema.insert(SchemaNode::root(schema).address(), name.clone());
        name
    }

    /// The name of a schema that a schema of the type named `owner` refers to. `hint` is the last part of the reference.
    ///
    /// The flag says whether the name is new: the caller then has to declare the schema under it.
    pub fn referred(&mut self, target: SchemaNode<'a>, hint: &str, owner: &str) -> (String, bool) {
        if let Some(name) = self.by_schema.get(&target.address()) {
            return (name.clone(), false);
        }
        let alike = self.referred.get(hint).and_then(|known| known.iter().find(|known| same(**known, target)));
        let known = alike.and_then(|alike| self.by_schema.get(&alike.address())).cloned();
        let is_new = known.is_none();
        let name = known.unwrap_or_else(|| {
            self.referred.entry(hint.to_owned()).or_default().push(target);
            self.unused([hint, &format!("{owner}-{hint}")])
        });
        self.by_schema.insert(target.address(), name.clone());
        (name, is_new)
    }

    /// An unused name: the first of `candidates` that is free, else the last of them with a number.
    pub fn unused<const N: usize>(&mut self, candidates: [&str; N]) -> String {
        let candidates = candidates.map(pascal_case);
        let last = candidates.last().cloned().unwrap_or_default();
        let numbered = (2..).map(|number: u32| format!("{last}{number}"));
        let free = candidates.into_iter().chain(numbered).find(|name| self.used.insert(name.clone()));
        free.unwrap_or(last)
    }
}

/// `inventory-change` becomes `InventoryChange`.
fn pascal_case(text: &str) -> String {
    let mut name = String::new();
    for word in text.split(|char: char| !char.is_ascii_alphanumeric()).filter(|word| !word.is_empty()) {
        let (first, rest) = word.split_at(1);
        name.push_str(&first.to_ascii_uppercase());
        name.push_str(rest);
    }
    match name.chars().next() {
        None => "Type".into(),
        Some(first) if first.is_ascii_digit() => format!("_{name}"),
        Some(_) => name,
    }
}
