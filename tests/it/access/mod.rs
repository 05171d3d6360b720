//! Who may do what: grants, pins, and credentials that end, over all paths.

mod commands;
mod in_flight;
mod latest;
mod live;
mod matrix;
mod namespaces;
mod order;
mod pins;
mod renewals;
mod revoked;
mod revoked_away;
mod secret_files;
mod table;
pub mod world;
