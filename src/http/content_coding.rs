//! Content codings of a request's body (RFC 9110, section 8.4): gzip, deflate and zstd, inflated within a limit.
//!
//! A few kilobytes can inflate to gigabytes. So a body has one coding, is inflated a piece at a time, and is refused as soon
//! as it exceeds the limit. Between two pieces other tasks get the thread. Input without output gives no pieces: so a body
//! has a limited number of frames. Empty blocks within a frame are not limited: 8 MiB of them hold the thread for up to half
//! a second.

use std::io::{self, Read};

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use flate2::bufread::GzDecoder;
use flate2::{Decompress, FlushDecompress, Status};
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

use crate::protocol::{ErrorCode, Problem};

/// The codings that are inflated, as a value of `Accept-Encoding`.
pub const ACCEPTED: HeaderValue = HeaderValue::from_static("gzip, deflate, zstd");

/// The most frames of a zstd body, and the most members of a gzip body. An encoder makes one of each.
const MAX_FRAMES: usize = 1_000;
/// How much is inflated before other tasks get the thread.
const PIECE: usize = 256 * 1024;
/// The largest window of a zstd frame: what this coding allows (RFC 9659, section 3).
const MAX_WINDOW: u64 = 8 << 20;

/// A coding other than `identity`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    Gzip,
    Deflate,
    Zstd,
}

/// A body has a coding that is not inflated. The response has `Accept-Encoding`, which tells this apart from a media type
/// that is not taken (RFC 9110, section 12.5.3).
#[derive(Debug)]
pub struct UnknownCoding(Problem);

impl IntoResponse for UnknownCoding {
    fn into_response(self) -> Response {
        let mut response = self.0.into_response();
        response.headers_mut().insert(header::ACCEPT_ENCODING, ACCEPTED);
        response
    }
}

/// The coding of a body; `None` if it has none.
///
/// RFC 9110 allows a list. But with each further coding, as many bytes can inflate a thousand times further.
pub fn coding(headers: &HeaderMap) -> Result<Option<Coding>, UnknownCoding> {
    let refuse = |detail| Err(UnknownCoding(Problem::new(ErrorCode::UnsupportedMediaType, detail)));
    let mut codings = Vec::new();
    for value in headers.get_all(header::CONTENT_ENCODING) {
        for name in String::from_utf8_lossy(value.as_bytes()).split(',') {
            match name.trim().to_ascii_lowercase().as_str() {
                "" | "identity" => {}
                "gzip" | "x-gzip" => codings.push(Coding::Gzip),
                "deflate" => codings.push(Coding::Deflate),
                "zstd" => codings.push(Coding::Zstd),
                _ => {
                    let name = name.trim();
                    return refuse(format!(
                        "the Content-Encoding must be gzip, deflate or zstd, not {name:?}: use one of these, or leave it out"
                    ));
                }
            }
        }
    }
    match *codings {
        [] => Ok(None),
        [coding] => Ok(Some(coding)),
        _ => refuse(format!("a body has at most one content coding, not {}: compress it once", codings.len())),
    }
}

/// Inflates a body.
///
/// # Errors
/// `payload-too-large`: the result has more than `limit` bytes. `bad-request`: the body is not in its coding, or has more
/// than 1,000 frames.
pub async fn inflate(coding: Coding, body: &[u8], limit: usize) -> Result<Bytes, Problem> {
    let broken = |error: io::Error| {
        let name = format!("{coding:?}").to_lowercase();
        let detail = match error.kind() {
            TOO_MANY_FRAMES => {
                format!("the {name} body has more than {MAX_FRAMES} compressed frames: compress all events as one")
            }
            _ => {
                format!("the body cannot be decompressed as {name} ({error}): correct the body or its Content-Encoding")
            }
        };
        Problem::new(ErrorCode::BadRequest, detail)
    };
    let mut reader: Box<dyn Read + Send> = match coding {
        Coding::Gzip => Box::new(Gzip { member: GzDecoder::new(body), frames: FrameCount(1) }),
        Coding::Deflate => Box::new(Deflated::new(body)),
        Coding::Zstd => Box::new(Zstd { rest: body, frame: None, frames: FrameCount(0) }),
    };
    let mut inflated = Vec::new();
    loop {
        // One byte more than fits tells a body that is too large.
        let room = (limit + 1).saturating_sub(inflated.len()).min(PIECE);
        let read = reader.by_ref().take(room as u64).read_to_end(&mut inflated).map_err(broken)?;
        if inflated.len() > limit {
            let detail = format!(
                "the decompressed body has more than {limit} bytes (the setting max_body_bytes): send fewer events at a time"
            );
            return Err(Problem::new(ErrorCode::PayloadTooLarge, detail));
        }
        if read < room {
            return Ok(inflated.into());
        }
        tokio::task::yield_now().await;
    }
}

