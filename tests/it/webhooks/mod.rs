//! Webhooks: the real daemon, receivers on real sockets, and the reference libraries that verify signatures.
//!
//! - [`receiver`] answers as a test says, and records every request.
//! - [`delivery`]: signatures, order, retries, dead letters, gaps, stops.
//! - [`addresses`]: where nothing is sent to.
//! - [`losses`]: a broker that loses its data. [`tenants`]: who may operate a webhook.
//! - [`takeover`]: two nodes on one Redis, of which one dies, stands still or drains.

mod addresses;
mod delivery;
mod losses;
pub mod receiver;
mod takeover;
mod tenants;
