//! tidings: a typed event bus. See `ARCHITECTURE.md` for the way of an event and the rooms it passes.

pub mod event;
pub mod protocol;

#[cfg(feature = "server")]
pub mod broker;
#[cfg(feature = "server")]
pub mod config;
