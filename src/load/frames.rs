//! A server's stream split into messages, and the few frames that a client sends (RFC 6455, section 5).

use std::io;

const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;
const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const MASK: u8 = 0x80;
/// The longest payload that is taken: what says that it is longer is no server of events.
const LONGEST: u64 = 16 * 1024 * 1024;

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub enum Message<'a> {
    Data(&'a [u8]),
    /// Deflated data (RFC 7692).
    Compressed(&'a [u8]),
    Ping(&'a [u8]),
    Pong,
    Close(Option<u16>),
}

/// Splits a stream of unmasked frames.
#[derive(Debug, Default)]
pub struct Frames {
    /// The frame that has not come whole.
    partial: Vec<u8>,
}

impl Frames {
    /// Takes what was read and passes on each message that is whole now. Fragments count as messages of their own: of the
    /// servers that are measured, none sends any.
    ///
    /// # Errors
    /// Where a frame is too long to wait for.
    pub fn take(&mut self, mut bytes: &[u8], mut each: impl FnMut(Message<'_>)) -> io::Result<()> {
        while !self.partial.is_empty() && !bytes.is_empty() {
            // As much as is missing, which may be just the rest of the header.
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

/// The sizes of a frame's header and payload, or how many bytes of the header are missing.
fn size(bytes: &[u8]) -> io::Result<Result<(usize, usize), usize>> {
    let [_, len, rest @ ..] = bytes else { return Ok(Err(2 - bytes.len())) };
    Ok(match len & !MASK {
        126 => match rest {
            [a, b, ..] => Ok((4, usize::from(u16::from_be_bytes([*a, *b])))),
            _ => Err(2 - rest.len()),
        },
        127 => match rest.first_chunk::<8>().map(|len| u64::from_be_bytes(*len)) {
            Some(len) if len > LONGEST => {
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

/// A client's data frame. The mask is zero, which leaves the payload as it is: it protects proxies from hostile scripts,
/// and there are none of either here.
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
        fn messages_are_found_wherever_the_stream_is_cut(
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
    fn control_frames_are_told_from_data() {
        let mut stream = server_frame(PING, b"x");
        stream.extend(server_frame(CLOSE, &1008u16.to_be_bytes()));
        let mut found = Vec::new();
        Frames::default().take(&stream, |message| found.push(format!("{message:?}"))).unwrap();
        assert_eq!(found, ["Ping([120])", "Close(Some(1008))"]);
    }

    #[test]
    fn a_frame_without_end_is_not_waited_for() {
        for len in [LONGEST + 1, u64::MAX - 9, u64::MAX] {
            let head = [&[FIN | BINARY, 127][..], &len.to_be_bytes()].concat();
            assert!(Frames::default().take(&head, |_| {}).is_err());
            let mut frames = Frames::default();
            let (first, rest) = head.split_at(5);
            frames.take(first, |_| {}).unwrap();
            assert!(frames.take(rest, |_| {}).is_err(), "{len}");
        }
    }
}
