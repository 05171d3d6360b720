//! From a credential to a [`Principal`](crate::access::Principal).
#![cfg_attr(not(test), expect(dead_code, reason = "the transports and the command line take it up next"))]

pub mod sign;
