//! What operators and the console ask a node: `/v1/connections`, `/v1/incidents`, and the counts of `/v1/channels`.

mod channels;
mod connections;
mod incidents;
mod terminal;
mod top;

/// The channel of the tests' slow consumers.
const SALES: &str = "inventory-change";
