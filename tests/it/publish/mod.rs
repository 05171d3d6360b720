//! `POST /v1/events`: what is taken, what is refused and how it is said, and what subscribers get of it.

mod attributes;
mod batch;
mod binary;
mod bodies;
mod data;
mod dedup;
mod one;
mod problems;
mod unavailable;
