//! Splits a server's stream into WebSocket messages, and encodes a client's frames (RFC 6455, section 5).
//!
//! It copies only a frame that a read has cut. It does not know what the messages mean.

use std::io;

const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;
const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const MASK: u8 = 0x80;
/// The longest payload that is accepted. No server of events sends a longer one.
const MAX_PAYLOAD: u64 = 16 * 1024 * 1024;

/// A message or control frame of the server.
#[derive(Debug, PartialEq, Eq)]
pub enum Message<'a> {
    Data(&'a [u8]),
    /// Compressed data (RFC 7692).
    Compressed(&'a [u8]),
    Ping(&'a [u8]),
    Pong,
    Close(Option<u16>),
}

/// Splits a stream of unmasked frames.
#[derive(Debug, Default)]
pub struct Frames {
    /// The received part of an incomplete frame.
    partial: Vec<u8>,
}

impl Frames {
    /// Decodes received bytes, and calls `each` with every message that they complete. A fragment counts as a message
    /// of its own: none of the measured servers sends fragments.
    ///
    /// # Errors
    /// Where a frame is longer than 16 MiB.
    pub fn take(&mut self, mut bytes: &[u8], mut each: impl FnMut(Message<'_>)) -> io::Result<()> {
        while !self.partial.is_empty() && !bytes.is_empty() {
            // The missing bytes of the frame, or only of its header while its length is unknown.
            let missing = match size(&self.partial)? {
                Ok((header, payload)) => header + payload - self.partial.len(),
                Err(missing) => missing,
            };
            let (more, rest) = bytes.split_at(missing.min(bytes.len()));
            self.partial.extend_from_slice(more);
            bytes = rest;
            if let Ok((header, payload)) = size(&self.partial)?
                && self.partial.len() == header + payload
            {
                each(message(&self.partial, header));
                self.partial.clear();
            }
        }
        while let Ok((header, payload)) = size(bytes)?
            && bytes.len() >= header + payload
        {
            let (frame, rest) = bytes.split_at(header + payload);
            each(message(frame, header));
            bytes = rest;
        }
        self.partial.extend_from_slice(bytes);
        Ok(())
    }
}

/// The sizes of a frame's header and payload. The inner error is the number of missing bytes of the header.
fn size(bytes: &[u8]) -> io::Result<Result<(usize, usize), usize>> {
    let [_, len, rest @ ..] = bytes else { return Ok(Err(2 - bytes.len())) };
    Ok(match len & !MASK {
        126 => match rest {
            [a, b, ..] => Ok((4, usize::from(u16::from_be_bytes([*a, *b])))),
            _ => Err(2 - rest.len()),
        },
        127 => match rest.first_chunk::<8>().map(|len| u64::from_be_bytes(*len)) {
            Some(len) if len > MAX_PAYLOAD => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {len} bytes")));
            }
            Some(len) => Ok((10, len as usize)),
            None => Err(8 - rest.len()),
        },
        len => Ok((2, usize::from(len))),
    })
}

fn message(frame: &[u8], header: usize) -> Message<'_> {
    let payload = &frame[header..];
    match frame[0] & 0xF {
        PING => Message::Ping(payload),
        PONG => Message::Pong,
        CLOSE => Message::Close(payload.first_chunk().map(|code| u16::from_be_bytes(*code))),
        _ if frame[0] & RSV1 != 0 => Message::Compressed(payload),
        _ => Message::Data(payload),
    }
}

/// A client's data frame. Its mask is zero and leaves the payload as it is. Masks protect proxies from hostile scripts,
/// and a benchmark has neither.
pub fn client_frame(payload: &[u8], binary: bool) -> Vec<u8> {
    frame(if binary { BINARY } else { TEXT }, payload)
}

/// The answer to a Ping.
pub fn pong(payload: &[u8]) -> Vec<u8> {
    frame(PONG, payload)
}

fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![FIN | opcode];
    match payload.len() {
        len @ 0..=125 => frame.push(MASK | len as u8),
        len @ 126..=0xFFFF => {
            frame.push(MASK | 126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(MASK | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn server_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = frame(opcode, payload);
        let header = bytes.len() - payload.len();
        bytes.drain(header - 4..header);
        bytes[1] &= !MASK;
        bytes
    }

    proptest! {
        #[test]
        fn messages_do_not_depend_on_the_splits_of_the_stream(
            lengths in prop::collection::vec(prop_oneof![0..300usize, 65_000..66_000usize], 0..6),
            cuts in prop::collection::vec(1..5_000usize, 1..40),
        ) {
            let payloads: Vec<Vec<u8>> = lengths.iter().enumerate().map(|(n, len)| vec![n as u8; *len]).collect();
            let stream: Vec<u8> = payloads.iter().flat_map(|payload| server_frame(TEXT, payload)).collect();
            let (mut frames, mut found, mut rest) = (Frames::default(), Vec::new(), &stream[..]);
            for cut in cuts.iter().cycle() {
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                frames.take(piece, |message| {
                    let Message::Data(payload) = message else { panic!("{message:?}") };
                    found.push(payload.to_vec());
                })?;
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(found, payloads);
        }
    }

    #[test]
    fn control_frames_are_distinguished_from_data() {
        let mut stream = server_frame(PING, b"x");
        stream.extend(server_frame(CLOSE, &1008u16.to_be_bytes()));
        let mut found = Vec::new();
        Frames::default().take(&stream, |message| found.push(format!("{message:?}"))).unwrap();
        assert_eq!(found, ["Ping([120])", "Close(Some(1008))"]);
    }

    #[test]
    fn a_frame_that_is_too_long_is_refused() {
        for len in [MAX_PAYLOAD + 1, u64::MAX - 9, u64::MAX] {
            let head = [&[FIN | BINARY, 127][..], &len.to_be_bytes()].concat();
            assert!(Frames::default().take(&head, |_| {}).is_err());
            let mut frames = Frames::default();
            let (first, rest) = head.split_at(5);
            frames.take(first, |_| {}).unwrap();
            assert!(frames.take(rest, |_| {}).is_err(), "{len}");
        }
    }
}
