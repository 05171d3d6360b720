//! The integration tests, in one binary. Each module starts the daemons and brokers that it needs, and all tests run in
//! parallel.

#![cfg(feature = "server")]
#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot continue must fail")]

mod admission;
mod announcements;
mod broker;
mod cli;
mod client;
mod cluster;
mod completions;
mod config;
mod credentials;
mod cursors;
mod deployment;
mod documents;
mod drain_notice;
mod error_texts;
mod examples;
mod faults;
mod file_log;
mod health;
mod history;
mod layers;
mod load;
mod lost_signals;
mod moments;
mod nodes;
mod one_bus;
mod output;
mod pace;
mod partitioned;
mod publish;
mod pulse;
mod quiet_loss;
mod readiness;
mod redis_access;
mod redis_boundary;
mod redis_calls;
mod redis_faults;
mod redis_restored;
mod relay_reads;
mod retry;
mod rfc6455;
mod rfc7692;
mod routes;
mod schemas;
mod sentinel;
mod shutdown;
mod signals;
mod sse_clients;
mod stream;
mod supervision;
mod support;
mod survivors;
mod websocket;
