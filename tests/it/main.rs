//! The integration tests: one binary, whose modules start what they need themselves and run in parallel.

mod broker;
mod redis_faults;
mod support;
