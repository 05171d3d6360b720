//! Encodes the WebSocket frames that the daemon sends (RFC 6455, section 5.2).
//!
//! A server does not mask its frames. So the bytes of a frame, header included, are the same for every receiver, and
//! the hub encodes an event once for all of them. This module does not know connections; `connection/inbound.rs` reads
//! frames.

use bytes::{BufMut, Bytes, BytesMut};

use crate::protocol::{CloseCode, ServerFrame};

const TEXT: u8 = 0x1;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;
const FIN: u8 = 0x80;
/// Set in a message's first frame: the message is compressed (RFC 7692, section 6).
const RSV1: u8 = 0x40;

/// The longest payload of a control frame, in bytes (RFC 6455, section 5.5).
pub const MAX_CONTROL: usize = 125;

/// A text frame.
pub fn text(payload: &[u8]) -> Bytes {
    data(TEXT, payload)
}

/// A text frame whose payload has `len` bytes, which `write` writes: so that a payload of several parts is copied once.
pub fn text_of(len: usize, write: impl FnOnce(&mut BytesMut)) -> Bytes {
    data_of(TEXT, len, write)
}

/// A text frame whose payload is compressed.
pub fn deflated_text(payload: &[u8]) -> Bytes {
    data(RSV1 | TEXT, payload)
}

/// A text frame with one of the daemon's own messages.
pub fn server(frame: &ServerFrame<'_>) -> Bytes {
    text(frame.to_json().as_bytes())
}

/// A Ping that the peer answers with this payload.
pub fn ping_with(payload: &[u8]) -> Bytes {
    control(PING, payload)
}

/// An empty Ping.
pub fn ping() -> Bytes {
    Bytes::from_static(&[FIN | PING, 0])
}

/// The Pong that answers a Ping with this payload.
pub fn pong(payload: &[u8]) -> Bytes {
    control(PONG, payload)
}

/// A Close. A reason that is too long for a control frame is cut between characters.
pub fn close(code: CloseCode, reason: &str) -> Bytes {
    let mut end = reason.len().min(MAX_CONTROL - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut payload = code.as_u16().to_be_bytes().to_vec();
    payload.extend_from_slice(&reason.as_bytes()[..end]);
    control(CLOSE, &payload)
}

/// The answer to a peer's Close: the peer's code, or no code where it sent none (RFC 6455, section 5.5.1).
pub fn close_echo(code: Option<u16>) -> Bytes {
    match code {
        Some(code) => control(CLOSE, &code.to_be_bytes()),
        None => control(CLOSE, &[]),
    }
}

fn data(opcode: u8, payload: &[u8]) -> Bytes {
    data_of(opcode, payload.len(), |frame| frame.put_slice(payload))
}

fn data_of(opcode: u8, len: usize, write: impl FnOnce(&mut BytesMut)) -> Bytes {
    // Exactly as many bytes as are needed: then `freeze` allocates nothing more.
    let mut frame = BytesMut::with_capacity(header_len(len) + len);
    put_header(&mut frame, opcode, len);
    write(&mut frame);
    debug_assert_eq!(frame.len(), header_len(len) + len);
    frame.freeze()
}

fn control(opcode: u8, payload: &[u8]) -> Bytes {
    debug_assert!(payload.len() <= MAX_CONTROL);
    let mut frame = BytesMut::with_capacity(payload.len() + 2);
    put_header(&mut frame, opcode, payload.len());
    frame.put_slice(payload);
    frame.freeze()
}

/// The length of the header of a frame with so many bytes of payload.
fn header_len(len: usize) -> usize {
    match len {
        0..=125 => 2,
        126..=0xFFFF => 4,
        _ => 10,
    }
}

fn put_header(frame: &mut BytesMut, opcode: u8, len: usize) {
    frame.put_u8(FIN | opcode);
    match len {
        0..=125 => frame.put_u8(len as u8),
        126..=0xFFFF => {
            frame.put_u8(126);
            frame.put_u16(len as u16);
        }
        _ => {
            frame.put_u8(127);
            frame.put_u64(len as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;
    use tungstenite::protocol::frame::FrameHeader;

    #[test]
    fn lengths_are_written_in_their_shortest_form() {
        for (len, header) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let frame = text(&vec![b'x'; len]);
            assert_eq!(frame.len(), len + header, "{len}");
            let (read, payload) = FrameHeader::parse(&mut Cursor::new(&frame)).unwrap().unwrap();
            assert_eq!(payload, len as u64);
            assert!(read.is_final && read.mask.is_none());
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let frame = close(CloseCode::TooBig, &"é".repeat(100));
        assert!(frame.len() <= 2 + MAX_CONTROL);
        assert_eq!(&frame[2..4], &1009u16.to_be_bytes());
        assert!(std::str::from_utf8(&frame[4..]).is_ok());
    }
}
