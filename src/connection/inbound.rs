//! Decodes the WebSocket frames that a client sends: bytes in, whole messages out (RFC 6455, sections 5 and 7).
//!
//! A state machine without I/O. It holds memory only while a message is incomplete, so an idle connection has no
//! buffer. Libraries keep a buffer for each connection; so only the frame header is parsed by tungstenite, and this
//! module handles masks, fragments, control frames, UTF-8 and limits. It does not know what the messages mean: the
//! connection parses them.

use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use crate::deflate::{self, InflateError};
use crate::hub::frame::MAX_CONTROL;
use crate::protocol::CloseCode;

/// The decoder of one connection.
#[derive(Debug)]
pub struct Inbound {
    /// The longest message, in bytes after inflation.
    limit: usize,
    /// Whether the client may compress messages.
    deflate: bool,
    /// Whether the message in `message` is compressed.
    deflated: bool,
    /// The received part of an incomplete frame.
    partial: Vec<u8>,
    /// The frames that were decoded and not yet counted.
    decoded: u32,
    /// The payload of an incomplete message, from the fragments received so far.
    message: Option<Vec<u8>>,
}

/// A whole message or control frame of the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    Text(String),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    /// A Close, and its code if it has one.
    Close(Option<u16>),
}

/// A breach of the protocol or of a limit: the Close to answer it with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Violation {
    pub code: CloseCode,
    pub reason: &'static str,
}

impl Inbound {
    /// Changes the limits for what follows.
    pub fn set_limits(&mut self, limit: usize, deflate: bool) {
        (self.limit, self.deflate) = (limit, deflate);
    }

    /// A decoder of messages up to `limit` bytes. With `deflate`, the client may compress them.
    pub fn new(limit: usize, deflate: bool) -> Self {
        Self { limit, deflate, deflated: false, partial: Vec::new(), decoded: 0, message: None }
    }

    /// The frames that were decoded since the last call: messages, parts of messages and control frames.
    pub fn take_frames(&mut self) -> u32 {
        std::mem::take(&mut self.decoded)
    }

    /// Does not count as many of the decoded frames: they were asked for.
    pub fn forgive_frames(&mut self, frames: u32) {
        self.decoded = self.decoded.saturating_sub(frames);
    }

    /// Decodes received bytes, which it unmasks in place, and calls `each` with every message that they complete. It
    /// stops where `each` returns false, and keeps the bytes that follow.
    ///
    /// # Errors
    /// [`Violation`]: the client's stream cannot be decoded any further.
    pub fn read(&mut self, bytes: &mut [u8], mut each: impl FnMut(Message) -> bool) -> Result<(), Violation> {
        if self.partial.is_empty() {
            let consumed = self.frames(bytes, &mut each)?;
            self.partial = bytes[consumed..].to_vec();
        } else {
            let mut joined = std::mem::take(&mut self.partial);
            joined.extend_from_slice(bytes);
            let consumed = self.frames(&mut joined, &mut each)?;
            self.partial = if consumed == 0 { joined } else { joined[consumed..].to_vec() };
        }
        Ok(())
    }

    /// Decodes the whole frames at the beginning of `bytes`, and returns their length in bytes.
    fn frames(&mut self, bytes: &mut [u8], each: &mut impl FnMut(Message) -> bool) -> Result<usize, Violation> {
        let mut consumed = 0;
        loop {
            let mut cursor = Cursor::new(&bytes[consumed..]);
            let parsed =
                FrameHeader::parse(&mut cursor).map_err(|_| violation(CloseCode::Protocol, "unknown opcode"))?;
            let Some((header, length)) = parsed else { return Ok(consumed) };
            self.check_header(&header, length)?;
            // `check_header` has bounded the length, so it fits a usize.
            let start = consumed + cursor.position() as usize;
            let end = start + length as usize;
            let Some(payload) = bytes.get_mut(start..end) else { return Ok(consumed) };
            unmask(payload, header.mask.unwrap_or_default());
            consumed = end;
            self.decoded = self.decoded.saturating_add(1);
            if let Some(message) = self.frame(&header, payload)?
                && !each(message)
            {
                return Ok(consumed);
            }
        }
    }

    /// Checks all that the header tells, before the payload has come.
    fn check_header(&self, header: &FrameHeader, length: u64) -> Result<(), Violation> {
        let protocol = |reason| Err(violation(CloseCode::Protocol, reason));
        // Only the first frame of a message marks it as compressed (RFC 7692, section 6.1).
        let first = matches!(header.opcode, OpCode::Data(Data::Text | Data::Binary));
        if header.rsv1 && !(self.deflate && first) || header.rsv2 || header.rsv3 {
            return protocol("a reserved bit is set");
        }
        if header.mask.is_none() {
            return protocol("a client must mask its frames");
        }
        match header.opcode {
            OpCode::Control(_) if !header.is_final => return protocol("a control frame is fragmented"),
            OpCode::Control(_) if length > MAX_CONTROL as u64 => return protocol("a control frame is too long"),
            OpCode::Data(Data::Continue) if self.message.is_none() => {
                return protocol("there is no message to continue");
            }
            OpCode::Data(Data::Text | Data::Binary) if self.message.is_some() => {
                return protocol("the previous message is not complete");
            }
            OpCode::Data(Data::Binary) => {
                return Err(violation(CloseCode::Unsupported, "only text frames are accepted"));
            }
            _ => {}
        }
        let (before, deflated) = match &self.message {
            Some(message) => (message.len(), self.deflated),
            None => (0, header.rsv1),
        };
        let limit = if deflated { deflate::longest_deflated(self.limit) } else { self.limit };
        if matches!(header.opcode, OpCode::Data(_)) && length > (limit - before) as u64 {
            return Err(violation(CloseCode::TooBig, "the message is larger than max_frame_bytes"));
        }
        Ok(())
    }

