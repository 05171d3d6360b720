//! tidings: a typed event bus. `ARCHITECTURE.md` shows the path of an event and the modules on it.

pub mod client;
pub mod event;
pub mod protocol;
pub mod schema;

#[cfg(feature = "server")]
mod access;
#[cfg(feature = "server")]
mod admission;
#[cfg(feature = "server")]
pub mod broker;
#[cfg(feature = "server")]
mod bus;
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
mod health;
#[cfg(feature = "server")]
mod http;
#[cfg(feature = "server")]
mod hub;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod load;
#[cfg(feature = "server")]
mod metrics;
/// What `benches/micro` measures by itself: no part of what this crate offers.
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod parts {
    pub use crate::hub::{ChannelStep, Index, IndexSlot, Member, StepKind};
}
#[cfg(feature = "server")]
mod progress;
#[cfg(feature = "server")]
mod readiness;
#[cfg(feature = "server")]
mod registry;
#[cfg(feature = "server")]
mod relay;
#[cfg(feature = "server")]
mod replay;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
mod supervision;
#[cfg(feature = "server")]
pub mod telemetry;
