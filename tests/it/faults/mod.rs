//! Fault injection: real daemons under load while something breaks. The tests prove that no event is lost silently.
//!
//! - [`scenarios`] has the faults, one short test each.
//! - [`harness`] starts the daemons ([`node`]) on one broker, with a proxy in front of a Redis, and runs publishers and
//!   subscribers.
//! - [`publisher`] and [`subscriber`] generate the load. They know only the contract.
//! - [`ledger`] records every event that was sent, every response, and everything that each subscriber received.
//! - [`checker`] reads the ledger after the recovery, and returns every broken promise.
//! - [`webhook`] is one more receiver, with a check of its own.
//! - [`bridge`] is one more publisher, which knows Redis only, and a reader of what a bridge sends there.
//! - [`latest`] compares the newest event of each subject with the log.
//! - [`profile`] sets the amount of load: short in every test run, long in `make soak`. [`figures`] prints the results.
//!
//! All random choices come from one seed, which is printed; `TIDINGS_FAULT_SEED` repeats it.

mod bridge;
mod checker;
mod figures;
mod harness;
mod latest;
mod ledger;
mod node;
mod profile;
mod publisher;
mod scenarios;
mod subscriber;
mod webhook;
