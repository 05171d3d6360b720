//! Compressed messages as another library than the daemon's makes and reads them.

use miniz_oxide::MZFlush;
use miniz_oxide::deflate::core::{CompressorOxide, create_comp_flags_from_zip_params};
use miniz_oxide::deflate::stream;
use miniz_oxide::inflate::decompress_to_vec;

/// How a flush ends, which no message has.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// The payload of a compressed message.
pub fn deflated(message: &[u8]) -> Vec<u8> {
    Compressor::default().deflated(message)
}

/// The message that was compressed.
pub fn inflated(payload: &[u8]) -> Vec<u8> {
    // The library wants a last block.
    let stream = [payload, &TAIL, &[1, 0, 0, 0xff, 0xff]].concat();
    decompress_to_vec(&stream).unwrap_or_else(|error| panic!("{error} in {payload:x?}"))
}

/// A client's compressor, which remembers the messages before.
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
        payload.strip_suffix(&TAIL).expect("a flush ends so").to_vec()
    }
}
