//! Reading what a WebSocket client sends: bytes in, whole messages out, or the Close that they earn.
//!
//! A state machine without I/O (RFC 6455, sections 5 and 7). It holds memory only while a message is incomplete: an idle
//! connection has no buffer. The header is parsed by tungstenite; masks, fragments, control frames, UTF-8 and limits are
//! ours, because no library reads without a buffer for each connection.

use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use crate::deflate::{self, InflateError};
use crate::hub::frame::MAX_CONTROL;
use crate::protocol::CloseCode;

/// Reads one connection's frames.
#[derive(Debug)]
pub struct Inbound {
    /// The longest message, in bytes.
    limit: usize,
    /// Whether messages may be compressed.
    deflate: bool,
    /// Whether the open message is.
    deflated: bool,
    /// The start of a frame whose rest has not come.
    partial: Vec<u8>,
    /// The fragments of a message so far, where one is open.
    message: Option<Vec<u8>>,
}

/// What the peer said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    Text(String),
    Ping(Vec<u8>),
    Pong,
    /// A Close, with its code where it has one.
    Close(Option<u16>),
}

/// The peer broke the protocol or a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Violation {
    pub code: CloseCode,
    pub reason: &'static str,
}

impl Inbound {
    /// With `deflate`, messages may be compressed.
    pub fn new(limit: usize, deflate: bool) -> Self {
        Self { limit, deflate, deflated: false, partial: Vec::new(), message: None }
    }

    /// Takes bytes (and unmasks them in place) and gives `each` what they complete, until they or its patience (`false`)
    /// end.
    ///
    /// # Errors
    /// [`Violation`]; nothing more can be read then.
    pub fn read(&mut self, bytes: &mut [u8], mut each: impl FnMut(Message) -> bool) -> Result<(), Violation> {
        if self.partial.is_empty() {
            let taken = self.frames(bytes, &mut each)?;
            self.partial = bytes[taken..].to_vec();
        } else {
            let mut joined = std::mem::take(&mut self.partial);
            joined.extend_from_slice(bytes);
            let taken = self.frames(&mut joined, &mut each)?;
            self.partial = if taken == 0 { joined } else { joined[taken..].to_vec() };
        }
        Ok(())
    }

    /// Reads the whole frames at the beginning of `bytes` and returns how long they are together.
    fn frames(&mut self, bytes: &mut [u8], each: &mut impl FnMut(Message) -> bool) -> Result<usize, Violation> {
        let mut taken = 0;
        loop {
            let mut cursor = Cursor::new(&bytes[taken..]);
            let parsed =
                FrameHeader::parse(&mut cursor).map_err(|_| violation(CloseCode::Protocol, "unknown opcode"))?;
            let Some((header, length)) = parsed else { return Ok(taken) };
            self.check(&header, length)?;
            // The length was checked: it fits.
            let start = taken + cursor.position() as usize;
            let end = start + length as usize;
            let Some(payload) = bytes.get_mut(start..end) else { return Ok(taken) };
            unmask(payload, header.mask.unwrap_or_default());
            taken = end;
            if let Some(said) = self.frame(&header, payload)?
                && !each(said)
            {
                return Ok(bytes.len());
            }
        }
    }

    /// What can be said of a frame by its header alone, before its payload has come.
    fn check(&self, header: &FrameHeader, length: u64) -> Result<(), Violation> {
        let protocol = |reason| Err(violation(CloseCode::Protocol, reason));
        // Of a compressed message, the first frame alone says so (RFC 7692, section 6.1).
        let first = matches!(header.opcode, OpCode::Data(Data::Text | Data::Binary));
        if header.rsv1 && !(self.deflate && first) || header.rsv2 || header.rsv3 {
            return protocol("a reserved bit is set");
        }
        if header.mask.is_none() {
            return protocol("a client's frames are masked");
        }
        match header.opcode {
            OpCode::Control(_) if !header.is_final => return protocol("a control frame is fragmented"),
            OpCode::Control(_) if length > MAX_CONTROL as u64 => return protocol("a control frame is too long"),
            OpCode::Data(Data::Continue) if self.message.is_none() => return protocol("nothing to continue"),
            OpCode::Data(Data::Text | Data::Binary) if self.message.is_some() => {
                return protocol("the message before is not complete");
            }
            OpCode::Data(Data::Binary) => {
                return Err(violation(CloseCode::Unsupported, "text frames only"));
            }
            _ => {}
        }
        let (before, deflated) = match &self.message {
            Some(message) => (message.len(), self.deflated),
            None => (0, header.rsv1),
        };
        let limit = if deflated { deflate::longest_deflated(self.limit) } else { self.limit };
        if matches!(header.opcode, OpCode::Data(_)) && length > (limit - before) as u64 {
            return Err(violation(CloseCode::TooBig, "the message is too big"));
        }
        Ok(())
    }