/// The kind of the error of a body with too many frames.
const TOO_MANY_FRAMES: io::ErrorKind = io::ErrorKind::QuotaExceeded;

/// Counts the frames of a body.
struct FrameCount(usize);

impl FrameCount {
    fn begin(&mut self) -> io::Result<()> {
        self.0 += 1;
        if self.0 > MAX_FRAMES { Err(TOO_MANY_FRAMES.into()) } else { Ok(()) }
    }
}

/// Reads the members of the coding `gzip` one after the other (RFC 1952, section 2.2).
///
/// flate2's reader of several members does not count them.
struct Gzip<'a> {
    member: GzDecoder<&'a [u8]>,
    frames: FrameCount,
}

impl Read for Gzip<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.member.read(out)?;
            let rest = *self.member.get_ref();
            if read > 0 || out.is_empty() || rest.is_empty() {
                return Ok(read);
            }
            self.frames.begin()?;
            self.member.reset(rest);
        }
    }
}

/// Reads the coding `deflate`: zlib (RFC 1950), or the bare format (RFC 1951), which some clients send under this name.
struct Deflated<'a> {
    rest: &'a [u8],
    state: Decompress,
    ended: bool,
}

impl<'a> Deflated<'a> {
    fn new(body: &'a [u8]) -> Self {
        let is_zlib = matches!(body, [first, second, ..]
            if first & 0x0f == 8 && u16::from_be_bytes([*first, *second]).is_multiple_of(31));
        Self { rest: body, state: Decompress::new(is_zlib), ended: false }
    }
}

impl Read for Deflated<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.ended || out.is_empty() {
            return Ok(0);
        }
        let (taken, written) = (self.state.total_in(), self.state.total_out());
        let status = self.state.decompress(self.rest, out, FlushDecompress::None)?;
        self.rest = &self.rest[(self.state.total_in() - taken) as usize..];
        let written = (self.state.total_out() - written) as usize;
        match status {
            Status::StreamEnd if !self.rest.is_empty() => return Err(io::Error::other("it has data after its end")),
            Status::StreamEnd => self.ended = true,
            _ if written == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ => {}
        }
        Ok(written)
    }
}

/// Reads the frames of the coding `zstd` one after the other (RFC 8878, section 3).
struct Zstd<'a> {
    rest: &'a [u8],
    frame: Option<StreamingDecoder<&'a [u8], FrameDecoder>>,
    frames: FrameCount,
}

