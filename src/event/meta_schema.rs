//! Why a JSON Schema cannot be used, in words: every violation of the meta-schema, and every `$ref` that leads nowhere.

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use serde_json::Value;

use super::SchemaError;
use super::mistake::{self, Mistake, escape};
use super::schema_node::SchemaNode;
use crate::suggest::{self, Known};

/// The most violations that are reported for one schema.
const MAX: usize = 20;

/// Every violation of the meta-schema of draft 2020-12. If there is none, the references that lead nowhere.
pub(super) fn of(schema: &Value) -> Vec<SchemaError> {
    let meta = jsonschema::draft202012::meta::validator();
    let found: Vec<_> = mistake::mistakes(meta.iter_errors(schema), "", &|_| Vec::new(), MAX).into_iter().collect();
    if !found.is_empty() {
        let words = |mistake: Mistake| match mistake.pointer.ends_with("/$id") && mistake.message.contains("pattern") {
            true => at(&mistake.pointer, "must be a URI without a fragment (#…)".into()),
            false => at(&mistake.pointer, mistake.message),
        };
        return found.into_iter().map(words).collect();
    }
    let mut dangling = Vec::new();
    references(SchemaNode::root(schema), schema, "", &mut dangling);
    dangling
}

/// An error of the validator's compiler.
pub(super) fn describe(error: &ValidationError<'_>) -> SchemaError {
    match error.kind() {
        ValidationErrorKind::Referencing(error) => {
            let text = error.to_string();
            // The words of the validator are about its own features.
            let document = text.strip_prefix("Resource '").and_then(|rest| rest.split('\'').next());
            at(
                "",
                document.map_or(format!("a $ref cannot be followed: {error}"), |uri| {
                    format!("a $ref leads to {uri}, and the daemon fetches no schemas: copy that schema into $defs, with its $id")
                }),
            )
        }
        _ => {
            let mut found = Vec::new();
            mistake::describe(error, "", &|_| Vec::new(), &mut found);
            found.pop().map_or_else(|| at("", error.to_string()), |mistake| at(&mistake.pointer, mistake.message))
        }
    }
}

fn at(pointer: &str, message: String) -> SchemaError {
    SchemaError { place: if pointer.is_empty() { "/" } else { pointer }.into(), message }
}

/// Collects the references below `node` that lead nowhere. `part` is the node's schema or a member within it.
fn references(node: SchemaNode<'_>, part: &Value, pointer: &str, found: &mut Vec<SchemaError>) {
    match part {
        Value::Object(members) => {
            for (name, value) in members {
                let pointer = format!("{pointer}/{}", escape(name));
                match (name.as_str(), value) {
                    ("$ref", Value::String(reference)) => {
                        if let Some(message) = dangling(node, reference) {
                            found.push(at(&pointer, message));
                        }
                    }
                    ("const" | "default" | "enum" | "examples", _) => {}
                    (_, value) => references(node.child(value), value, &pointer, found),
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                references(node.child(item), item, &format!("{pointer}/{index}"), found);
            }
        }
        _ => {}
    }
}

/// What is wrong with a reference within the document. The validator's compiler judges the other ones.
fn dangling(node: SchemaNode<'_>, reference: &str) -> Option<String> {
    if !reference.starts_with('#') || node.resolve(reference).is_some() {
        return None;
    }
    let refusal = format!("{} leads to nothing in this schema", suggest::quoted(reference));
    let definitions = node.resolve("#").and_then(|(root, _)| root.schema.get("$defs")?.as_object());
    let names: Vec<String> =
        definitions.into_iter().flat_map(|names| names.keys()).map(|name| format!("#/$defs/{name}")).collect();
    Some(Known::new("definitions", names.iter().map(String::as_str)).refuse(&refusal, reference))
}
