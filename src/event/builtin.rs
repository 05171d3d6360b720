//! The JSON Schemas of the built-in event types, made by schemars from the Rust types of [`types`](super::types).

use schemars::{Schema, schema_for};

use super::types::{CacheInvalidate, DataUpdate, FinanceChange, InventoryChange, OrderStatusChange};

/// Name, key field and schema of every built-in type, in the order in which the documentation lists them.
pub(super) fn types() -> [(&'static str, Option<&'static str>, Schema); 5] {
    [
        ("cache-invalidate", None, schema_for!(CacheInvalidate)),
        ("data-update", Some("id"), schema_for!(DataUpdate)),
        ("inventory-change", Some("productId"), schema_for!(InventoryChange)),
        ("order-status", Some("orderId"), schema_for!(OrderStatusChange)),
        ("finance-change", Some("id"), schema_for!(FinanceChange)),
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
