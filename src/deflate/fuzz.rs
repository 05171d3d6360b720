//! Fuzz targets: compressed messages, and what a handshake says about compression.

use super::{Deflater, InflateError, agree};

/// More than any limit that [`inflate`] tries.
const WIDE: usize = 1 << 17;

/// A compressed message. The first two bytes are the limit: the message never exceeds it, and the limit decides nothing
/// else. What was inflated is the same after being compressed and inflated again.
pub fn inflate(bytes: &[u8]) {
    let Some((limit, payload)) = bytes.split_first_chunk() else { return };
    let limit = usize::from(u16::from_be_bytes(*limit));
    let wide = super::inflate(payload, WIDE);
    match super::inflate(payload, limit) {
        Ok(message) => {
            assert!(message.len() <= limit);
            if let Some(deflated) = Deflater::default().deflate(&message) {
                assert_eq!(super::inflate(deflated, message.len()).as_ref(), Ok(&message));
            }
            assert_eq!(wide, Ok(message));
        }
        Err(InflateError::TooBig) => assert!(wide.map_or(true, |message| message.len() > limit)),
        Err(InflateError::Invalid) => assert_eq!(wide, Err(InflateError::Invalid)),
    }
}

/// The lines of `Sec-WebSocket-Extensions`. The answer is an offer that gets the same answer.
pub fn websocket_extensions(bytes: &[u8]) {
    if let Ok(Some(answer)) = agree(bytes.split(|byte| *byte == b'\n')) {
        assert!(answer.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{answer:?}");
        assert_eq!(agree([answer.as_bytes()].into_iter()), Ok(Some(answer.clone())));
    }
}
