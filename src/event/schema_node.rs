//! Where a schema stands within a document: the resource that its references start from, and what they lead to.
//!
//! Only references within the document are followed. One that leads elsewhere is not known here.

use percent_encoding::percent_decode_str;
use serde_json::Value;

/// A schema within a schema resource (the document, or a part of it with an `$id` of its own).
#[derive(Debug, Clone, Copy)]
pub struct SchemaNode<'a> {
    pub schema: &'a Value,
    resource: &'a Value,
}

impl<'a> SchemaNode<'a> {
    pub fn root(schema: &'a Value) -> Self {
        Self { schema, resource: schema }
    }

    /// A subschema of this one.
    pub fn child(self, schema: &'a Value) -> Self {
        let resource = if id(schema).is_some() { schema } else { self.resource };
        Self { schema, resource }
    }

    /// The address of the schema, by which it is known again: the same node of the document is the same schema.
    pub fn address(self) -> *const Value {
        self.schema
    }

    /// What a `$ref` leads to, and the last name on the way, which tends to be a good one for it.
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

    fn anchored(self, name: &str) -> Option<Self> {
        if self.schema.get("$anchor").and_then(Value::as_str) == Some(name) {
            return Some(self);
        }
        let mut parts: Box<dyn Iterator<Item = &'a Value>> = match self.schema {
            Value::Object(members) => Box::new(members.values()),
            Value::Array(items) => Box::new(items.iter()),
            _ => return None,
        };
        // What has an `$id` has its own anchors.
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
    fn references_are_followed_within_their_resource() {
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
