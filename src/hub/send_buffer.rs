//! What waits for one connection's socket: bounded in bytes, written without ever waiting.
//!
//! Whoever has frames for a connection (its shard, its reader) gives them to the send buffer, which writes them at once if
//! nothing waits before them and keeps what the socket does not take. Only then is there a task: it waits for the socket
//! and writes the rest. So a fast peer costs one `send` and no memory, a stuck one its bounded send buffer and nothing else.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::backlog::{Backlog, MAX_SLICES, Rest};
use super::encoding::Encoding;
use super::frame;
use super::outgoing::Outgoing;
use crate::protocol::{CloseCode, ServerFrame};

/// How long a peer may take to answer a Close, or to read the last frames before it.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the fan-out counts a peer as one to wait for that does not take what it is sent.
const STUCK: Duration = Duration::from_secs(1);

/// The sending side of one connection.
#[derive(Debug)]
pub struct SendBuffer {
    stream: TcpStream,
    pub(super) encoding: Encoding,
    shared: Arc<Outgoing>,
    /// The connection's place in its shard, which alone reads and writes it.
    handle: AtomicU32,
    /// When something last came from the peer: milliseconds since `shared.started`.
    heard: AtomicU64,
    /// Held for as long as what waits is written, which never waits: the sockets are non-blocking.
    state: Mutex<State>,
}

/// As small as it can be, for what an idle connection costs and for the cache: what waits has a place of its own.
#[derive(Debug, Default)]
struct State {
    phase: Phase,
    /// A task waits for the socket; nobody else writes.
    blocked: bool,
    /// It is one of `Outgoing::blocked`.
    counted: bool,
    backlog: Option<Box<Backlog>>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    #[default]
    Open,
    /// A Close is written or queued: nothing may follow it.
    Closing,
    /// The socket is gone.
    Gone,
}

impl SendBuffer {
    /// A send buffer that keeps what it is given until [`SendBuffer::greet`].
    pub fn new(stream: TcpStream, encoding: Encoding, shared: Arc<Outgoing>) -> Arc<Self> {
        let state = Mutex::new(State { blocked: true, ..State::default() });
        let send_buffer =
            Self { stream, encoding, shared, handle: AtomicU32::new(u32::MAX), heard: AtomicU64::new(0), state };
        send_buffer.note_heard();
        send_buffer.shared.open.fetch_add(1, Ordering::Relaxed);
        Arc::new(send_buffer)
    }

    /// The socket, for its reader.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// The connection's place in its shard.
    pub(super) fn slot(&self) -> usize {
        self.handle.load(Ordering::Relaxed) as usize
    }

    /// The shard has given it a place.
    pub(super) fn set_slot(&self, handle: usize) {
        self.handle.store(handle as u32, Ordering::Relaxed);
    }

    /// Something came from the peer.
    pub fn note_heard(&self) {
        let now = self.shared.started.elapsed().as_millis() as u64;
        self.heard.store(now, Ordering::Relaxed);
    }

    /// How long nothing has come from the peer.
    pub(super) fn silence(&self) -> Duration {
        let heard = Duration::from_millis(self.heard.load(Ordering::Relaxed));
        self.shared.started.elapsed().saturating_sub(heard)
    }

    /// Whether something came that was not read yet: then it is this node that is behind, and not the peer that is silent.
    pub(super) fn has_unread(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        matches!(socket2::SockRef::from(&self.stream).peek(&mut byte), Ok(1..))
    }

    /// Sends what comes before all else: the answer to the handshake and the first frames, in one write.
    pub(super) fn greet(self: &Arc<Self>, frames: &[&Bytes]) {
        let mut state = self.lock();
        state.blocked = false;
        if state.phase == Phase::Gone {
            return;
        }
        let rest = self.write(&mut state, frames);
        if !rest.frames.is_empty() {
            self.change(&mut state, |backlog| backlog.add_first(rest));
        }
        if self.flush(&mut state) == Flushed::Blocked {
            self.wait_for_socket(&mut state, false);
        }
    }

