//! Benchmarks of single parts of an event's path, validation, encoding and the filter index, and of the near cache.
//!
//! `make bench-micro` runs them all, `make bench-micro ONLY=index` those whose names contain `index`. They show which
//! part a change makes faster or slower. Only the fan-out benchmark measures the cost of a delivery.
#![expect(clippy::unwrap_used, reason = "a benchmark whose input is refused or not found would be wrong")]

mod accept;
mod cache;
mod encode;
mod index;

use criterion::{criterion_group, criterion_main};

criterion_group!(benches, accept::benches, cache::benches, encode::benches, index::benches);
criterion_main!(benches);
