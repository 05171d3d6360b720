//! Whole daemons under load while Redis or the way to it breaks: nothing is lost silently.
//!
//! A [`stage`] has daemons on one Redis, each with a breakable link of its own, [`publisher`]s and [`subscriber`]s at
//! all. A [`ledger`] has every event that was sent, with what was answered, and everything that each subscriber saw;
//! after the fault and the recovery the [`verdict`] says what promise was broken. The faults themselves are in
//! [`of_redis`], [`of_sentinel`], [`of_a_cluster`], [`of_the_link`], [`of_the_bus`] and [`of_nodes`]; a new one is a test of
//! a few lines there.

mod ledger;
mod of_a_cluster;
mod of_nodes;
mod of_redis;
mod of_sentinel;
mod of_the_bus;
mod of_the_link;
mod publisher;
mod stage;
mod subscriber;
mod verdict;
