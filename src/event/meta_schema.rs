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
        ValidationErrorKind::Format { format } if format == "regex" => {
            let pattern = error.instance().as_str().unwrap_or_default();
            at(error.schema_path().as_str(), not_linear(pattern))
        }
        _ => {
            let mut found = Vec::new();
            mistake::describe(error, "", &|_| Vec::new(), &mut found);
            found.pop().map_or_else(|| at("", error.to_string()), |mistake| at(&mistake.pointer, mistake.message))
        }
    }
}

/// Why a pattern cannot be compiled. The engine takes linear time for every text, which some of ECMA 262 cannot be had with.
fn not_linear(pattern: &str) -> String {
    let pattern_shown = suggest::quoted(pattern);
    let has_not = |what: &str| {
        format!(
            "the pattern {pattern_shown} has {what}, which the daemon's regular expressions have not: they take linear time \
             for every text"
        )
    };
    let (mut rest, mut in_class) = (pattern, false);
    while let Some(letter) = rest.chars().next() {
        let after = &rest[letter.len_utf8()..];
        rest = match letter {
            '\\' if !in_class && after.starts_with(|next: char| matches!(next, '1'..='9' | 'k')) => {
                return has_not("a backreference");
            }
            '\\' => after.chars().next().map_or(after, |escaped| &after[escaped.len_utf8()..]),
            '(' if !in_class && ["?=", "?!", "?<=", "?<!"].iter().any(|start| after.starts_with(start)) => {
                return has_not("a look-around");
            }
            '[' | ']' => {
                in_class = letter == '[';
                after
            }
            _ => after,
        };
    }
    format!("the pattern {pattern_shown} is no regular expression (ECMA 262), or it is too large")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_told_what_it_may_not_have() {
        for (pattern, has) in [
            ("^(?!a)b", "look-around"),
            ("a(?=b)", "look-around"),
            ("(?<=a)b", "look-around"),
            ("(?<!a)b", "look-around"),
            (r"(a)\1", "backreference"),
            (r"(?<x>a)\k<x>", "backreference"),
            (r"[(?=]\((?<x>a)[\]\1", "is no regular expression"),
            ("(", "is no regular expression"),
            ("a{1000}{1000}{1000}", "too large"),
        ] {
            assert!(not_linear(pattern).contains(has), "{pattern}: {}", not_linear(pattern));
        }
    }
}
