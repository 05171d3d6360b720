//! Tests of `POST /v1/events`: which requests the daemon accepts, how it refuses the others, and what subscribers receive.

mod attributes;
mod batch;
mod binary;
mod bodies;
mod codings;
mod data;
mod dedup;
mod malformed;
mod numbers;
mod one;
mod problems;
mod unavailable;
