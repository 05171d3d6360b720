//! TLS on one socket: the non-blocking operations of [`Transport`](super::Transport) with a [`Session`] between.
//!
//! A shard writes and a connection's task reads, so the session is behind a lock, which is held for one record at a time
//! and never while anybody waits. A write encrypts straight from the caller's bytes into a buffer on the stack. Only what
//! the socket does not take is copied: at most one record a connection. That record counts as written, since it cannot be
//! taken back, and [`TlsStream::held`] says how much of it is left.

use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use rustls::ServerConfig;
use socket2::SockRef;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;

use super::session::{MAX_RECORD, OVERHEAD, Session};

/// Bytes that are read from the socket at a time.
const READ_SIZE: usize = 16 * 1024;

/// How often one call reads from the socket before it lets others run.
const MAX_READS: usize = 4;

/// Writes up to this size take a smaller buffer on the stack: to clear a large one takes longer than to encrypt an event.
const SMALL: usize = 2 * 1024;

/// A socket with TLS.
pub struct TlsStream {
    socket: TcpStream,
    session: Mutex<Session>,
}

impl std::fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsStream").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl TlsStream {
    pub fn new(socket: TcpStream, config: Arc<ServerConfig>) -> io::Result<Self> {
        let session = Session::new(config).map_err(io::Error::other)?;
        Ok(Self { socket, session: Mutex::new(session) })
    }

    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    pub fn send(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let socket = SockRef::from(&self.socket);
        write(&mut self.lock(), slices, |bytes| socket.send(bytes))
    }

    pub fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        write(&mut self.lock(), slices, |bytes| self.socket.try_write(bytes))
    }

    pub fn held(&self) -> usize {
        self.lock().outgoing().len()
    }

    pub fn try_read(&self, buffer: &mut ReadBuf<'_>) -> io::Result<()> {
        let mut session = self.lock();
        for _ in 0..MAX_READS {
            // A connection that ends without `close_notify` may have been cut by somebody between. Requests and frames say
            // how long they are, so that it cannot be taken for a complete one.
            if session.take(buffer) || session.has_ended() {
                return Ok(());
            }
            let mut bytes = [0; READ_SIZE];
            let read = self.socket.try_read(&mut bytes)?;
            if read == 0 {
                session.end();
                return Ok(());
            }
            let received = session.receive(&mut bytes[..read]);
            // The handshake's answers, or the alert. What the socket does not take now goes before the next write.
            let flushed = flush(&mut session, |bytes| self.socket.try_write(bytes));
            received?;
            if let Err(error) = flushed
                && error.kind() != io::ErrorKind::WouldBlock
            {
                return Err(error);
            }
        }
        match session.take(buffer) {
            true => Ok(()),
            // The socket is still readable, so the caller comes back.
            false => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    pub fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.has_unread() {
            true => Poll::Ready(Ok(())),
            false => self.socket.poll_read_ready(context),
        }
    }

    /// Whether there are decrypted bytes that were not read yet.
    pub fn has_unread(&self) -> bool {
        self.lock().has_plaintext()
    }

    pub fn poll_read(&self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.try_read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
            // The peer may be waiting for the rest of the handshake before it sends anything.
            let _ = self.poll_flush(context)?;
            ready!(self.socket.poll_read_ready(context))?;
        }
    }

    pub fn poll_write(&self, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.poll(context, || self.try_write_vectored(slices))
    }

    pub fn poll_flush(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(context, || self.try_write_vectored(&[]).map(drop))
    }

    /// Sends `close_notify` after everything that was written.
    ///
    /// # Errors
    /// `WouldBlock` if the socket is full.
    pub fn try_close(&self) -> io::Result<()> {
        let mut session = self.lock();
        session.close();
        flush(&mut session, |bytes| self.socket.try_write(bytes))
    }

    pub fn poll_close(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(context, || self.try_close())
    }

    /// Tries until the socket takes what is to be written.
    fn poll<T>(&self, context: &mut Context<'_>, attempt: impl Fn() -> io::Result<T>) -> Poll<io::Result<T>> {
        loop {
            match attempt() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
            ready!(self.socket.poll_write_ready(context))?;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends what is held, and then at most one record of these bytes. Returns how many of them are in it.
fn write(
    session: &mut Session,
    slices: &[IoSlice<'_>],
    send: impl Fn(&[u8]) -> io::Result<usize>,
) -> io::Result<usize> {
    flush(session, &send)?;
    let bytes: usize = slices.iter().map(|slice| slice.len()).sum();
    match bytes {
        0 => Ok(0),
        1..=SMALL => write_record::<SMALL, { SMALL + OVERHEAD }>(session, slices, send),
        _ => write_record::<MAX_RECORD, { MAX_RECORD + OVERHEAD }>(session, slices, send),
    }
}

/// Writes one record of at most `PLAIN` bytes, which takes `SEALED` bytes at most.
fn write_record<const PLAIN: usize, const SEALED: usize>(
    session: &mut Session,
    slices: &[IoSlice<'_>],
    send: impl Fn(&[u8]) -> io::Result<usize>,
) -> io::Result<usize> {
    let mut sealed = [0; SEALED];
    let (taken, length) = match slices {
        [first, rest @ ..] if rest.is_empty() || first.len() >= PLAIN => {
            let plaintext = &first[..first.len().min(PLAIN)];
            (plaintext.len(), session.seal(plaintext, &mut sealed)?)
        }
        slices => {
            let mut gathered = [0; PLAIN];
            let mut length = 0;
            for slice in slices {
                let part = slice.len().min(PLAIN - length);
                gathered[length..length + part].copy_from_slice(&slice[..part]);
                length += part;
            }
            (length, session.seal(&gathered[..length], &mut sealed)?)
        }
    };
    let mut rest = &sealed[..length];
    if session.outgoing().is_empty() {
        while !rest.is_empty() {
            match send(rest) {
                Ok(sent) => rest = &rest[sent..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        session.hold(rest);
    } else {
        // rustls had something to send before it.
        session.hold(rest);
        if let Err(error) = flush(session, send)
            && error.kind() != io::ErrorKind::WouldBlock
        {
            return Err(error);
        }
    }
    Ok(taken)
}

/// Sends what is held.
///
/// # Errors
/// `WouldBlock` if something is still held.
fn flush(session: &mut Session, send: impl Fn(&[u8]) -> io::Result<usize>) -> io::Result<()> {
    while !session.outgoing().is_empty() {
        match send(session.outgoing()) {
            Ok(sent) => session.sent(sent),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
