//! The transport of one connection: a TCP socket, plain or with TLS, behind one set of non-blocking operations.
//!
//! The fan-out writes frames to it from a shard's thread, a connection's task reads from it, and hyper uses it as a
//! stream. A plain transport passes every call on to its socket. A TLS transport encrypts and decrypts on the way (see
//! `tls.rs`), so nobody above this module knows which of the two a connection has. This module does not know frames or
//! requests.

mod expiry;
mod session;
mod tls;

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::ServerConfig;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

pub use expiry::{Remaining, days_between, end_of};
pub use session::PlainHttp;
use tls::TlsStream;

/// The socket of one connection, plain or with TLS.
#[derive(Debug)]
pub enum Transport {
    Plain(TcpStream),
    /// Boxed, so that TLS does not make plain connections larger.
    Tls(Box<TlsStream>),
}

impl From<TcpStream> for Transport {
    fn from(socket: TcpStream) -> Self {
        Self::Plain(socket)
    }
}

impl Transport {
    /// A TLS server on an accepted socket. The handshake takes place within the first reads.
    ///
    /// # Errors
    /// If rustls cannot start a connection with this configuration.
    pub fn tls(socket: TcpStream, config: Arc<ServerConfig>) -> io::Result<Self> {
        Ok(Self::Tls(Box::new(TlsStream::new(socket, config)?)))
    }

    /// The socket below.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.socket(),
        }
    }

    /// Writes as much as the socket takes now. Returns how many of these bytes were taken.
    ///
    /// It calls the socket without tokio. Tokio would first read its readiness record of the socket, which costs a
    /// cache miss for each of thousands of connections. Use [`Transport::try_write_vectored`] before
    /// [`Transport::writable`]: it clears the record of a full socket.
    ///
    /// # Errors
    /// `WouldBlock` if nothing was taken.
    pub fn send(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => match slices {
                [slice] => SockRef::from(socket).send(slice),
                slices => SockRef::from(socket).send_vectored(slices),
            },
            Self::Tls(stream) => stream.send(slices),
        }
    }

    /// Like [`Transport::send`], through tokio. With no bytes, it only sends what [`Transport::held`] counts.
    ///
    /// # Errors
    /// `WouldBlock` if nothing was taken.
    pub fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.try_write_vectored(slices),
            Self::Tls(stream) => stream.try_write_vectored(slices),
        }
    }

    /// The bytes that were taken and encrypted, and that the socket has not taken yet: at most about one TLS record.
    /// They are sent before everything else.
    pub fn held(&self) -> usize {
        match self {
            Self::Plain(_) => 0,
            Self::Tls(stream) => stream.held(),
        }
    }

    /// Reads what has arrived. Returns 0 at the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock` if there is nothing yet; `InvalidData` if the peer breaks TLS.
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.try_read(buffer),
            Self::Tls(stream) => {
                let mut buffer = ReadBuf::new(buffer);
                stream.try_read(&mut buffer)?;
                Ok(buffer.filled().len())
            }
        }
    }

    /// Whether there may be something to read. Only the waker of the last call is kept.
    pub fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => socket.poll_read_ready(context),
            Self::Tls(stream) => stream.poll_read_ready(context),
        }
    }

    /// Waits until the socket may take bytes.
    ///
    /// # Errors
    /// If the runtime is shutting down.
    pub async fn writable(&self) -> io::Result<()> {
        self.socket().writable().await
    }

    /// Whether the peer has sent bytes that were not read yet.
    pub fn has_unread(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        matches!(SockRef::from(self.socket()).peek(&mut byte), Ok(1..))
            || matches!(self, Self::Tls(stream) if stream.has_unread())
    }

    /// Ends the writing side after everything that was written: with TLS by a `close_notify` alert (RFC 8446, section
    /// 6.1), then by a FIN.
    ///
    /// # Errors
    /// `WouldBlock` if the socket is full: call it again when it is writable.
    pub fn try_close(&self) -> io::Result<()> {
        if let Self::Tls(stream) = self {
            stream.try_close()?;
        }
        SockRef::from(self.socket()).shutdown(Shutdown::Write)
    }

    /// Ends both directions at once.
    pub fn shut_down(&self) {
        if let Self::Tls(stream) = self
            && stream.held() == 0
        {
            // The peer may still want to know that nothing is missing. If the socket is full, it finds out by the FIN.
            let _ = stream.try_close();
        }
        // This fails if the peer has already shut the socket down, which has the same effect.
        let _ = SockRef::from(self.socket()).shutdown(Shutdown::Both);
    }

    /// Has the socket drop what its peer has not taken, and reset the connection, when it is closed.
    pub fn abort(&self) {
        // This fails only for a socket that is no longer there.
        let _ = SockRef::from(self.socket()).set_linger(Some(Duration::ZERO));
    }

    /// Reads and drops what the peer sends until it ends its side. The bytes are not decrypted: they mean nothing any
    /// more.
    ///
    /// # Errors
    /// If the connection breaks.
    pub async fn discard(&self) -> io::Result<()> {
        let socket = self.socket();
        loop {
            socket.readable().await?;
            // `readable` returns without yielding while the socket has bytes. Without this line, a peer that sends
            // without pause would occupy the thread, and a timeout around this would never fire.
            tokio::task::yield_now().await;
            // In a block, so that the buffer is no part of the future.
            let read = {
                let mut rest = [0; 256];
                socket.try_read(&mut rest)
            };
            match read {
                Ok(0) => return Ok(()),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(context, buffer),
            Self::Tls(stream) => stream.poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(context, bytes),
            Self::Tls(stream) => stream.poll_write(context, &[IoSlice::new(bytes)]),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(context, slices),
            Self::Tls(stream) => stream.poll_write(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(context),
            Self::Tls(stream) => stream.poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(context),
            Self::Tls(stream) => {
                ready!(stream.poll_close(context))?;
                Poll::Ready(SockRef::from(stream.socket()).shutdown(Shutdown::Write))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every idle connection has a transport, plain ones too.
    #[test]
    fn a_plain_transport_is_as_small_as_its_socket() {
        assert_eq!(size_of::<Transport>(), size_of::<TcpStream>());
    }
}
