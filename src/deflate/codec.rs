//! Compresses and inflates single messages (RFC 7692, sections 7.2.1 and 7.2.2).
//!
//! Each message is independent of the others. This module bounds the memory of an inflated message; it does not know
//! who sent it.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::WINDOW_BITS;

/// The end of a DEFLATE flush, which every compressed message omits.
const TAIL: [u8; 4] = [0, 0, 0xFF, 0xFF];

/// The size below which a message is not compressed, in bytes. It would save some sixty bytes of a packet that is sent
/// in any case, at a cost of 15 µs.
const MIN_MESSAGE: usize = 256;

/// Compresses messages, one after the other. It allocates a quarter of a megabyte, with the first message that it
/// compresses.
#[derive(Default)]
pub struct Deflater {
    state: Option<Compress>,
    buffer: Vec<u8>,
}

impl Deflater {
    /// The payload of the compressed message; `None` where it would be no shorter, or the message is short.
    pub fn deflate(&mut self, message: &[u8]) -> Option<&[u8]> {
        if message.len() < MIN_MESSAGE {
            return None;
        }
        // The default level: for messages of the size of events, lower levels are no faster.
        let new = || Compress::new_with_window_bits(Compression::default(), false, WINDOW_BITS);
        let state = self.state.get_or_insert_with(new);
        state.reset();
        self.buffer.clear();
        self.buffer.reserve(message.len());
        // One call compresses the whole message, unless the result does not fit and so is no shorter than the message.
        state.compress_vec(message, &mut self.buffer, FlushCompress::Sync).ok()?;
        let whole = state.total_in() == message.len() as u64 && self.buffer.len() < self.buffer.capacity();
        let payload = self.buffer.strip_suffix(&TAIL)?;
        (whole && payload.len() < message.len()).then_some(payload)
    }
}

/// Why a message cannot be inflated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InflateError {
    /// It is longer than the limit.
    TooBig,
    /// It is not DEFLATE data.
    Invalid,
}

/// Inflates the payload of a compressed message. It never writes more than `limit` bytes and one.
///
/// # Errors
/// [`InflateError`]: the message is longer than `limit`, or the payload is not DEFLATE data.
pub fn inflate(payload: &[u8], limit: usize) -> Result<Vec<u8>, InflateError> {
    let mut state = Decompress::new(false);
    let mut message = Vec::new();
    for mut rest in [payload, &TAIL] {
        // With the buffer full, the decompressor may hold more output though it has read all input.
        while !rest.is_empty() || message.len() == message.capacity() {
            if message.len() > limit {
                return Err(InflateError::TooBig);
            }
            if message.len() == message.capacity() {
                // One byte above the limit shows that it is exceeded.
                let room = (payload.len() * 2 + message.len()).max(64).min(limit + 1 - message.len());
                message.reserve_exact(room);
            }
            let (read, written) = (state.total_in(), message.len());
            let status = state.decompress_vec(rest, &mut message, FlushDecompress::Sync);
            rest = &rest[(state.total_in() - read) as usize..];
            let moved = state.total_in() > read || message.len() > written;
            match status {
                // Blocks may follow one that is marked as the last (RFC 7692, section 7.2.3.4).
                Ok(Status::StreamEnd) => state.reset(false),
                Ok(_) if moved || rest.is_empty() => {}
                _ => return Err(InflateError::Invalid),
            }
        }
    }
    if message.len() > limit {
        return Err(InflateError::TooBig);
    }
    Ok(message)
}

/// The longest payload of a compressed message of `limit` bytes. Data that does not compress grows a little.
pub fn longest_deflated(limit: usize) -> usize {
    // The worst coding takes nine bits for a byte. The remainder covers the headers of blocks.
    limit.saturating_add(limit / 6).saturating_add(64)
}

/// The peer in these tests is another library, which shares no code with the one in use.
#[cfg(test)]
mod tests {
    use super::*;
    use miniz_oxide::deflate::core::{CompressorOxide, create_comp_flags_from_zip_params};
    use miniz_oxide::inflate::TINFLStatus;
    use miniz_oxide::inflate::core::{DecompressorOxide, decompress};
    use miniz_oxide::{MZFlush, deflate::stream};
    use proptest::prelude::*;

    const LIMIT: usize = 64 << 10;

    /// A message as a peer compresses it.
    fn deflated(message: &[u8], level: i32) -> Vec<u8> {
        let mut state = CompressorOxide::new(create_comp_flags_from_zip_params(level, -15, 0));
        let mut payload = vec![0; message.len() + message.len() / 4 + 256];
        let result = stream::deflate(&mut state, message, &mut payload, MZFlush::Sync);
        assert_eq!(result.bytes_consumed, message.len());
        payload.truncate(result.bytes_written);
        payload.strip_suffix(&TAIL).unwrap().to_vec()
    }

    /// A message as a peer inflates it, with a window of the size that the compressor uses.
    fn inflated(payload: &[u8]) -> Vec<u8> {
        // The end of the flush, and an empty last block, which this library requires.
        let bytes = [payload, &TAIL, &[1, 0, 0, 0xFF, 0xFF]].concat();
        let mut state = Box::<DecompressorOxide>::default();
        let mut window = vec![0; 1 << WINDOW_BITS];
        let (mut message, mut read, mut at) = (Vec::new(), 0, 0);
        loop {
            let (status, taken, written) = decompress(&mut state, &bytes[read..], &mut window, at, 0);
            message.extend_from_slice(&window[at..at + written]);
            read += taken;
            at = (at + written) % window.len();
            match status {
                TINFLStatus::Done => return message,
                TINFLStatus::HasMoreOutput => {}
                other => panic!("{other:?} after {read} of {}", bytes.len()),
            }
        }
    }

