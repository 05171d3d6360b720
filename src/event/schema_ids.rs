//! The `$id` of a JSON Schema, and those of the schemas embedded in it.
//!
//! The catalogue needs them all, because a URI names one schema: an event's `dataschema` must not be ambiguous, and a tool
//! may load the schemas of all types together.

use serde_json::Value;
use url::Url;

use super::mistake::escape;

/// Keywords whose value is data and contains no schema.
const VALUES: [&str; 4] = ["const", "default", "enum", "examples"];
/// Keywords whose value maps names to schemas.
const BY_NAME: [&str; 4] = ["$defs", "dependentSchemas", "patternProperties", "properties"];

/// A schema with an `$id`: the document itself, or a schema embedded in it.
#[derive(Debug)]
pub(super) struct Identified<'a> {
    /// The schema.
    pub schema: &'a Value,
    /// The JSON Pointer of its `$id`.
    pub place: String,
    /// The normalised URI. A relative `$id` is resolved against the `$id` of the schema around it. `None` if the result is
    /// not an absolute URI without a fragment.
    pub uri: Option<Url>,
}

/// Every schema with an `$id` in a document, in the order of the document.
pub(super) fn collect(document: &Value) -> Vec<Identified<'_>> {
    let mut found = Vec::new();
    visit(document, "", None, &mut found);
    found
}

fn visit<'a>(schema: &'a Value, at: &str, base: Option<&Url>, found: &mut Vec<Identified<'a>>) {
    let child = |name: &str| format!("{at}/{}", escape(name));
    match schema {
        Value::Object(members) => {
            let own = members.get("$id").map(|id| id.as_str().and_then(|id| resolved(id, base)));
            if let Some(own) = &own {
                found.push(Identified { schema, place: child("$id"), uri: own.clone() });
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

/// A URI, resolved against `base`. `None` if the result is not an absolute URI without a fragment.
pub(super) fn resolved(id: &str, base: Option<&Url>) -> Option<Url> {
    let id = Url::options().base_url(base).parse(id).ok()?;
    id.fragment().is_none().then_some(id)
}
