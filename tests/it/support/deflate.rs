//! Compresses and decompresses the payloads of permessage-deflate messages (RFC 7692) with miniz_oxide.
//!
//! The daemon uses another library, so that a mistake in one of them cannot hide itself.

use miniz_oxide::MZFlush;
use miniz_oxide::deflate::core::{CompressorOxide, create_comp_flags_from_zip_params};
use miniz_oxide::deflate::stream;
use miniz_oxide::inflate::decompress_to_vec;

/// The end of a sync flush, which a message leaves out (RFC 7692, section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// Compresses one message by itself.
pub fn deflated(message: &[u8]) -> Vec<u8> {
    Compressor::default().deflated(message)
}

/// Decompresses the payload of one message.
pub fn inflated(payload: &[u8]) -> Vec<u8> {
    // The library needs a final block, which a message does not have.
    let stream = [payload, &TAIL, &[1, 0, 0, 0xff, 0xff]].concat();
    decompress_to_vec(&stream).unwrap_or_else(|error| panic!("{error} in {payload:x?}"))
}

/// A compressor that keeps its window across messages (context takeover).
pub struct Compressor(CompressorOxide);

impl Default for Compressor {
    fn default() -> Self {
        Self(CompressorOxide::new(create_comp_flags_from_zip_params(6, -15, 0)))
    }
}

impl Compressor {
    pub fn deflated(&mut self, message: &[u8]) -> Vec<u8> {
        let mut payload = vec![0; message.len() + message.len() / 4 + 256];
        let done = stream::deflate(&mut self.0, message, &mut payload, MZFlush::Sync);
        assert_eq!(done.bytes_consumed, message.len());
        payload.truncate(done.bytes_written);
        payload.strip_suffix(&TAIL).expect("a sync flush ends with the tail").to_vec()
    }
}
