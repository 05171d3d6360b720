//! The faults, one test each. A test starts a [`Harness`](super::harness::Harness) under load, injects its fault, waits for the
//! recovery, and ends with `finish`, which checks the ledger and the number of gaps that each subscriber must have received.

mod bus;
mod clock;
mod cluster;
mod files;
mod link;
mod nodes;
mod redis;
mod sentinel;
mod subscribers;
