//! The frames of the WebSocket, each with a schema of its own: made of the enums that the daemon and the Rust client use.

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::references::{plain, reference};

/// Members whose Rust type is wider than what they hold, and the schemas that say it: the daemon copies an event as bytes,
/// and reads a filter and a beginning with the channel at hand.
const REFERRED: [(&str, &str, &str); 3] =
    [("event", "event", "DeliveredEvent"), ("subscribe", "where", "Filter"), ("subscribe", "since", "Since")];

/// A frame.
#[derive(Debug, Clone)]
pub(in crate::http) struct Frame {
    /// Its `type`.
    pub name: String,
    /// The name of its schema.
    pub schema_name: String,
    pub schema: Value,
}

impl Frame {
    /// What it is for.
    pub fn description(&self) -> &str {
        self.schema["description"].as_str().unwrap_or_default()
    }
}

/// The frames of one side, which are the variants of `T`, and what `T` is.
pub(super) fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> (String, Vec<Frame>) {
    let mut schema = T::json_schema(generator).to_value();
    plain(&mut schema);
    let description = schema["description"].as_str().unwrap_or_default().to_owned();
    (description, schema["oneOf"].as_array().into_iter().flatten().filter_map(frame).collect())
}

fn frame(variant: &Value) -> Option<Frame> {
    let name = variant.pointer("/properties/type/const")?.as_str()?.to_owned();
    let (first, rest) = name.split_at(1);
    let schema_name = format!("{}{rest}Frame", first.to_uppercase());
    let mut schema = Map::from_iter([("title".to_owned(), Value::from(&*schema_name))]);
    schema.extend(variant.as_object()?.clone());
    for (member, property) in schema.get_mut("properties")?.as_object_mut()? {
        never_null(property);
        let referred = REFERRED.iter().find(|(frame, known, _)| *frame == name && known == member);
        if let Some((_, _, target)) = referred {
            let description = property.get("description").cloned();
            *property = reference(target);
            if let Some(description) = description {
                *property = json!({ "description": description, "allOf": [property.take()] });
            }
        }
    }
    Some(Frame { name, schema_name, schema: schema.into() })
}

/// A member of a frame that may be absent is never `null`.
fn never_null(property: &mut Value) {
    let Some(Value::Array(types)) = property.get_mut("type") else { return };
    types.retain(|name| name != "null");
    if let [only] = types.as_slice() {
        property["type"] = only.clone();
    }
}