    /// Sends frames in their order. A peer for which too much waits already is closed with 4008 instead.
    pub fn send(self: &Arc<Self>, frames: &[&Bytes]) {
        self.put(&mut self.lock(), frames, true);
    }

    /// Sends what the log has: it goes at the pace of the peer, for which nobody else waits.
    pub(super) fn replay(self: &Arc<Self>, frames: &[&Bytes]) {
        self.put(&mut self.lock(), frames, false);
    }

    /// Answers a Ping.
    pub fn pong(self: &Arc<Self>, payload: &[u8]) {
        let pong = frame::pong(payload);
        let mut state = self.lock();
        if state.phase != Phase::Open {
            return;
        }
        if state.blocked {
            state.backlog.get_or_insert_default().pong = Some(pong);
            return;
        }
        self.put(&mut state, &[&pong], true);
    }

    /// Sends a Close after all that waits, and nothing after it. A peer that does not answer it is partitioned.
    pub fn close(self: &Arc<Self>, code: CloseCode, reason: &str) {
        self.close_with(&mut self.lock(), self.encoding.close(code, reason));
    }

    /// The same with a frame before the Close, however much waits.
    pub(super) fn close_saying(self: &Arc<Self>, said: &ServerFrame<'_>, code: CloseCode, reason: &str) {
        let said = self.encoding.said(said).unwrap_or_default();
        self.close_with(&mut self.lock(), [said, self.encoding.close(code, reason)].concat().into());
    }

    /// Answers a peer's Close.
    pub fn close_echo(self: &Arc<Self>, code: Option<u16>) {
        self.close_with(&mut self.lock(), frame::close_echo(code));
    }

    /// Waits until nothing waits here; false where nothing will be sent any more.
    pub(super) async fn drained(&self) -> bool {
        let drained = {
            let mut state = self.lock();
            if state.phase != Phase::Open {
                return false;
            }
            if !state.blocked {
                return true;
            }
            let (sender, drained) = oneshot::channel();
            state.backlog.get_or_insert_default().drained.push(sender);
            drained
        };
        drained.await.is_ok()
    }

    /// Whether nothing waits here, and so many bytes could without being most of what may.
    pub(super) fn takes(&self, bytes: usize) -> bool {
        let state = self.lock();
        state.phase == Phase::Open && !state.blocked && bytes <= self.shared.limit / 2
    }

    /// Whether a Close was sent or queued, or the socket is gone.
    pub fn is_closing(&self) -> bool {
        self.lock().phase != Phase::Open
    }

    /// Ends the connection as a server should: what waits is written, the end is sent, and the peer's is awaited, so that
    /// no reset overtakes the last frames (RFC 6455, section 7.1.1).
    pub async fn finish(&self) {
        if self.lock().phase == Phase::Gone {
            return;
        }
        let whole = async {
            loop {
                let flushed = self.flush(&mut self.lock());
                match flushed {
                    Flushed::All => break,
                    Flushed::Blocked => self.stream.writable().await?,
                }
            }
            socket2::SockRef::from(&self.stream).shutdown(Shutdown::Write)?;
            let mut rest = [0; 256];
            loop {
                self.stream.readable().await?;
                // Readiness alone never yields: a peer that goes on sending must not keep the thread, nor stop the clock.
                tokio::task::yield_now().await;
                match self.stream.try_read(&mut rest) {
                    Ok(0) => return Ok(()),
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                    _ => {}
                }
            }
        };
        // However it ends, it has ended: there is nobody to tell.
        let _: Result<io::Result<()>, _> = tokio::time::timeout(CLOSE_TIMEOUT, whole).await;
        self.cut();
    }

