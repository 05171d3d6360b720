//! The daemon against its contract, from the outside: over HTTP and WebSocket, with every broker.
#![cfg(feature = "server")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli;
mod config;
mod support;
