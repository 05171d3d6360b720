//! Bridges: messages of existing Redis publishers become typed events, and events become messages.
//!
//! | file | what it knows |
//! |---|---|
//! | `settings.rs`, `type_check.rs` | the `[[bridge]]` tables, and whether they fit their event types |
//! | `shape.rs`, `pointer.rs` | from a message to an event and back |
//! | `inward.rs` | `direction = "in"`: listens, publishes, keeps what is no event |
//! | `queue.rs` | the messages that wait to be published |
//! | `outward.rs` | `direction = "out"`: sends events from a kept position |
//! | `origin.rs` | from which channel an event came, to which it does not go back |
//!
//! A bridge publishes through the application layer, so that its events are validated, bring cascades and are in the audit.
//! It never takes in what tidings itself publishes: neither the bus, nor what a bridge has sent.

mod inward;
mod origin;
mod outward;
mod pointer;
mod queue;
mod settings;
mod shape;
mod type_check;

use std::sync::Arc;
use std::time::Instant;

use prometheus_client::metrics::gauge::Gauge;
pub use settings::{BridgeSettings, read};

use self::inward::Inward;
use self::outward::Outward;
use self::settings::Direction;
use super::{Flow, FlowId};
use crate::broker::PubSub;
use crate::broker::examination::Finding;
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

/// Finds out whether the user of the bridge's Redis may do what the bridge does, without publishing anything.
pub async fn examine(settings: &BridgeSettings) -> Finding {
    const NAME: &str = "bridge";
    let BridgeSettings { name, redis, channels, patterns, direction, .. } = settings;
    let (listened, published): (&[String], &[String]) = match direction {
        Direction::In => (channels, &[]),
        Direction::Out => (&[], channels),
    };
    let tried = match PubSub::new(redis, name) {
        Ok(mut redis) => redis.missing_rights(listened, patterns, published).await,
        Err(error) => Err(error),
    };
    match tried {
        Err(cause) => {
            let advice =
                "check `redis` in the table of the bridge, and that the server runs and this machine reaches it";
            Finding::fails(NAME, format!("{name}: no connection to {redis}: {cause}"), advice)
        }
        Ok(rights) if !rights.missing.is_empty() => {
            let advice = "give the user these rights: docs/redis.md has all that a bridge needs";
            Finding::fails(NAME, format!("{name}: {}", rights.missing.join("; ")), advice)
        }
        Ok(rights) if rights.unknown => {
            let advice = "whether it may PUBLISH could not be tried: grant +multi +discard to have it checked";
            Finding::worse(NAME, format!("{name}: connects to {redis}"), advice)
        }
        Ok(_) => Finding::good(NAME, format!("{name}: has every right that it needs at {redis}")),
    }
}

/// Shows whether a bridge is connected to its Redis. Dropped, it is not.
struct Connected(Gauge);

impl Connected {
    /// It is not connected yet.
    fn new(parts: &Parts) -> Self {
        let connected = Self(parts.metrics.bridges.connected.get_or_create(&parts.id.label()).clone());
        connected.show(false);
        connected
    }

    fn show(&self, connected: bool) {
        self.0.set(connected.into());
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.show(false);
    }
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
