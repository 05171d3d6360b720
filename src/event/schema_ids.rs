//! The `$id` of a JSON Schema, and those of the schemas embedded in it.
//!
//! The catalogue needs them all, because the schema of the whole event contains every type's schema in one document: two
//! schemas with the same URI could not be told apart there.

use serde_json::Value;
use url::Url;

use super::mistake::escape;

/// Keywords whose value is data and contains no schema.
const VALUES: [&str; 4] = ["const", "default", "enum", "examples"];
/// Keywords whose value maps names to schemas.
const BY_NAME: [&str; 4] = ["$defs", "dependentSchemas", "patternProperties", "properties"];

/// Every `$id` in a schema: its JSON Pointer, and its normalised URI.
///
/// A relative `$id` is resolved against the `$id` of the schema around it. The URI is `None` if the result is not an
/// absolute URI without a fragment.
pub(super) fn collect(schema: &Value) -> Vec<(String, Option<Url>)> {
    let mut found = Vec::new();
    visit(schema, "", None, &mut found);
    found
}

fn visit(schema: &Value, at: &str, base: Option<&Url>, found: &mut Vec<(String, Option<Url>)>) {
    let child = |name: &str| format!("{at}/{}", escape(name));
    match schema {
        Value::Object(members) => {
            let own = members.get("$id").map(|id| id.as_str().and_then(|id| resolved(id, base)));
            if let Some(own) = &own {
                found.push((child("$id"), own.clone()));
            }
            let base = own.as_ref().map_or(base, Option::as_ref);
            for (name, value) in members.iter().filter(|(name, _)| !VALUES.contains(&name.as_str())) {
                match value {
                    Value::Object(schemas) if BY_NAME.contains(&name.as_str()) => {
                        for (key, schema) in schemas {
                            visit(schema, &format!("{}/{}", child(name), escape(key)), base, found);
                        }
                    }
                    other => visit(other, &child(name), base, found),
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                visit(item, &format!("{at}/{index}"), base, found);
            }
        }
        _ => {}
    }
}

fn resolved(id: &str, base: Option<&Url>) -> Option<Url> {
    let id = Url::options().base_url(base).parse(id).ok()?;
    id.fragment().is_none().then_some(id)
}
