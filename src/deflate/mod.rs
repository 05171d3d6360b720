//! permessage-deflate (RFC 7692): the negotiation in the WebSocket handshake, and compression of single messages.
//!
//! Neither side keeps a compression context from one message to the next. So the hub compresses an event once, and
//! sends the same frame to every connection that agreed; and a connection holds no window. `connection/inbound.rs`
//! inflates what clients send. This module knows bytes and header lines; it does not know sockets, frames or events.

mod codec;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod header;
mod offer;

pub use codec::{Deflater, InflateError, inflate, longest_deflated};
pub use header::Malformed;
pub use offer::agree;

/// The window of the compressor, as a power of two: 4 KiB. Events are short, so a larger window makes them no smaller.
/// Any client that allows a window of at least this size can inflate the shared frame.
const WINDOW_BITS: u8 = 12;
