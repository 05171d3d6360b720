//! Fuzz targets: the bytes that clients send on a WebSocket.

use super::inbound::{Inbound, Message};
use crate::hub::frame::MAX_CONTROL;

/// The longest message, in bytes: short, so that a fuzzer finds both sides of it.
const LIMIT: usize = 1024;

/// A stream of frames. The first byte says whether compression was negotiated, and where the network splits the stream:
/// the messages and the violation must not depend on that.
pub fn wire_frames(bytes: &[u8]) {
    let Some((&settings, stream)) = bytes.split_first() else { return };
    let read = |piece: usize| {
        let mut inbound = Inbound::new(LIMIT, settings & 1 == 1);
        let mut messages = Vec::new();
        let end = stream.chunks(piece).try_for_each(|part| {
            inbound.read(&mut part.to_vec(), |message| {
                messages.push(message);
                true
            })
        });
        (messages, inbound.take_frames(), end)
    };
    let whole = read(stream.len().max(1));
    assert_eq!(read(usize::from(settings >> 1) + 1), whole);
    for message in whole.0 {
        match message {
            Message::Text(text) => assert!(text.len() <= LIMIT),
            Message::Ping(payload) | Message::Pong(payload) => assert!(payload.len() <= MAX_CONTROL),
            Message::Close(code) => assert!(code.is_none_or(|code| code >= 1000)),
        }
    }
}
