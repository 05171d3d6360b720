//! References between the schemas of a document, and the texts of their descriptions.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::schema::without_links;

/// Where a document has schemas.
pub(super) const AT: &str = "#/components/schemas/";

/// A reference to a schema by name.
pub(in crate::http) fn reference(name: &str) -> Value {
    json!({ "$ref": format!("{AT}{name}") })
}

/// The names of the schemas that these, and the schemas to which they refer, refer to; and they themselves.
pub(in crate::http) fn reachable<'n>(
    all: &Map<String, Value>,
    names: impl IntoIterator<Item = &'n str>,
) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut waiting: Vec<String> = names.into_iter().map(str::to_owned).collect();
    while let Some(name) = waiting.pop() {
        if let (Some(schema), true) = (all.get(&name), found.insert(name)) {
            references(schema, &mut |name| waiting.push(name.to_owned()));
        }
    }
    found
}

/// Calls `each` with the name of every schema to which a part of `document` refers.
pub(in crate::http) fn references(document: &Value, each: &mut impl FnMut(&str)) {
    match document {
        Value::Object(members) => {
            if let Some(name) = members.get("$ref").and_then(Value::as_str).and_then(|to| to.strip_prefix(AT)) {
                each(name);
            }
            members.values().for_each(|member| references(member, each));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, each)),
        _ => {}
    }
}

/// Writes the descriptions of a schema without the links of rustdoc.
pub(super) fn plain(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(text) if name == "description" => *text = without_links(text),
                    member => plain(member),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(plain),
        _ => {}
    }
}