    /// Cuts the connection off.
    pub fn cut(&self) {
        self.gone(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes frames as far as the socket takes them, and keeps the rest. `waited_for`: the fan-out waits for a moment, where
    /// many peers do not take what they are sent.
    fn put(self: &Arc<Self>, state: &mut State, frames: &[&Bytes], waited_for: bool) {
        if state.phase != Phase::Open || frames.is_empty() {
            return;
        }
        let rest = if state.blocked { Rest { frames, written: 0 } } else { self.write(state, frames) };
        if !rest.frames.is_empty() && state.phase == Phase::Open {
            self.queue(state, rest);
            self.wait_for_socket(state, waited_for);
        }
    }

    /// Writes as much as the socket takes and returns the rest.
    ///
    /// Past tokio, which would look up first whether the socket was writable when it was last heard of: with thousands of
    /// connections, that is one more place in memory for each. Who has to wait for the socket finds out by `flush`.
    fn write<'a>(&self, state: &mut State, frames: &'a [&'a Bytes]) -> Rest<'a> {
        let socket = socket2::SockRef::from(&self.stream);
        let mut rest = Rest { frames, written: 0 };
        while let Some(first) = rest.frames.first() {
            let result = if rest.frames.len() == 1 {
                socket.send(&first[rest.written..])
            } else {
                let mut slices = [IoSlice::new(&[]); MAX_SLICES];
                for (slice, frame) in slices.iter_mut().zip(rest.frames) {
                    *slice = IoSlice::new(frame);
                }
                slices[0] = IoSlice::new(&first[rest.written..]);
                socket.send_vectored(&slices[..rest.frames.len().min(MAX_SLICES)])
            };
            match result {
                Ok(sent) => rest.advance(sent),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.gone(state);
                    break;
                }
            }
        }
        rest
    }

    fn queue(self: &Arc<Self>, state: &mut State, rest: Rest<'_>) {
        let limit = self.shared.limit;
        let fits = self.change(state, |backlog| {
            let fits = backlog.add(rest, limit);
            if !fits {
                backlog.drop_whole();
            }
            fits
        });
        if !fits {
            self.shared.metrics.slow_consumers.inc();
            self.close_with(
                state,
                self.encoding.close(CloseCode::SlowConsumer, "too slow: resume from the last position"),
            );
        }
    }

    fn close_with(self: &Arc<Self>, state: &mut State, close: Bytes) {
        if state.phase != Phase::Open {
            return;
        }
        state.phase = Phase::Closing;
        self.uncount(state);
        self.change(state, |backlog| {
            backlog.drained = Vec::new();
            backlog.push(close);
        });
        if !state.blocked {
            match self.flush(state) {
                Flushed::Blocked => self.wait_for_socket(state, false),
                // The peer of a WebSocket answers a Close; that of an event stream just sees the end.
                Flushed::All if matches!(self.encoding, Encoding::Events { .. }) => {
                    let _ = socket2::SockRef::from(&self.stream).shutdown(Shutdown::Write);
                }
                Flushed::All => {}
            }
        }
        let weak = Arc::downgrade(self);
        self.shared.runtime.spawn(async move {
            tokio::time::sleep(CLOSE_TIMEOUT).await;
            if let Some(send_buffer) = weak.upgrade() {
                send_buffer.cut();
            }
        });
    }

    /// Writes the backlog as far as the socket takes it.
    fn flush(&self, state: &mut State) -> Flushed {
        loop {
            if state.phase == Phase::Open && state.backlog.is_some() {
                self.change(state, Backlog::queue_pong);
            }
            let Some(backlog) = state.backlog.as_deref_mut().filter(|backlog| !backlog.is_empty()) else { break };
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let count = backlog.slices(&mut slices);
            match self.stream.try_write_vectored(&slices[..count]) {
                Ok(sent) => self.change(state, |backlog| backlog.advance(sent)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Flushed::Blocked,
                Err(_) => self.gone(state),
            }
        }
        // A burst's memory is given back; who waited for the end may have gone.
        for drained in state.backlog.take().into_iter().flat_map(|backlog| backlog.drained) {
            let _ = drained.send(());
        }
        Flushed::All
    }

    fn wait_for_socket(self: &Arc<Self>, state: &mut State, waited_for: bool) {
        if state.blocked || state.phase == Phase::Gone {
            return;
        }
        state.blocked = true;
        state.counted = waited_for && state.phase == Phase::Open;
        self.shared.blocked.fetch_add(usize::from(state.counted), Ordering::Relaxed);
        let send_buffer = Arc::clone(self);
        self.shared.runtime.spawn(async move {
            let mut stuck = Box::pin(tokio::time::sleep(STUCK));
            loop {
                let broken = tokio::select! {
                    writable = send_buffer.stream.writable() => writable.is_err(),
                    () = &mut stuck, if !stuck.is_elapsed() => {
                        send_buffer.uncount(&mut send_buffer.lock());
                        continue;
                    }
                };
                let mut state = send_buffer.lock();
                if broken {
                    send_buffer.gone(&mut state);
                }
                if send_buffer.flush(&mut state) == Flushed::All {
                    state.blocked = false;
                    send_buffer.uncount(&mut state);
                    return;
                }
            }
        });
    }

    /// It is not waited for any longer.
    fn uncount(&self, state: &mut State) {
        if std::mem::take(&mut state.counted) {
            self.shared.blocked.fetch_sub(1, Ordering::Relaxed);
            self.shared.unblocked.notify_waiters();
        }
    }

    fn gone(&self, state: &mut State) {
        if state.phase == Phase::Gone {
            return;
        }
        // It fails where the peer was first, which is as good.
        let _ = socket2::SockRef::from(&self.stream).shutdown(Shutdown::Both);
        self.uncount(state);
        if state.backlog.is_some() {
            self.change(state, Backlog::clear);
        }
        *state = State { phase: Phase::Gone, blocked: state.blocked, ..State::default() };
    }

    /// Changes what waits, and accounts for it.
    fn change<T>(&self, state: &mut State, change: impl FnOnce(&mut Backlog) -> T) -> T {
        let backlog = state.backlog.get_or_insert_default();
        let before = backlog.cost();
        let changed = change(backlog);
        self.shared.metrics.outbox_bytes.inc_by(backlog.cost() as i64 - before as i64);
        changed
    }
}

impl Drop for SendBuffer {
    fn drop(&mut self) {
        self.gone(&mut self.lock());
        self.shared.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Flushed {
    /// Nothing waits.
    All,
    /// The socket takes no more now.
    Blocked,
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Ten thousand idle connections are ten thousand of these, and each delivery touches one.
    #[test]
    fn an_outbox_is_small() {
        assert!(size_of::<SendBuffer>() <= 96, "{} bytes", size_of::<SendBuffer>());
    }

    async fn pair(limit: usize) -> (TcpStream, Arc<SendBuffer>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let shared = Outgoing::new(limit, Arc::default(), tokio::runtime::Handle::current());
        (peer, SendBuffer::new(stream, Encoding::WebSocket { deflate: false }, Arc::new(shared)))
    }

    #[tokio::test]
    async fn a_ping_is_answered_though_the_socket_was_full() {
        let (mut peer, send_buffer) = pair(usize::MAX).await;
        send_buffer.greet(&[]);
        let frame = frame::text(&[b'x'; 64 * 1024]);
        while send_buffer.takes(0) {
            send_buffer.send(&[&frame]);
        }
        send_buffer.pong(b"here");
        let pong = frame::pong(b"here");
        let mut read = Vec::new();
        while !read.ends_with(&pong) {
            let more = tokio::time::timeout(Duration::from_secs(10), peer.read_buf(&mut read)).await;
            assert!(more.expect("a Pong").unwrap() > 0);
        }
        assert_eq!((read.len() - pong.len()) % frame.len(), 0, "it stands between frames");
    }

    #[tokio::test]
    async fn what_came_and_was_not_read_is_seen() {
        let (mut peer, send_buffer) = pair(1024).await;
        assert!(!send_buffer.has_unread());
        peer.write_all(b"x").await.unwrap();
        send_buffer.stream().readable().await.unwrap();
        assert!(send_buffer.has_unread() && send_buffer.has_unread(), "looking takes nothing away");
        send_buffer.stream().try_read(&mut [0; 8]).unwrap();
        assert!(!send_buffer.has_unread());
    }
}