    fn noise(seed: u32, length: usize) -> Vec<u8> {
        let mut state = seed | 1;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn the_examples_of_the_rfc_are_inflated() {
        for payload in [
            &[0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00][..],
            &[0x00, 0x05, 0x00, 0xFA, 0xFF, 0x48, 0x65, 0x6C, 0x6C, 0x6F, 0x00],
            &[0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00, 0x00],
            &[0xF2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xCA, 0xC9, 0xC9, 0x07, 0x00],
        ] {
            assert_eq!(inflate(payload, LIMIT).unwrap(), b"Hello", "{payload:x?}");
        }
        assert_eq!(inflate(&[0x00], LIMIT).unwrap(), b"", "the empty message");
    }

    #[test]
    fn blocks_may_follow_a_last_one() {
        let last = |text: &[u8]| miniz_oxide::deflate::compress_to_vec(text, 6);
        let payload = [last(b"one, "), last(b"two"), vec![0x00]].concat();
        assert_eq!(inflate(&payload, LIMIT).unwrap(), b"one, two");
    }

    #[test]
    fn invalid_deflate_data_is_refused() {
        for payload in
            [&[0x06][..], &[0xFF; 20], &[0x01, 0x05, 0x00, 0x00, 0x00], b"{\"type\":\"ping\"}", &[0x02, 0x08, 0x01]]
        {
            assert_eq!(inflate(payload, LIMIT), Err(InflateError::Invalid), "{payload:x?}");
        }
    }

    #[test]
    fn a_message_of_the_limit_is_inflated_and_a_longer_one_is_refused() {
        for (limit, byte) in [(100, b'x'), (LIMIT, b' '), (1 << 20, 0)] {
            let message = vec![byte; limit];
            assert_eq!(inflate(&deflated(&message, 9), limit), Ok(message.clone()));
            assert_eq!(inflate(&deflated(&message, 9), limit - 1), Err(InflateError::TooBig));
        }
        let bomb = deflated(&vec![0; 64 << 20], 9);
        assert!(bomb.len() < 128 << 10, "{}", bomb.len());
        assert_eq!(inflate(&bomb, LIMIT), Err(InflateError::TooBig));
    }

    #[test]
    fn incompressible_messages_stay_within_the_bound() {
        for (length, level) in [(1, 1), (1_000, 1), (1_000, 9), (LIMIT, 0), (LIMIT, 1), (LIMIT, 9)] {
            let message = noise(7, length);
            let payload = deflated(&message, level);
            assert!(payload.len() <= longest_deflated(length), "{} of {length}", payload.len());
            assert_eq!(inflate(&payload, length), Ok(message));
        }
    }

    #[test]
    fn messages_that_would_not_shrink_are_not_compressed() {
        let mut deflater = Deflater::default();
        assert_eq!(deflater.deflate(b""), None);
        assert_eq!(deflater.deflate(&[b'x'; MIN_MESSAGE - 1]), None, "short");
        assert!(deflater.state.is_none(), "no memory was needed");
        for length in [MIN_MESSAGE, 5_000, LIMIT] {
            assert_eq!(deflater.deflate(&noise(3, length)), None, "noise");
        }
        assert!(deflater.deflate(&[b'x'; MIN_MESSAGE]).is_some());
    }

    #[test]
    fn each_message_is_compressed_independently_within_the_window() {
        let mut deflater = Deflater::default();
        // Repeated at a distance that a larger window would reach.
        let half: String = noise(5, 3_000).iter().map(|byte| format!("{byte:02x}")).collect();
        let message = format!("{half}{half}");
        for _ in 0..3 {
            let payload = deflater.deflate(message.as_bytes()).unwrap();
            assert_eq!(inflated(payload), message.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn a_peer_inflates_compressed_messages(messages in prop::collection::vec("([a-z\":{},é]{1,9}){0,400}", 1..8), large in 0..4_usize) {
            let mut deflater = Deflater::default();
            for message in messages {
                let message = message.repeat(1 << (2 * large));
                match deflater.deflate(message.as_bytes()).map(<[u8]>::to_vec) {
                    Some(payload) => {
                        prop_assert!(payload.len() < message.len());
                        prop_assert_eq!(inflate(&payload, message.len()).unwrap(), message.as_bytes());
                        prop_assert_eq!(inflated(&payload), message.as_bytes());
                    }
                    None => prop_assert!(message.len() < 1000, "{} bytes of text", message.len()),
                }
            }
        }

        #[test]
        fn messages_that_a_peer_compressed_are_inflated(message in prop::collection::vec(any::<u8>(), 0..3_000), times in 1..20_usize, level in 0..=10) {
            let message = message.repeat(times);
            let payload = deflated(&message, level);
            prop_assert_eq!(inflate(&payload, LIMIT).unwrap(), message);
        }

        #[test]
        fn no_payload_panics_or_exceeds_the_limit(payload in prop::collection::vec(any::<u8>(), 0..200), limit in 0..1_000_usize) {
            if let Ok(message) = inflate(&payload, limit) {
                prop_assert!(message.len() <= limit);
            }
        }
    }
}