    /// Handles one frame with its payload unmasked; returns the message that it completes.
    fn frame(&mut self, header: &FrameHeader, payload: &[u8]) -> Result<Option<Message>, Violation> {
        match header.opcode {
            OpCode::Control(Control::Ping) => Ok(Some(Message::Ping(payload.to_vec()))),
            OpCode::Control(Control::Pong) => Ok(Some(Message::Pong(payload.to_vec()))),
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
                        InflateError::TooBig => {
                            violation(CloseCode::TooBig, "the message is larger than max_frame_bytes")
                        }
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

/// Removes the mask of a payload (RFC 6455, section 5.3).
fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

/// Parses a Close's payload (RFC 6455, section 5.5.1): empty, or a code that may be sent (section 7.4) and a UTF-8
/// reason.
fn close(payload: &[u8]) -> Result<Message, Violation> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return match payload {
            [] => Ok(Message::Close(None)),
            _ => Err(violation(CloseCode::Protocol, "a close code has two bytes")),
        };
    };
    let code = u16::from_be_bytes(*code);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(violation(CloseCode::Protocol, "this close code may not be sent"));
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
        let mut messages = Vec::new();
        inbound.read(&mut bytes.to_vec(), |message| {
            messages.push(message);
            true
        })?;
        Ok(messages)
    }

    #[test]
    fn control_frames_may_come_between_fragments() {
        let bytes = [frame(0x01, b"hel"), frame(0x89, b"p"), frame(0x00, b"l"), frame(0x80, b"o")].concat();
        assert_eq!(read(&bytes).unwrap(), [Message::Ping(b"p".to_vec()), Message::Text("hello".into())]);
    }

    #[test]
    fn each_violation_has_its_close_code() {
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
    fn a_huge_frame_is_refused_when_its_header_has_come() {
        let header = [0x81, 0xFF, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4];
        assert_eq!(read(&header).unwrap_err().code, CloseCode::TooBig);
    }

    #[test]
    fn a_close_is_read_with_and_without_a_code() {
        assert_eq!(read(&frame(0x88, b"")).unwrap(), [Message::Close(None)]);
        assert_eq!(read(&frame(0x88, &[0x03, 0xE8, b'o', b'k'])).unwrap(), [Message::Close(Some(1000))]);
    }

    #[test]
    fn a_compressed_message_is_inflated_where_compression_was_negotiated() {
        // RFC 7692, section 7.2.3.1.
        let hello = [0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00];
        let read = |bytes: &[u8]| read_with(Inbound::new(5, true), bytes);
        let hello_message = || vec![Message::Text("Hello".into())];
        assert_eq!(read(&frame(0xC1, &hello)), Ok(hello_message()));
        let fragments = [frame(0x41, &hello[..3]), frame(0x89, b""), frame(0x80, &hello[3..])].concat();
        assert_eq!(read(&fragments), Ok([vec![Message::Ping(Vec::new())], hello_message()].concat()));
        assert_eq!(
            read(&[frame(0x81, b"Hello"), frame(0xC1, &hello)].concat()),
            Ok([hello_message(), hello_message()].concat())
        );
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
        /// The messages do not depend on how the network splits the bytes, and no buffer remains after the last one.
        #[test]
        fn messages_do_not_depend_on_the_splits_of_the_stream(cuts in prop::collection::vec(1..40usize, 1..60), texts in prop::collection::vec("[a-zé]{0,200}", 1..6)) {
            let bytes: Vec<u8> = texts.iter().flat_map(|text| frame(0x81, text.as_bytes())).collect();
            let mut inbound = Inbound::new(1000, false);
            let mut messages = Vec::new();
            let mut rest = bytes.as_slice();
            let mut cuts = cuts.iter().cycle();
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                inbound.read(&mut now.to_vec(), |message| { messages.push(message); true }).unwrap();
                rest = later;
            }
            prop_assert_eq!(messages, texts.into_iter().map(Message::Text).collect::<Vec<_>>());
            prop_assert_eq!((inbound.partial.capacity(), inbound.message), (0, None));
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), deflate: bool) {
            let _ = read_with(Inbound::new(1000, deflate), &bytes);
            let _ = read_with(Inbound::new(1000, deflate), &frame(0xC1, &bytes));
        }
    }
}
