//! Transforms of the schemas that schemars makes of the built-in types.
//!
//! serde and schemars disagree on two things by default, and [`strict`] settles them for every type. An optional field
//! may be absent but not `null`. An integer is what JSON Schema calls one (`5.0` is 5), within ±(2^53 - 1).

use schemars::Schema;
use serde_json::{Value, json};

use super::scalar::MAX_INTEGER;

/// A schemars transform: makes no field nullable, and bounds integers to what every client holds exactly.
pub(super) fn strict(schema: &mut Schema) {
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else { return };
    for property in properties.values_mut() {
        let Some(field) = property.as_object_mut() else { continue };
        field.remove("default");
        if let Some(Value::Array(types)) = field.get_mut("type") {
            types.retain(|name| name != "null");
            if let [only] = types.as_slice() {
                field["type"] = only.clone();
            }
        }
        if let Some(Value::Array(options)) = field.get_mut("anyOf") {
            options.retain(|option| option["type"] != "null");
            if let [Value::Object(only)] = options.as_slice() {
                let only = only.clone();
                field.remove("anyOf");
                field.extend(only);
            }
        }
        if field.get("type") == Some(&json!("integer")) {
            field.remove("format");
            // A field may have narrower bounds of its own.
            field.entry("minimum").or_insert_with(|| (-MAX_INTEGER).into());
            field.entry("maximum").or_insert_with(|| MAX_INTEGER.into());
        }
    }
}

/// A schemars transform: gives each definition its name as `title`, as the root has one.
pub(super) fn titled(schema: &mut Schema) {
    for (name, definition) in schema.get_mut("$defs").and_then(Value::as_object_mut).into_iter().flatten() {
        if let Some(definition) = definition.as_object_mut() {
            definition.shift_insert(0, "title".into(), name.as_str().into());
        }
    }
}

/// A schemars transform: at least one of `tags`, `keys` and `prefixes` must be given and not be empty.
pub(super) fn at_least_one_target(schema: &mut Schema) {
    // The type is there again for code generators, and for Ajv's strict mode.
    let list = json!({ "type": "array", "items": { "type": "string" }, "minItems": 1 });
    let one = |field: &str| json!({ "required": [field], "properties": { field: list } });
    schema.insert("anyOf".into(), json!([one("tags"), one("keys"), one("prefixes")]));
}
