//! Sample events to publish, and functions that take positions apart.

use serde_json::{Value, json};

/// A valid `inventory-change` of this product; its subject will be the product's id.
pub fn sale(product: &str) -> Value {
    json!({"type": "inventory-change", "data": sale_data(product)})
}

/// The `data` of [`sale`].
pub fn sale_data(product: &str) -> Value {
    json!({"productId": product, "oldQuantity": 100, "newQuantity": 95, "reason": "sale"})
}

/// A valid `order-status` of this order; its subject will be the order's id.
pub fn order(id: &str) -> Value {
    json!({"type": "order-status", "data": {"orderId": id, "newStatus": "pending"}})
}

/// Sets an attribute of an event.
pub fn with(mut event: Value, name: &str, value: impl Into<Value>) -> Value {
    event[name] = value.into();
    event
}

/// Sets a field of an event's `data`.
pub fn with_data(mut event: Value, name: &str, value: impl Into<Value>) -> Value {
    event["data"][name] = value.into();
    event
}

/// Removes a field of an event's `data`.
pub fn without_data(mut event: Value, name: &str) -> Value {
    event["data"].as_object_mut().expect("data is an object").shift_remove(name).expect("the field is there");
    event
}

/// One valid event of every built-in type, with the `subject` that the daemon derives for it.
pub fn one_of_each() -> [(Value, Option<&'static str>); 5] {
    [
        (json!({"type": "cache-invalidate", "data": {"tags": ["products"]}}), None),
        (json!({"type": "data-update", "data": {"resource": "user", "id": "u-1", "action": "update"}}), Some("u-1")),
        (sale("p-1"), Some("p-1")),
        (order("o-1"), Some("o-1")),
        (
            json!({"type": "finance-change",
                "data": {"entity": "refund", "id": "r-1", "amountMinor": -1250, "currency": "EUR"}}),
            Some("r-1"),
        ),
    ]
}

/// The names of the built-in types.
pub const TYPES: [&str; 5] = ["cache-invalidate", "data-update", "inventory-change", "order-status", "finance-change"];

/// Splits a position into its epoch and its offset.
pub fn epoch_and_offset(position: &str) -> (&str, u64) {
    let (epoch, offset) = position.rsplit_once(':').unwrap_or_else(|| panic!("{position:?} is no EPOCH:OFFSET"));
    assert!(!epoch.is_empty(), "{position:?} has no epoch");
    (epoch, offset.parse().unwrap_or_else(|_| panic!("{position:?} has no offset")))
}

/// The offset of a position.
pub fn offset(position: &str) -> u64 {
    epoch_and_offset(position).1
}
