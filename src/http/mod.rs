//! The HTTP side: the routes, what every request passes through, and one file for each group of routes.
//!
//! Handlers translate: a request into a call of the application layer, its answer or problem into a response. They have no
//! rule of their own, and never touch the hub's connections.

pub mod asyncapi;
mod caller;
mod ce_header;
mod channels;
mod connections;
mod console;
mod content_coding;
mod described;
pub mod direct;
pub mod echo;
pub mod edge;
mod entity_tag;
mod envelope;
mod events;
mod failure_log;
mod flows;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod handshake;
mod health;
mod history;
mod incidents;
mod latest;
mod media_type;
pub mod needs_tls;
mod nodes;
pub mod openapi;
mod parse_limit;
mod problem;
mod raw;
mod request_id;
mod respond;
mod revocations;
mod route_table;
mod routes;
mod schemas;
mod side;
mod start_page;
mod stream;
pub mod takeover;
mod webhooks;
mod websocket;

use std::sync::Arc;

use crate::bus::Bus;
use crate::config::RequestLimits;
use crate::connection::Connections;
use crate::flows::DeadBoxes;
use crate::flows::webhook::Webhooks;
use crate::metrics::Metrics;
pub use described::TypeExamples;
use edge::Edge;
pub use failure_log::FailureLog;
pub use parse_limit::ParseLimit;
pub use raw::raw;
pub use respond::respond;
pub use routes::Routes;
pub use side::Side;

/// What the handlers work with.
#[derive(Clone)]
pub struct App(pub Arc<AppState>);

/// See [`App`].
pub struct AppState {
    pub bus: Arc<Bus>,
    pub connections: Arc<Connections>,
    pub webhooks: Webhooks,
    pub metrics: Arc<Metrics>,
    pub limits: RequestLimits,
    pub parse_limit: ParseLimit,
    /// Whether clients reach this node with TLS, without a proxy that adds it.
    pub tls: bool,
    /// Whether WebSocket clients may have their events compressed.
    pub compression: bool,
    /// Whether browsers get the console.
    pub console: bool,
    pub edge: Edge,
    pub dead_boxes: DeadBoxes,
    /// An example of an event of each type.
    pub examples: TypeExamples,
    pub failure_log: FailureLog,
}

impl std::ops::Deref for App {
    type Target = AppState;

    fn deref(&self) -> &AppState {
        &self.0
    }
}
