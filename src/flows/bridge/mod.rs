//! Bridges: messages of existing Redis publishers become typed events, and events become messages.
//!
//! | file | what it knows |
//! |---|---|
//! | `settings.rs` | the `[[bridge]]` tables |
//! | `shape.rs`, `pointer.rs` | from a message to an event and back |
//! | `inward.rs` | `direction = "in"`: listens, publishes, keeps what is no event |
//! | `outward.rs` | `direction = "out"`: sends events from a kept position |
//!
//! A bridge publishes through the application layer, so that its events are validated, bring cascades and are in the audit.
//! It never takes in what tidings itself publishes: neither the bus, nor what a bridge has sent.

mod inward;
mod outward;
mod pointer;
mod settings;
mod shape;

use std::sync::Arc;
use std::time::Instant;

pub use settings::{BridgeSettings, read};

use self::inward::Inward;
use self::outward::Outward;
use self::settings::Direction;
use super::{Flow, FlowId};
use crate::bus::Bus;
use crate::event::Catalog;
use crate::metrics::Metrics;

/// The kind of these flows.
pub const KIND: &str = "bridge";

/// What a bridge works with.
#[derive(Clone)]
struct Parts {
    id: FlowId,
    settings: BridgeSettings,
    bus: Arc<Bus>,
    catalog: Arc<Catalog>,
    metrics: Arc<Metrics>,
    /// The setting `prefix`.
    prefix: String,
    /// The setting `max_event_bytes`.
    max_event_bytes: usize,
    /// When this node made the bridge. A new one with `direction = "out"` begins there.
    made: Instant,
}

/// The flow of a table.
pub fn flow(
    settings: BridgeSettings,
    bus: Arc<Bus>,
    catalog: Arc<Catalog>,
    metrics: Arc<Metrics>,
    prefix: &str,
    max_event_bytes: usize,
) -> Arc<dyn Flow> {
    let id = FlowId { kind: KIND, name: settings.name.as_str().into() };
    metrics.flows.announce(&id.label());
    metrics.bridges.announce(&id.label());
    let direction = settings.direction;
    let parts =
        Parts { id, settings, bus, catalog, metrics, prefix: prefix.to_owned(), max_event_bytes, made: Instant::now() };
    match direction {
        Direction::In => Arc::new(Inward(parts)),
        Direction::Out => Arc::new(Outward(parts)),
    }
}
