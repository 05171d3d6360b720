//! The daemon's WebSocket server against RFC 6455, tested with raw bytes: handshake, framing, closing and flooding clients.

mod closing;
mod flood;
mod fragments;
mod handshake;
mod slow_handshake;
mod two_readers;
mod violations;
