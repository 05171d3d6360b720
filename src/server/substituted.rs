//! A socket on which hyper's own refusal of a head that is too large becomes ours.
//!
//! hyper answers such a head before any handler sees it, with a 431 that has no body and no request id. Here hyper's writes
//! pass on their way to the socket, and that one is replaced by a whole problem document.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http::{edge, raw};

/// How hyper's refusal begins and ends. A body has no such line: JSON escapes its line ends.
const BEGIN: &[u8] = b"HTTP/1.1 431 Request Header Fields Too Large\r\n";
const END: &[u8] = b"\r\n\r\n";
/// Longer than hyper's refusal, in bytes.
const MAX: usize = 256;

/// A socket, and what is still to be written of a refusal.
#[derive(Debug)]
pub struct Substituted<S> {
    stream: S,
    refusal: Vec<u8>,
}

impl<S> Substituted<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, refusal: Vec::new() }
    }

    pub fn into_inner(self) -> S {
        self.stream
    }
}

/// Whether this is hyper's refusal, and not a handler's: those have a request id.
fn is_bare(bytes: &[u8]) -> bool {
    let has_id = || bytes.windows(12).any(|part| part.eq_ignore_ascii_case(b"x-request-id"));
    bytes.len() <= MAX && bytes.starts_with(BEGIN) && bytes.ends_with(END) && !has_id()
}

impl<S: AsyncWrite + Unpin> Substituted<S> {
    /// Writes our refusal instead of these bytes. Ready when the socket has taken all of it, so that hyper repeats the write
    /// until then.
    fn poll_refuse(&mut self, context: &mut Context<'_>, length: usize) -> Poll<io::Result<usize>> {
        if self.refusal.is_empty() {
            self.refusal = raw(&edge::too_large());
        }
        while !self.refusal.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, &self.refusal))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.refusal.drain(..written);
        }
        Poll::Ready(Ok(length))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Substituted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Substituted<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match is_bare(bytes) {
            true => self.poll_refuse(context, bytes.len()),
            false => Pin::new(&mut self.stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match slices.iter().find(|slice| !slice.is_empty()) {
            Some(first) if is_bare(first) => self.poll_refuse(context, first.len()),
            _ => Pin::new(&mut self.stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
