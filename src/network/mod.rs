//! Where requests come from and where they go, as values: the addresses of clients, hosts, the origins of pages, and which
//! addresses are public. Pure: no I/O.
//!
//! All of them are parsed and then compared part by part. A comparison of text by its beginning or its end would take
//! `https://shop.example.evil.io` for `https://shop.example`.

mod address;
mod host;
mod origin;
mod reach;

pub use address::{ClientNetwork, Network, forwarded};
pub use host::{Authority, HostPattern};
pub use origin::{Origin, OriginPattern};
pub use reach::not_public;
