//! Whole daemons under load while something breaks: nothing is lost silently.
//!
//! A [`stage`] has daemons on one broker, each with a breakable link of its own to it where that is a Redis, [`publisher`]s
//! and [`subscriber`]s at all. A [`ledger`] has every event that was sent, with what was answered, and everything that each
//! subscriber saw; after the fault and the recovery the [`verdict`] says what promise was broken. The faults themselves are
//! in the files `of_…`; a new one is a test of a few lines there.
//!
//! Every random choice comes from one seed, which is printed; `TIDINGS_FAULT_SEED` repeats it. How large all this is says
//! the [`form`]: `make soak` has a longer one.

mod figures;
mod form;
mod ledger;
mod of_a_cluster;
mod of_files;
mod of_nodes;
mod of_redis;
mod of_sentinel;
mod of_subscribers;
mod of_the_bus;
mod of_the_clock;
mod of_the_link;
mod publisher;
mod stage;
mod subscriber;
mod verdict;
