//! JSON text that is passed on as it was written.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::Json;

/// A JSON text, with its numbers as they were written. A `Value` would round those beyond 64 bits.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JsonText(Box<RawValue>);

impl JsonText {
    /// The text.
    pub fn get(&self) -> &str {
        self.0.get()
    }

    /// The value. It is `null` for a text that the strict reader refuses.
    pub fn read(&self) -> Json<'_> {
        Json::parse(self.get()).unwrap_or_default()
    }
}

impl PartialEq for JsonText {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl From<&Json<'_>> for JsonText {
    fn from(value: &Json<'_>) -> Self {
        // What a tree writes is JSON.
        Self(RawValue::from_string(value.to_string()).unwrap_or_else(|_| RawValue::NULL.to_owned()))
    }
}

impl From<Json<'_>> for JsonText {
    fn from(value: Json<'_>) -> Self {
        Self::from(&value)
    }
}

impl From<Value> for JsonText {
    fn from(value: Value) -> Self {
        Self::from(Json::from(value))
    }
}

#[cfg(feature = "server")]
impl schemars::JsonSchema for JsonText {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        Value::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Value::json_schema(generator)
    }

    fn inline_schema() -> bool {
        Value::inline_schema()
    }
}
