//! A subschema of a JSON Schema document, which can resolve its `$ref`.
//!
//! A `$ref` is relative to the schema resource around it: the document, or the nearest subschema with an `$id`. Only
//! references within that resource are resolved; nothing is fetched.

use percent_encoding::percent_decode_str;
use serde_json::Value;

/// A subschema together with the schema resource that it belongs to.
#[derive(Debug, Clone, Copy)]
pub struct SchemaNode<'a> {
    /// The subschema itself.
    pub schema: &'a Value,
    resource: &'a Value,
}

impl<'a> SchemaNode<'a> {
    /// The root of a document.
    pub fn root(schema: &'a Value) -> Self {
        Self { schema, resource: schema }
    }

    /// The node of `schema`, which must be a part of this one.
    pub fn child(self, schema: &'a Value) -> Self {
        let resource = if id(schema).is_some() { schema } else { self.resource };
        Self { schema, resource }
    }

    /// The address of the schema in memory. Two nodes with equal addresses are the same part of the document.
    pub fn address(self) -> *const Value {
        self.schema
    }

    /// The target of a `$ref`, and the last name in the reference, from which a type name can be made.
    ///
    /// `None` if the reference leaves the resource or its target does not exist.
    pub fn resolve(self, reference: &str) -> Option<(Self, String)> {
        let (uri, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let known = id(self.resource).map(|id| id.trim_end_matches('#'));
        if !uri.is_empty() && known != Some(uri) {
            return None;
        }
        let fragment = percent_decode_str(fragment).decode_utf8().ok()?;
        let mut node = Self::root(self.resource);
        if !fragment.is_empty() && !fragment.starts_with('/') {
            return Some((node.anchored(&fragment)?, fragment.into_owned()));
        }
        let mut name = String::new();
        for token in fragment.split('/').skip(1) {
            name = token.replace("~1", "/").replace("~0", "~");
            node = node.child(match node.schema {
                Value::Array(items) => items.get(name.parse::<usize>().ok()?)?,
                schema => schema.get(&name)?,
            });
        }
        Some((node, name))
    }

    /// The schema with this `$anchor`, within this node.
    fn anchored(self, name: &str) -> Option<Self> {
        if self.schema.get("$anchor").and_then(Value::as_str) == Some(name) {
            return Some(self);
        }
        let mut parts: Box<dyn Iterator<Item = &'a Value>> = match self.schema {
            Value::Object(members) => Box::new(members.values()),
            Value::Array(items) => Box::new(items.iter()),
            _ => return None,
        };
        // A part with an `$id` is a resource of its own, with its own anchors.
        parts.find_map(|part| id(part).is_none().then(|| self.child(part).anchored(name))?)
    }
}

fn id(schema: &Value) -> Option<&str> {
    schema.get("$id").and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn references_are_resolved_within_their_resource() {
        let schema = json!({
            "$id": "https://example.com/order",
            "$defs": {
                "a/b c": { "title": "escaped" },
                "anchored": { "$anchor": "here", "title": "anchored" },
                "%+F": { "title": "no escape" },
                "inner": { "$id": "https://example.com/inner", "$defs": { "x": { "title": "inner x" } } },
            },
            "prefixItems": [{ "title": "first" }],
        });
        let root = SchemaNode::root(&schema);
        let title = |node: SchemaNode<'_>, reference: &str| {
            node.resolve(reference).map(|(found, _)| found.schema["title"].as_str().unwrap_or("untitled").to_owned())
        };
        assert_eq!(title(root, "#").unwrap(), "untitled");
        assert_eq!(title(root, "#/$defs/a~1b%20c").unwrap(), "escaped");
        assert_eq!(title(root, "https://example.com/order#here").unwrap(), "anchored");
        assert_eq!(title(root, "#/$defs/%+F").unwrap(), "no escape");
        assert_eq!(title(root, "#/prefixItems/0").unwrap(), "first");
        let (inner, name) = root.resolve("#/$defs/inner").unwrap();
        assert_eq!(name, "inner");
        assert_eq!(title(inner, "#/$defs/x").unwrap(), "inner x");
        for nowhere in
            ["#/$defs/none", "#none", "#/prefixItems/x", "other.json", "https://example.com/x#/a", "#/%f", "#/%ff"]
        {
            assert_eq!(title(root, nowhere), None, "{nowhere}");
        }
    }
}
