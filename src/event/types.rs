//! The built-in event types: one Rust type for the `data` of each.
//!
//! These types are the only definition of a built-in event. schemars makes the JSON Schema from them; the daemon
//! validates against that schema, publishes it, and generates the TypeScript types from it. So the doc comments here are
//! the descriptions that a user reads in the schema.
//!
//! Field names are camelCase on the wire. An optional field may be absent but not `null`. An integer may be written as
//! `5` or `5.0`, and is within ±(2^53 - 1), which every client holds exactly (RFC 7493, section 2.2).

#[cfg(feature = "server")]
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

use super::currency::Currency;
use super::scalar::MAX_INTEGER;
#[cfg(feature = "server")]
use super::schema_transforms;

/// A built-in event, as the members `type` and `data` of a CloudEvent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(JsonSchema))]
#[serde(tag = "type", content = "data", rename_all = "kebab-case")]
pub enum Payload {
    CacheInvalidate(CacheInvalidate),
    DataUpdate(DataUpdate),
    InventoryChange(InventoryChange),
    OrderStatus(OrderStatusChange),
    FinanceChange(FinanceChange),
}

/// Cache entries are out of date: by tag, by key or by prefix of a key. At least one of the three is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "server", schemars(transform = schema_transforms::strict, transform = schema_transforms::at_least_one_target))]
pub struct CacheInvalidate {
    /// Every entry that has one of these tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "server", schemars(inner(length(min = 1, max = 256))))]
    pub tags: Vec<String>,
    /// The entries with these keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "server", schemars(inner(length(min = 1, max = 256))))]
    pub keys: Vec<String>,
    /// Every entry whose key starts with one of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "server", schemars(inner(length(min = 1, max = 256))))]
    pub prefixes: Vec<String>,
    /// The reason, for people.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[cfg_attr(feature = "server", schemars(length(max = 1024), extend("examples" = ["price change", "nightly import"])))]
    pub reason: Option<String>,
    /// For how many milliseconds a cache may still serve the old value while it loads the new one. Absent or 0: not at all.
    /// A cache counts from when it receives the event, by its own clock.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present_milliseconds")]
    pub stale_for_ms: Option<u64>,
    /// For how many milliseconds a cache gives what it loads to its callers without storing it, because the data is still
    /// about to change. At most 60,000. A cache counts from when it receives the event, by its own clock.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present_milliseconds")]
    #[cfg_attr(feature = "server", schemars(range(max = 60_000)))]
    pub hold_ms: Option<u64>,
}

/// A record of some resource was created, changed or deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "server", schemars(transform = schema_transforms::strict))]
pub struct DataUpdate {
    /// The kind of record: a table, a collection, an entity.
    #[cfg_attr(feature = "server", schemars(length(min = 1, max = 256), extend("examples" = ["product", "customer", "article"])))]
    pub resource: String,
    /// Which record.
    #[cfg_attr(feature = "server", schemars(length(min = 1, max = 256)))]
    pub id: String,
    /// What happened to the record.
    pub action: DataAction,
    /// The record's version after the change.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present_integer")]
    pub version: Option<i64>,
}

/// What happened to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum DataAction {
    Create,
    Update,
    Delete,
}

/// The stock of a product, or of one variant of it, changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "server", schemars(transform = schema_transforms::strict))]
pub struct InventoryChange {
    /// The product.
    #[cfg_attr(feature = "server", schemars(length(min = 1, max = 256)))]
    pub product_id: String,
    /// The variant, if stock is kept by variant.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[cfg_attr(feature = "server", schemars(length(min = 1, max = 256)))]
    pub variant_id: Option<String>,
    /// Pieces before the change.
    #[serde(deserialize_with = "integer")]
    pub old_quantity: i64,
    /// Pieces after the change.
    #[serde(deserialize_with = "integer")]
    pub new_quantity: i64,
    /// The reason: a sale, a return, a stock count.
    #[cfg_attr(feature = "server", schemars(length(max = 1024), extend("examples" = ["sale", "return", "stock count", "delivery"])))]
    pub reason: String,
}

/// An order went from one status to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "server", schemars(transform = schema_transforms::strict))]
pub struct OrderStatusChange {
    /// The order.
    #[cfg_attr(feature = "server", schemars(length(min = 1, max = 256)))]
    pub order_id: String,
    /// The status before; absent for a new order.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub old_status: Option<OrderStatus>,
    /// The status after.
    pub new_status: OrderStatus,
    /// The customer whose order it is.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[cfg_attr(feature = "server", schemars(length(min = 1, max = 256)))]
    pub customer_id: Option<String>,
}