impl Zstd<'_> {
    /// Begins the next frame; false if there is none.
    fn begin(&mut self, is_first: bool) -> io::Result<bool> {
        while is_first || !self.rest.is_empty() {
            self.frames.begin()?;
            match StreamingDecoder::new_with_max_window_size(self.rest, MAX_WINDOW) {
                Ok(frame) => {
                    self.frame = Some(frame);
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    // The frame's head is its magic number and its length.
                    let skipped = usize::try_from(length).ok().and_then(|length| self.rest.get(8 + length..));
                    self.rest = skipped.ok_or(io::ErrorKind::UnexpectedEof)?;
                    if self.rest.is_empty() {
                        return Ok(false);
                    }
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(false)
    }
}

impl Read for Zstd<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() || self.frame.is_none() && !self.begin(true)? {
            return Ok(0);
        }
        while let Some(frame) = &mut self.frame {
            let read = frame.read(out)?;
            if read > 0 {
                return Ok(read);
            }
            let decoder = &frame.decoder;
            if decoder.get_checksum_from_data().is_some_and(|sum| decoder.get_calculated_checksum() != Some(sum)) {
                return Err(io::Error::other("its checksum is wrong"));
            }
            self.rest = frame.get_ref();
            if !self.begin(false)? {
                return Ok(0);
            }
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const TEXT: &[u8] = b"the same words, the same words, the same words";

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(data: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(data, ruzstd::encoding::CompressionLevel::Fastest)
    }

    fn run(coding: Coding, body: &[u8], limit: usize) -> Result<Bytes, (ErrorCode, String)> {
        let inflated = inflate(coding, body, limit);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(inflated).map_err(|problem| (problem.code, problem.detail))
    }

    fn named(values: &[&'static str]) -> Result<Option<Coding>, UnknownCoding> {
        let headers = values.iter().map(|value| (header::CONTENT_ENCODING, HeaderValue::from_static(value)));
        coding(&headers.collect())
    }

    #[test]
    fn a_body_has_one_coding() {
        assert_eq!(named(&[]).unwrap(), None);
        assert_eq!(named(&["identity", ""]).unwrap(), None);
        assert_eq!(named(&["identity", "X-GZIP ,  Identity", ""]).unwrap(), Some(Coding::Gzip));
        for unknown in [&["br"][..], &["gzip, compress"], &["gzip, gzip"], &["gzip", "zstd"], &["gzip;q=1"]] {
            let response = named(unknown).unwrap_err().into_response();
            assert_eq!(response.status(), 415, "{unknown:?}");
            assert_eq!(response.headers()[header::ACCEPT_ENCODING], "gzip, deflate, zstd");
        }
    }

    #[test]
    fn each_coding_is_inflated_within_the_limit() {
        let bare = zlib(TEXT)[2..zlib(TEXT).len() - 4].to_vec();
        let skippable = [b"\x50\x2a\x4d\x18\x03\0\0\0abc", &*zstd(TEXT)].concat();
        for (coding, body) in [
            (Coding::Gzip, gzip(TEXT)),
            (Coding::Gzip, [gzip(&TEXT[..7]), gzip(&TEXT[7..])].concat()),
            (Coding::Deflate, zlib(TEXT)),
            (Coding::Deflate, bare),
            (Coding::Zstd, zstd(TEXT)),
            (Coding::Zstd, [zstd(&TEXT[..7]), zstd(b""), zstd(&TEXT[7..])].concat()),
            (Coding::Zstd, skippable),
        ] {
            assert_eq!(run(coding, &body, 1_000).as_deref(), Ok(TEXT), "{coding:?}");
            assert!(run(coding, &body, TEXT.len() - 1).is_err(), "{coding:?}");
        }
        for (coding, body) in [(Coding::Gzip, gzip(TEXT)), (Coding::Deflate, zlib(TEXT)), (Coding::Zstd, zstd(TEXT))] {
            assert_eq!(run(coding, &body, TEXT.len()).as_deref(), Ok(TEXT));
            assert_eq!(run(coding, &body, TEXT.len() - 1).unwrap_err().0, ErrorCode::PayloadTooLarge);
        }
    }

    #[test]
    fn a_body_has_a_limited_number_of_frames() {
        let skippable = b"\x50\x2a\x4d\x18\0\0\0\0".to_vec();
        for (coding, empty) in [(Coding::Gzip, gzip(b"")), (Coding::Zstd, zstd(b"")), (Coding::Zstd, skippable)] {
            let most = empty.repeat(1_000);
            assert_eq!(run(coding, &most, 1_000).as_deref(), Ok(&b""[..]), "{coding:?}");
            let (code, detail) = run(coding, &[most, empty].concat(), 1_000).expect_err(&format!("{coding:?}"));
            assert_eq!(code, ErrorCode::BadRequest);
            assert!(detail.ends_with("has more than 1000 compressed frames: compress all events as one"), "{detail}");
        }
    }

    #[test]
    fn a_bomb_is_refused() {
        let zeros = vec![0; 64 << 20];
        for (coding, body) in
            [(Coding::Gzip, gzip(&zeros)), (Coding::Deflate, zlib(&zeros)), (Coding::Zstd, zstd(&zeros))]
        {
            assert!(body.len() < 1 << 20, "{coding:?}: {}", body.len());
            assert_eq!(run(coding, &body, 1 << 20).unwrap_err().0, ErrorCode::PayloadTooLarge, "{coding:?}");
        }
    }

    #[test]
    fn broken_data_is_refused() {
        for (coding, body) in [(Coding::Gzip, gzip(TEXT)), (Coding::Deflate, zlib(TEXT)), (Coding::Zstd, zstd(TEXT))] {
            let broken = |body: &[u8]| {
                let refused = run(coding, body, 1_000).expect_err(&format!("{coding:?} {body:?}"));
                assert_eq!(refused.0, ErrorCode::BadRequest, "{coding:?} {body:?}");
                assert!(refused.1.contains("Content-Encoding"), "{refused:?}");
            };
            for end in 0..body.len() {
                broken(&body[..end]);
            }
            broken(TEXT);
            broken(&[&*body, b"more"].concat());
        }
    }
}
