//! The JSON Schemas of the built-in event types, made by schemars from the Rust types of [`types`](super::types).

use schemars::{JsonSchema, Schema, schema_for};

use super::schema_transforms;
use super::types::{CacheInvalidate, DataUpdate, FinanceChange, InventoryChange, OrderStatusChange};

/// The JSON Schema of a built-in type.
fn schema<T: JsonSchema>() -> Schema {
    let mut schema = schema_for!(T);
    schema_transforms::titled(&mut schema);
    schema
}

/// Name, key field and schema of every built-in type, in the order in which the documentation lists them.
pub(super) fn types() -> [(&'static str, Option<&'static str>, Schema); 5] {
    [
        ("cache-invalidate", None, schema::<CacheInvalidate>()),
        ("data-update", Some("id"), schema::<DataUpdate>()),
        ("inventory-change", Some("productId"), schema::<InventoryChange>()),
        ("order-status", Some("orderId"), schema::<OrderStatusChange>()),
        ("finance-change", Some("id"), schema::<FinanceChange>()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn optional_fields_are_not_nullable_and_integers_are_bounded() {
        for (name, _, schema) in types() {
            let text = serde_json::to_string(&schema).unwrap();
            assert!(!text.contains("null"), "{name}: {text}");
            assert!(!text.contains("int64"), "{name}: {text}");
            assert_eq!(schema.get("additionalProperties"), Some(&json!(false)), "{name}");
        }
    }
}
