//! What the parts of an event's way cost, each by itself: to judge a document, to encode a frame, to find who wants it.
//!
//! `make bench-micro` runs them all, `make bench-micro ONLY=index` those whose names contain that. They show which part
//! a change made cheaper or dearer; what a delivery costs is only told by a daemon with sockets.
#![expect(clippy::unwrap_used, reason = "a benchmark of what is refused or not found would be wrong")]

mod accept;
mod encode;
mod index;

use criterion::{criterion_group, criterion_main};

criterion_group!(benches, accept::benches, encode::benches, index::benches);
criterion_main!(benches);