    fn frame(&mut self, header: &FrameHeader, payload: &[u8]) -> Result<Option<Message>, Violation> {
        match header.opcode {
            OpCode::Control(Control::Ping) => Ok(Some(Message::Ping(payload.to_vec()))),
            OpCode::Control(Control::Pong) => Ok(Some(Message::Pong)),
            OpCode::Control(_) => close(payload).map(Some),
            OpCode::Data(_) => {
                let mut message = self.message.take().unwrap_or_else(|| {
                    self.deflated = header.rsv1;
                    Vec::new()
                });
                message.extend_from_slice(payload);
                if !header.is_final {
                    self.message = Some(message);
                    return Ok(None);
                }
                if self.deflated {
                    message = deflate::inflate(&message, self.limit).map_err(|error| match error {
                        InflateError::TooBig => violation(CloseCode::TooBig, "the message is too big"),
                        InflateError::Invalid => violation(CloseCode::InvalidText, "the message cannot be inflated"),
                    })?;
                }
                match String::from_utf8(message) {
                    Ok(text) => Ok(Some(Message::Text(text))),
                    Err(_) => Err(violation(CloseCode::InvalidText, "the message is not UTF-8")),
                }
            }
        }
    }
}

fn violation(code: CloseCode, reason: &'static str) -> Violation {
    Violation { code, reason }
}

/// Section 5.3.
fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

