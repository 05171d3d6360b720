//! The integration tests: one binary, whose modules start what they need themselves and run in parallel.

#![cfg(feature = "server")]
#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod broker;
mod cli;
mod config;
mod load;
mod redis_faults;
mod support;
