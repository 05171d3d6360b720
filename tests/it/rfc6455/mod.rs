//! The WebSocket protocol to the letter, byte by byte.

mod closing;
mod flood;
mod fragments;
mod handshake;
mod slow_handshake;
mod violations;