/// A Close's payload (section 5.5.1): nothing, or a code that may be sent (section 7.4) and a reason in UTF-8.
fn close(payload: &[u8]) -> Result<Message, Violation> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return match payload {
            [] => Ok(Message::Close(None)),
            _ => Err(violation(CloseCode::Protocol, "a close code has two bytes")),
        };
    };
    let code = u16::from_be_bytes(*code);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(violation(CloseCode::Protocol, "that close code may not be sent"));
    }
    if std::str::from_utf8(reason).is_err() {
        return Err(violation(CloseCode::InvalidText, "the reason is not UTF-8"));
    }
    Ok(Message::Close(Some(code)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [1, 2, 3, 4];
        let mut bytes = vec![first];
        match payload.len() {
            len @ 0..=125 => bytes.push(0x80 | len as u8),
            len => {
                bytes.push(0x80 | 126);
                bytes.extend_from_slice(&(len as u16).to_be_bytes());
            }
        }
        bytes.extend_from_slice(&mask);
        let at = bytes.len();
        bytes.extend_from_slice(payload);
        unmask(&mut bytes[at..], mask);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Vec<Message>, Violation> {
        read_with(Inbound::new(1000, false), bytes)
    }

    fn read_with(mut inbound: Inbound, bytes: &[u8]) -> Result<Vec<Message>, Violation> {
        let mut said = Vec::new();
        inbound.read(&mut bytes.to_vec(), |one| {
            said.push(one);
            true
        })?;
        Ok(said)
    }

    #[test]
    fn control_frames_stand_between_fragments() {
        let bytes = [frame(0x01, b"hel"), frame(0x89, b"p"), frame(0x00, b"l"), frame(0x80, b"o")].concat();
        assert_eq!(read(&bytes).unwrap(), [Message::Ping(b"p".to_vec()), Message::Text("hello".into())]);
    }

    #[test]
    fn violations_have_their_codes() {
        let code = |bytes: &[u8]| read(bytes).unwrap_err().code;
        assert_eq!(code(&[0x81, 0x01, b'x']), CloseCode::Protocol, "not masked");
        assert_eq!(code(&frame(0xC1, b"x")), CloseCode::Protocol, "reserved bit");
        assert_eq!(code(&frame(0x83, b"x")), CloseCode::Protocol, "reserved opcode");
        assert_eq!(code(&frame(0x8B, b"x")), CloseCode::Protocol, "reserved control opcode");
        assert_eq!(code(&frame(0x09, b"x")), CloseCode::Protocol, "fragmented control frame");
        assert_eq!(code(&frame(0x89, &[0; 126])), CloseCode::Protocol, "long control frame");
        assert_eq!(code(&frame(0x80, b"x")), CloseCode::Protocol, "nothing to continue");
        assert_eq!(code(&[frame(0x01, b"x"), frame(0x81, b"y")].concat()), CloseCode::Protocol, "not complete");
        assert_eq!(code(&frame(0x82, b"x")), CloseCode::Unsupported);
        assert_eq!(code(&frame(0x81, b"\xff")), CloseCode::InvalidText);
        assert_eq!(code(&frame(0x81, &[b'x'; 1001])), CloseCode::TooBig);
        assert_eq!(code(&[frame(0x01, &[b'x'; 600]), frame(0x80, &[b'x'; 600])].concat()), CloseCode::TooBig);
        assert_eq!(code(&frame(0x88, b"x")), CloseCode::Protocol, "half a close code");
        assert_eq!(code(&frame(0x88, &1005u16.to_be_bytes())), CloseCode::Protocol);
        assert_eq!(code(&frame(0x88, &[0x03, 0xE8, 0xFF])), CloseCode::InvalidText);
    }

    #[test]
    fn a_huge_length_is_refused_by_its_header() {
        let header = [0x81, 0xFF, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4];
        assert_eq!(read(&header).unwrap_err().code, CloseCode::TooBig);
    }

    #[test]
    fn a_close_is_read_with_and_without_a_code() {
        assert_eq!(read(&frame(0x88, b"")).unwrap(), [Message::Close(None)]);
        assert_eq!(read(&frame(0x88, &[0x03, 0xE8, b'o', b'k'])).unwrap(), [Message::Close(Some(1000))]);
    }

    #[test]
    fn a_compressed_message_is_read_where_that_was_agreed() {
        // RFC 7692, section 7.2.3.1.
        let hello = [0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00];
        let read = |bytes: &[u8]| read_with(Inbound::new(5, true), bytes);
        let said = || vec![Message::Text("Hello".into())];
        assert_eq!(read(&frame(0xC1, &hello)), Ok(said()));
        let fragments = [frame(0x41, &hello[..3]), frame(0x89, b""), frame(0x80, &hello[3..])].concat();
        assert_eq!(read(&fragments), Ok([vec![Message::Ping(Vec::new())], said()].concat()));
        assert_eq!(read(&[frame(0x81, b"Hello"), frame(0xC1, &hello)].concat()), Ok([said(), said()].concat()));
        let code = |bytes: &[u8]| read(bytes).unwrap_err().code;
        assert_eq!(code(&[frame(0x41, &hello[..3]), frame(0xC0, &hello[3..])].concat()), CloseCode::Protocol);
        assert_eq!(code(&frame(0xC9, b"")), CloseCode::Protocol, "a control frame");
        assert_eq!(code(&frame(0xC1, b"\x06")), CloseCode::InvalidText);
        let longer = [0x00, 0x06, 0x00, 0xF9, 0xFF, b'H', b'e', b'l', b'l', b'o', b'!', 0x00];
        assert_eq!(code(&frame(0xC1, &longer)), CloseCode::TooBig);
        assert_eq!(code(&frame(0xC1, &[0; 1000])), CloseCode::TooBig);
        assert_eq!(code(&frame(0x81, b"Hello!")), CloseCode::TooBig);
    }

    proptest! {
        /// However the network cuts the bytes, the messages are the same, and nothing is held after the last.
        #[test]
        fn cuts_do_not_matter(cuts in prop::collection::vec(1..40usize, 1..60), texts in prop::collection::vec("[a-zé]{0,200}", 1..6)) {
            let bytes: Vec<u8> = texts.iter().flat_map(|text| frame(0x81, text.as_bytes())).collect();
            let mut inbound = Inbound::new(1000, false);
            let mut said = Vec::new();
            let mut rest = bytes.as_slice();
            let mut cuts = cuts.iter().cycle();
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                inbound.read(&mut now.to_vec(), |one| { said.push(one); true }).unwrap();
                rest = later;
            }
            prop_assert_eq!(said, texts.into_iter().map(Message::Text).collect::<Vec<_>>());
            prop_assert_eq!((inbound.partial.capacity(), inbound.message), (0, None));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), deflate: bool) {
            let _ = read_with(Inbound::new(1000, deflate), &bytes);
            let _ = read_with(Inbound::new(1000, deflate), &frame(0xC1, &bytes));
        }
    }
}
