//! A subschema of a JSON Schema document, which can resolve its `$ref`.
//!
//! A `$ref` is relative to the schema resource around it: the document, or the nearest subschema with an `$id`. References
//! within the document are resolved; nothing is fetched.

use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::schema_ids;

/// A subschema together with the schema resource that it belongs to.
#[derive(Debug, Clone, Copy)]
pub struct SchemaNode<'a> {
    /// The subschema itself.
    pub schema: &'a Value,
    resource: &'a Value,
    document: &'a Value,
}

impl<'a> SchemaNode<'a> {
    /// The root of a document.
    pub fn root(schema: &'a Value) -> Self {
        Self { schema, resource: schema, document: schema }
    }

    /// The node of `schema`, which must be a part of this one.
    pub fn child(self, schema: &'a Value) -> Self {
        let resource = if id(schema).is_some() { schema } else { self.resource };
        Self { schema, resource, ..self }
    }

    /// The address of the schema in memory. Two nodes with equal addresses are the same part of the document.
    pub fn address(self) -> *const Value {
        self.schema
    }

    /// The target of a `$ref`, and the last name in the reference, from which a type name can be made.
    ///
    /// `None` if the reference leaves the document or its target does not exist.
    pub fn resolve(self, reference: &str) -> Option<(Self, String)> {
        let (uri, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let known = id(self.resource).map(|id| id.trim_end_matches('#'));
        let is_own = uri.is_empty() || known == Some(uri);
        let resource = if is_own { self.resource } else { self.embedded(uri)? };
        let fragment = percent_decode_str(fragment).decode_utf8().ok()?;
        let mut node = Self { schema: resource, resource, ..self };
        if !fragment.is_empty() && !fragment.starts_with('/') {
            return Some((node.anchored(&fragment)?, fragment.into_owned()));
        }
        // A reference to a whole resource ends in its name.
        let file = uri.rsplit(['/', ':']).next().unwrap_or_default();
        let mut name = file.trim_end_matches(".json").trim_end_matches(".schema").to_owned();
        for token in fragment.split('/').skip(1) {
            name = token.replace("~1", "/").replace("~0", "~");
            node = node.child(match node.schema {
                Value::Array(items) => items.get(name.parse::<usize>().ok()?)?,
                schema => schema.get(&name)?,
            });
        }
        Some((node, name))
    }

    /// The target of a `$dynamicRef`, if it can be told without an instance: the `$dynamicAnchor` of the document's root, or
    /// the only one in the document. Without such an anchor, a `$dynamicRef` is a `$ref` (JSON Schema 2020-12, section
    /// 8.2.3.2).
    pub fn resolve_dynamic(self, reference: &str) -> Option<(Self, String)> {
        let (found, name) = self.resolve(reference)?;
        let is_dynamic = |schema: &Value| schema.get("$dynamicAnchor").and_then(Value::as_str) == Some(name.as_str());
        if !reference.contains('#') || !is_dynamic(found.schema) {
            return Some((found, name));
        }
        // The evaluation of a type begins at the document's root, so an anchor there is the outermost.
        let root = Self::root(self.document);
        if let Some(outermost) = root.anchored(&name).filter(|node| is_dynamic(node.schema)) {
            return Some((outermost, name));
        }
        let resources = schema_ids::collect(self.document).into_iter().map(|found| found.schema);
        let nodes = resources.map(|resource| Self { schema: resource, resource, ..self });
        let mut anchored = nodes.filter_map(|node| node.anchored(&name).filter(|node| is_dynamic(node.schema)));
        let only = anchored.next()?;
        anchored.next().is_none().then_some((only, name))
    }

    /// The schema in the document whose `$id` is `uri`, which may be relative to that of this node's resource.
    fn embedded(self, uri: &str) -> Option<&'a Value> {
        let known = schema_ids::collect(self.document);
        let base =
            known.iter().find(|known| std::ptr::eq(known.schema, self.resource)).and_then(|own| own.uri.as_ref());
        let uri = schema_ids::resolved(uri, base)?;
        known.iter().find(|known| known.uri.as_ref() == Some(&uri)).map(|known| known.schema)
    }

    /// The schema with this `$anchor` or `$dynamicAnchor`, within this node.
    fn anchored(self, name: &str) -> Option<Self> {
        if ["$anchor", "$dynamicAnchor"]
            .iter()
            .any(|anchor| self.schema.get(anchor).and_then(Value::as_str) == Some(name))
        {
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
                "relative": { "$id": "other/unit", "title": "unit", "$defs": { "part": { "$id": "part", "title": "part" } } },
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
        assert_eq!(title(root, "inner#/$defs/x").unwrap(), "inner x");
        assert_eq!(title(root, "other/unit").unwrap(), "unit");
        assert_eq!(title(root.resolve("other/unit").unwrap().0, "part").unwrap(), "part");
        assert_eq!(title(root.resolve("other/unit").unwrap().0, "../order#here").unwrap(), "anchored");
        for nowhere in
            ["#/$defs/none", "#none", "#/prefixItems/x", "other.json", "https://example.com/x#/a", "#/%f", "#/%ff"]
        {
            assert_eq!(title(root, nowhere), None, "{nowhere}");
        }
    }
}
