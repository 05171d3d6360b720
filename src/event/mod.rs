//! The domain: what an event is, which types there are, where an event stands, who wants it.
//!
//! An event is a CloudEvents 1.0 JSON object; its `type` names its channel and decides what its `data` must be. A
//! document from outside becomes an [`Event`] in one place, [`Catalog::accept`], or is refused with every mistake and
//! the place of each. Nothing in this room does I/O: no tokio, no axum, no fred (a test says so).

mod catalog;
pub mod currency;
mod envelope;
mod fields;
mod filter;
mod identity;
mod mistake;
mod per_channel;
mod place;
mod position;
mod since;
mod types;

pub use catalog::{Catalog, ChannelId, EventType, SchemaError};
pub use envelope::{Defaults, Event, Refusal, RefusalKind};
pub use fields::Field;
pub use filter::{Condition, Filter, FilterError, Scalar, Test};
pub use mistake::{MAX_MISTAKES, Mistake};
pub use per_channel::PerChannel;
pub use place::Place;
pub use position::{Epoch, ParsePositionError, Position};
pub use since::{Cursor, Moment, ParseSinceError, Since};
pub use types::{
    CacheInvalidate, DataAction, DataUpdate, FinanceChange, FinanceEntity, InventoryChange, OrderStatus,
    OrderStatusChange, Payload,
};
