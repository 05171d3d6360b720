//! `/v1/ws`: frames, subscriptions, filters, heartbeats, order and slow consumers.

mod burst;
mod errors;
mod filter_model;
mod filters;
mod heartbeat;
mod order;
mod resume;
mod slow;
mod subscriptions;
mod welcome;