/// The status of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum OrderStatus {
    Pending,
    Confirmed,
    Processing,
    Shipped,
    Delivered,
    Completed,
    Cancelled,
    Returned,
    Refunded,
}

/// Money moved, or a document about money changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "server", schemars(transform = schema_transforms::strict))]
pub struct FinanceChange {
    /// The kind of record that changed.
    pub entity: FinanceEntity,
    /// Which record.
    #[cfg_attr(feature = "server", schemars(length(min = 1, max = 256)))]
    pub id: String,
    /// The amount in the currency's minor unit (cents for EUR, yen for JPY).
    #[serde(deserialize_with = "integer")]
    pub amount_minor: i64,
    /// The currency, as its ISO 4217 code.
    pub currency: Currency,
    /// The record's status; each publisher has its own names.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[cfg_attr(feature = "server", schemars(length(max = 1024), extend("examples" = ["open", "settled", "failed"])))]
    pub status: Option<String>,
}

/// A kind of financial record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum FinanceEntity {
    Payment,
    Refund,
    Invoice,
    Payout,
    Adjustment,
}

impl Payload {
    /// The event's type, which is also the name of its channel.
    pub fn event_type(&self) -> &'static str {
        match self {
            Self::CacheInvalidate(_) => "cache-invalidate",
            Self::DataUpdate(_) => "data-update",
            Self::InventoryChange(_) => "inventory-change",
            Self::OrderStatus(_) => "order-status",
            Self::FinanceChange(_) => "finance-change",
        }
    }
}

/// Reads an optional field, which may be absent but not `null`.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

fn present_integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    integer(deserializer).map(Some)
}

fn present_milliseconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let value = integer(deserializer)?;
    let millis = u64::try_from(value).map_err(|_| de::Error::custom(format_args!("{value} is less than 0")))?;
    Ok(Some(millis))
}

/// Reads an integer as JSON Schema defines it: a number without a fraction, also if it is written as `5.0`.
fn integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let number = serde_json::Number::deserialize(deserializer)?;
    let whole = number.as_i64().or_else(|| {
        let float = number.as_f64()?;
        (float.fract() == 0.0 && float.abs() <= MAX_INTEGER as f64).then_some(float as i64)
    });
    match whole {
        Some(value) if value.abs() <= MAX_INTEGER => Ok(value),
        _ => Err(de::Error::custom(format_args!("{number} is not an integer between -(2^53 - 1) and 2^53 - 1"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_float_without_a_fraction_is_an_integer() {
        let read = |text: &str| serde_json::from_str::<InventoryChange>(text);
        let with = |n: &str| format!(r#"{{"productId":"1","oldQuantity":{n},"newQuantity":1,"reason":""}}"#);
        assert_eq!(read(&with("5.0")).unwrap().old_quantity, 5);
        assert_eq!(read(&with("-1e3")).unwrap().old_quantity, -1000);
        assert!(read(&with("5.5")).is_err());
        assert!(read(&with("9007199254740992")).is_err());
    }

    #[test]
    fn milliseconds_are_not_negative() {
        let read = |text: &str| serde_json::from_str::<CacheInvalidate>(text);
        let read_back = read(r#"{"tags":["a"],"staleForMs":1e3,"holdMs":5.0}"#).unwrap();
        assert_eq!((read_back.stale_for_ms, read_back.hold_ms), (Some(1000), Some(5)));
        assert!(read(r#"{"tags":["a"],"staleForMs":-1}"#).is_err());
        assert!(read(r#"{"tags":["a"],"holdMs":null}"#).is_err());
    }

    #[test]
    fn a_payload_is_written_as_type_and_data() {
        let payload = Payload::InventoryChange(InventoryChange {
            product_id: "123".into(),
            variant_id: None,
            old_quantity: 100,
            new_quantity: 95,
            reason: "sale".into(),
        });
        let value = serde_json::to_value(&payload).unwrap();
        assert_eq!(value["type"], payload.event_type());
        assert_eq!(value["data"], json!({"productId":"123","oldQuantity":100,"newQuantity":95,"reason":"sale"}));
        assert_eq!(serde_json::from_value::<Payload>(value).unwrap(), payload);
    }
}
