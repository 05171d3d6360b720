//! tidings: a typed event bus. `ARCHITECTURE.md` says which modules an event passes and what each of them does.
//!
//! A Rust program that only publishes and subscribes takes `default-features = false`: it gets [`client`], [`cache`],
//! [`protocol`] and the wire types of [`event`]. The feature `cache-redis` adds the cache's second level in Redis, `server` the
//! daemon, and `file` and `redis` its brokers.
#![cfg_attr(
    all(doc, not(feature = "server")),
    expect(rustdoc::broken_intra_doc_links, reason = "the client's documentation names types of the daemon")
)]

pub mod cache;
pub mod client;
pub mod event;
pub mod protocol;
mod secret;
mod suggest;

pub use secret::Secret;

#[cfg(feature = "server")]
mod access;
#[cfg(feature = "server")]
mod admission;
#[cfg(feature = "server")]
mod announcer;
#[cfg(feature = "server")]
mod auth;
#[cfg(feature = "server")]
pub mod broker;
#[cfg(feature = "server")]
mod bus;
#[cfg(feature = "server")]
mod cascade;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod cli;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
mod connection;
#[cfg(feature = "server")]
mod deflate;
#[cfg(feature = "server")]
mod flows;
#[cfg(all(feature = "server", any(test, fuzzing)))]
#[doc(hidden)]
pub mod fuzz;
#[cfg(feature = "server")]
mod health;
#[cfg(feature = "server")]
mod http;
#[cfg(feature = "server")]
mod hub;
#[cfg(feature = "server")]
mod incidents;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod load;
#[cfg(feature = "server")]
mod metrics;
#[cfg(feature = "server")]
mod network;
#[cfg(feature = "server")]
mod occupancy;
#[cfg(feature = "server")]
mod outbound;
/// Internals for `benches/`, which measure them one by one, for `tests/conformance`, for tests that sign tokens, and for the
/// tests of the documents. Not part of the public interface.
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod parts {
    pub use crate::auth::sign;
    pub use crate::cache::local_bus::LocalBus;
    pub use crate::http::echo::serve as echo;
    pub use crate::hub::{ChannelStep, Index, IndexSlot, Member, StepKind};
    pub use crate::metrics::Metrics;
}
#[cfg(feature = "server")]
mod pace;
#[cfg(feature = "server")]
mod progress;
#[cfg(feature = "server")]
mod rate;
#[cfg(feature = "server")]
mod readiness;
#[cfg(feature = "server")]
mod recent;
#[cfg(feature = "server")]
mod registry;
#[cfg(feature = "server")]
mod relay;
#[cfg(feature = "server")]
mod replay;
#[cfg(feature = "server")]
pub mod schema;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
mod supervision;
#[cfg(feature = "server")]
pub mod telemetry;
#[cfg(feature = "server")]
mod transport;

/// The examples of docs/rust.md compile.
#[cfg(doctest)]
#[doc = include_str!("../docs/rust.md")]
struct RustPage;
