//! What the tests stand on: daemons, peers that know only the contract, and words for events.

pub mod daemon;
