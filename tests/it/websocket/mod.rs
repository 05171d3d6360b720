//! Tests of `/v1/ws`: welcome, subscriptions, filters, order, resuming with `since`, heartbeats, errors and slow consumers.

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
