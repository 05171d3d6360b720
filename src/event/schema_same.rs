//! Compares two schemas with everything they refer to: equal ones share one name.

use serde_json::Value;

use super::schema_node::SchemaNode;

/// Whether two schemas are equal, and all schemas that they refer to are equal, too.
pub(super) fn same(a: SchemaNode<'_>, b: SchemaNode<'_>) -> bool {
    compare(a, b, &mut Vec::new())
}

fn compare<'a>(a: SchemaNode<'a>, b: SchemaNode<'a>, seen: &mut Vec<(*const Value, *const Value)>) -> bool {
    let pair = (a.address(), b.address());
    if a.address() == b.address() || seen.contains(&pair) {
        return true;
    }
    seen.push(pair);
    let mut references = Vec::new();
    collect_references(a.schema, &mut references);
    a.schema == b.schema
        && references.into_iter().all(|(keyword, reference)| {
            let target = |node: SchemaNode<'a>| match keyword {
                "$dynamicRef" => node.resolve_dynamic(reference),
                _ => node.resolve(reference),
            };
            match (target(a), target(b)) {
                (Some((a, _)), Some((b, _))) => compare(a, b, seen),
                (None, None) => true,
                _ => false,
            }
        })
}

/// Every reference in a schema, with its keyword.
fn collect_references<'a>(value: &'a Value, found: &mut Vec<(&'static str, &'a str)>) {
    match value {
        Value::Object(members) => {
            for keyword in ["$ref", "$dynamicRef"] {
                found.extend(members.get(keyword).and_then(Value::as_str).map(|reference| (keyword, reference)));
            }
            members.values().for_each(|member| collect_references(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_references(item, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_targets_of_references_are_compared() {
        let document = |leaf: &str| {
            json!({ "$defs": {
                "tree": { "items": { "$ref": "#/$defs/tree" }, "properties": { "leaf": { "$ref": "#/$defs/leaf" } } },
                "leaf": { "type": leaf },
            } })
        };
        let (one, equal, other) = (document("string"), document("string"), document("number"));
        let tree = |schema| SchemaNode::root(schema).resolve("#/$defs/tree").unwrap().0;
        assert!(same(tree(&one), tree(&equal)));
        assert!(!same(tree(&one), tree(&other)));
    }
}
