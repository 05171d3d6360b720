//! A socket that hyper writes responses to, with a limit of the time for which its peer may take nothing.
//!
//! hyper waits for a full socket without end, with the whole response in memory. Here the connection ends when the socket
//! takes no byte for that long. A peer that reads slowly is never cut: each byte that the socket takes begins the time anew.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::replayed::Replayed;
use crate::http::takeover::Takeover;

/// A socket that ends when it takes nothing for a while.
pub struct WriteLimit {
    stream: Replayed,
    /// For how long the socket may take nothing.
    limit: Duration,
    /// Runs while the socket is full.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Is told when everything that hyper had to write was written.
    takeover: Takeover,
}

impl WriteLimit {
    pub fn new(stream: Replayed, limit: Duration, takeover: Takeover) -> Self {
        Self { stream, limit, stalled: None, takeover }
    }

    pub fn into_inner(self) -> Replayed {
        self.stream
    }

    /// Ends the connection if the socket is full, and has been for the limit.
    fn limited<T>(&mut self, context: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(self.limit)));
        ready!(stalled.as_mut().poll(context));
        self.stream.transport().abort();
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes nothing of its response")))
    }
}

impl AsyncRead for WriteLimit {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for WriteLimit {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.limited(context, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.limited(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes when its own buffer is empty, so nothing of an answer is unsent when this is ready.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        if polled.is_ready() {
            self.takeover.sent();
        }
        self.limited(context, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(context);
        self.limited(context, polled)
    }
}
