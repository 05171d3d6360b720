//! permessage-deflate (RFC 7692): what is agreed in the handshake, and how messages become smaller and large again.
//!
//! Nothing is remembered from one message to the next, in either direction: so one compressed frame is the same for all
//! who agreed, and a connection holds no window. This room knows bytes and header lines; sockets, frames and events are
//! others' business.

mod codec;
mod header;
mod offer;

pub use codec::{Deflater, InflateError, inflate, longest_deflated};
pub use offer::{Malformed, agree};

/// The window of what we compress, as a power of two: 4 KiB. Events repeat themselves within that, so a larger one makes
/// them no smaller; and every client that asks for at least this much can be served with the one frame that all share.
const WINDOW_BITS: u8 = 12;
