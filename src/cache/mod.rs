//! A near cache that the bus keeps coherent: a read never returns a value that is older than an invalidation which was
//! acknowledged more than [`Options::bound`] before, whatever happened to connections, nodes, Redis or the process in between.
//!
//! An entry is served only if it is **valid** (no invalidation after its load matches its key, tags or prefixes, and none was
//! lost), **proven** (it was loaded, or a `sync` of the bus was sent that is answered, within the bound), and **young** (within
//! its TTL). If the bus is away, a value so lives for the bound, and no read fails. `docs/cache.md` says what it assumes of writers
//! and loaders.
//!
//! ```no_run
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use tidings::cache::{Coherence, Invalidation, Options};
//! use tidings::client::Client;
//!
//! # async fn load_product(id: u32) -> Result<Option<String>, std::io::Error> { Ok(None) }
//! # async fn example() -> Result<(), tidings::cache::Error> {
//! let client = Client::new("http://127.0.0.1:7400")?;
//! let coherence = Coherence::connect(client, Options::default()).await?;
//! let products = coherence.cache::<String>("product");
//! let product: Option<Arc<String>> = products
//!     .entry("123")
//!     .tags(["products:123"])
//!     .ttl(Duration::from_secs(300))
//!     .get_or_load(|_| load_product(123))
//!     .await?;
//! // After a write was committed:
//! coherence.invalidate(Invalidation::tag("products:123")).await?;
//! # Ok(())
//! # }
//! ```
//!
//! The modules are those of the TypeScript cache (`clients/typescript/src/cache`), and both pass the cases of
//! `tests/cache/cases.json`.

mod bus;
mod clock;
mod coherence;
mod connect;
mod core;
mod error;
mod events;
mod flights;
mod history;
mod holds;
mod l2;
mod loads;
#[cfg(feature = "server")]
pub(crate) mod local_bus;
mod proof;
mod reads;
#[cfg(feature = "cache-redis")]
mod redis;
mod source;
mod store;
mod typed;
mod types;
mod validity;
mod verify;
mod writes;

pub use connect::Coherence;
pub use error::{BoxError, Error};
pub use events::{Event, Events, Stats};
pub use l2::{Foreign, L2, L2Entry};
#[cfg(feature = "cache-redis")]
pub use redis::RedisL2;
pub use typed::{Cache, LoadContext, Read};
pub use types::{Invalidation, Options};

#[cfg(test)]
mod tests;
