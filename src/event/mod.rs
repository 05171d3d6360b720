//! Events: their types, their positions, their validation, and filters over them. Pure: no I/O, no tokio, no axum, no fred.
//!
//! An event is a CloudEvents 1.0 JSON object. Its `type` names its channel and decides which JSON Schema its `data` must
//! fit. [`Catalog::validate`] turns a document from a publisher into an [`Event`], or refuses it with every mistake and
//! the JSON Pointer of each.
//!
//! A Rust client takes the wire types only: [`Payload`] and its parts, [`Position`], [`Cursor`], [`Json`], [`Scalar`]. The
//! rest needs a JSON Schema validator, and comes with the feature `server`.

// The wire types, for clients too.
#[cfg(feature = "server")]
mod bits;
pub mod currency;
mod cursor;
#[cfg(feature = "server")]
mod cursor_base;
mod decimal;
pub mod json;
mod pointer;
mod position;
mod scalar;
mod types;

// Schemas, validation and filters, for the daemon.
#[cfg(feature = "server")]
mod builtin;
#[cfg(feature = "server")]
mod catalog;
#[cfg(feature = "server")]
mod channel;
#[cfg(feature = "server")]
mod duration;
#[cfg(feature = "server")]
mod envelope;
#[cfg(feature = "server")]
mod event_schema;
#[cfg(feature = "server")]
mod field_check;
#[cfg(feature = "server")]
mod filter;
#[cfg(feature = "server")]
mod meta_schema;
#[cfg(feature = "server")]
mod mistake;
#[cfg(feature = "server")]
mod per_channel;
#[cfg(feature = "server")]
mod schema_definitions;
#[cfg(feature = "server")]
mod schema_error;
#[cfg(feature = "server")]
mod schema_field;
#[cfg(feature = "server")]
mod schema_ids;
#[cfg(feature = "server")]
mod schema_lint;
#[cfg(feature = "server")]
mod schema_names;
#[cfg(feature = "server")]
mod schema_node;
#[cfg(feature = "server")]
mod schema_same;
#[cfg(feature = "server")]
mod schema_transforms;
#[cfg(feature = "server")]
mod selector;
#[cfg(feature = "server")]
mod sentence;
#[cfg(feature = "server")]
mod since;
#[cfg(feature = "server")]
mod type_settings;

pub use cursor::Cursor;
pub use decimal::Decimal;
pub use json::{Json, JsonError, JsonText, Member};
pub use position::{Epoch, ParsePositionError, Position};
pub use scalar::Scalar;
pub use types::{
    CacheInvalidate, DataAction, DataUpdate, FinanceChange, FinanceEntity, InventoryChange, OrderStatus,
    OrderStatusChange, Payload,
};

#[cfg(feature = "server")]
pub use self::{
    catalog::{Added, Catalog, EventType, wrong_name},
    channel::ChannelId,
    cursor_base::{CursorBase, PackedCursor},
    duration::{duration, duration_or_zero},
    envelope::{BRIDGE_CHANNEL, Defaults, Event, Refusal},
    filter::{Condition, Filter, FilterError, Test},
    mistake::{MAX_MISTAKES, Mistake},
    per_channel::PerChannel,
    schema_error::{SchemaError, SchemaErrors},
    schema_field::SchemaField,
    schema_names::SchemaNames,
    schema_node::SchemaNode,
    selector::Selector,
    since::{Moment, ParseSinceError, Since},
    type_settings::{TYPE_SETTINGS, TypeSettings},
};
