//! Where requests come from, as values: the addresses of clients, hosts, and the origins of pages. Pure: no I/O.
//!
//! All of them are parsed and then compared part by part. A comparison of text by its beginning or its end would take
//! `https://shop.example.evil.io` for `https://shop.example`.

mod address;
mod host;
mod origin;

pub use address::{ClientNetwork, Network, forwarded};
pub use host::{Authority, HostPattern};
pub use origin::{Origin, OriginPattern};
