//! What the cache needs of the bus: invalidations and losses in order, a proof, and a way to publish.
//!
//! A test drives the cache with a source of its own. `bus.rs` makes one of a client.

use std::sync::Weak;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::error::Error;
use crate::event::{CacheInvalidate, Position};

/// The channel of invalidations.
pub const CHANNEL: &str = "cache-invalidate";

/// A delivered invalidation.
#[derive(Debug, Clone)]
pub struct DeliveredInvalidation {
    pub position: Position,
    pub id: String,
    /// The id of the event to which this one belongs: the hold of a `mutate`.
    pub cause: Option<String>,
    pub data: CacheInvalidate,
}

/// What a source reports, in the order of the channel, one call after the other.
pub trait SourceHandler: Send + Sync {
    fn invalidated(&self, invalidation: &DeliveredInvalidation);
    /// Events up to and including `position` are lost, or the log is a new one.
    fn lost(&self, position: &Position);
    /// The daemon has refused the subscription. The source tries again.
    fn refused(&self, error: Error);
    /// The answer to [`Source::sync`]: everything up to the position was reported. `None`: that is not known.
    fn synced(&self, number: u64, position: Option<&Position>);
}

/// An invalidation to publish.
pub struct Publication {
    pub data: CacheInvalidate,
    pub id: String,
    pub cause: Option<String>,
    /// For how long it is tried. `None`: as the client does by default.
    pub limit: Option<Duration>,
}

/// The bus, as the cache sees it.
pub trait Source: Send + Sync {
    /// Begins to report: everything that the log still has if `replay`, else what is new.
    fn start(&self, handler: Weak<dyn SourceHandler>, replay: bool);
    /// Whether a `sync` can be answered soon.
    fn is_connected(&self) -> bool;
    /// Asks for a proof that everything was reported that the log has now. The answer is [`SourceHandler::synced`].
    fn sync(&self, number: u64);
    /// Ends the reports.
    fn stop(&self);
    /// Publishes an invalidation, and returns its position.
    fn publish(&self, publication: Publication) -> BoxFuture<'static, Result<Position, Error>>;
}
