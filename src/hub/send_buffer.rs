//! The sending side of one connection: writes frames at once, and queues up to a limit the frames that the socket does
//! not take.
//!
//! The connection's shard and its reader call it, and it never blocks them. When the socket is full, it starts a task
//! that waits for the socket and writes the queue. A fast peer therefore costs one `send` and no memory, and a stalled
//! peer costs at most a full queue. A peer whose queue would exceed the limit is closed with 4008. This module does not
//! know events, channels or subscriptions.

use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::backlog::{Backlog, MAX_SLICES, Unwritten};
use super::closes::{NO_CLOSE, NO_CODE};
use super::encoding::Encoding;
use super::frame;
use super::outgoing::Outgoing;
use crate::incidents::Incidents;
use crate::protocol::{CloseCode, ServerFrame};
use crate::transport::Transport;

/// The time that a peer has to read the last frames and to answer a Close.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The time after which the hub no longer waits for a peer that does not read.
const STALLED_AFTER: Duration = Duration::from_secs(1);

/// The sending side of one connection.
#[derive(Debug)]
pub struct SendBuffer {
    stream: Transport,
    pub(super) encoding: Encoding,
    shared: Arc<Outgoing>,
    /// The connection's index in its shard. Only the shard reads and writes it.
    slot: AtomicU32,
    /// When bytes last came from the peer, in milliseconds since `shared.started`.
    last_received: AtomicU64,
    /// The Pings that the peer has not answered yet.
    unanswered: AtomicU32,
    /// Locked during a write, which is short because the sockets are non-blocking.
    state: Mutex<WriteState>,
}

/// The state behind the lock. The backlog is boxed so that an idle connection is small and a delivery touches fewer
/// cache lines.
#[derive(Debug, Default)]
struct WriteState {
    phase: Phase,
    /// Frames are queued and not written, because a task waits for the socket or the connection was not greeted yet.
    blocked: bool,
    /// Whether `Outgoing::blocked` includes this send buffer.
    counted_as_blocked: bool,
    /// The queued frames; `None` while there are none.
    backlog: Option<Box<Backlog>>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    #[default]
    Open,
    /// A Close is written or queued. No frame may follow it.
    Closing,
    /// The socket is shut down.
    Disconnected,
}

impl SendBuffer {
    /// A send buffer that queues all frames until [`SendBuffer::greet`].
    pub fn new(stream: Transport, encoding: Encoding, shared: Arc<Outgoing>) -> Arc<Self> {
        let state = Mutex::new(WriteState { blocked: true, ..WriteState::default() });
        let send_buffer = Self {
            stream,
            encoding,
            shared,
            slot: AtomicU32::new(u32::MAX),
            last_received: AtomicU64::new(0),
            unanswered: AtomicU32::new(0),
            state,
        };
        send_buffer.mark_received();
        send_buffer.shared.open.fetch_add(1, Ordering::Relaxed);
        Arc::new(send_buffer)
    }

    /// The transport, for the connection's reader.
    pub fn stream(&self) -> &Transport {
        &self.stream
    }

    /// The connection's index in its shard; out of range until the shard has set it.
    pub(super) fn slot(&self) -> usize {
        self.slot.load(Ordering::Relaxed) as usize
    }

    /// Sets the connection's index in its shard.
    pub(super) fn set_slot(&self, slot: usize) {
        self.slot.store(slot as u32, Ordering::Relaxed);
    }

    /// Records that bytes came from the peer just now.
    pub fn mark_received(&self) {
        let now = self.shared.started.elapsed().as_millis() as u64;
        self.last_received.store(now, Ordering::Relaxed);
    }

    /// The time since bytes last came from the peer.
    pub(super) fn silence(&self) -> Duration {
        let last_received = Duration::from_millis(self.last_received.load(Ordering::Relaxed));
        self.shared.started.elapsed().saturating_sub(last_received)
    }

    /// Whether the socket holds bytes that this node has not read yet. If so, this node reads slowly, and the peer is
    /// alive.
    pub(super) fn has_unread(&self) -> bool {
        self.stream.has_unread()
    }

    /// Sends the first frames and the answer to the handshake in one write, before all frames that are queued already.
    pub fn greet(self: &Arc<Self>, frames: &[&Bytes]) {
        let mut state = self.lock();
        state.blocked = false;
        if state.phase == Phase::Disconnected {
            return;
        }
        let rest = self.write(&mut state, frames);
        let held = self.stream.held();
        if !rest.frames.is_empty() || held > 0 {
            self.update_backlog(&mut state, |backlog| {
                backlog.add_first(rest);
                backlog.set_held(held);
            });
        }
        if self.flush(&mut state) == Flushed::Blocked {
            self.wait_for_socket(&mut state, false);
        }
    }

    /// Sends frames in order. If the queue would exceed its limit, the connection is closed with 4008 instead.
    pub fn send(self: &Arc<Self>, frames: &[&Bytes]) {
        self.write_or_queue(&mut self.lock(), frames, true);
    }

    /// Sends replayed frames in order. The hub does not wait for them: a replay goes at the pace of its own peer.
    pub(super) fn replay(self: &Arc<Self>, frames: &[&Bytes]) {
        self.write_or_queue(&mut self.lock(), frames, false);
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
        self.write_or_queue(&mut state, &[&pong], true);
    }

    /// Sends frames of which one is a Ping.
    pub(super) fn ping(self: &Arc<Self>, frames: &[&Bytes]) {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
        self.send(frames);
    }

    /// The peer has sent a Pong. Returns whether it answers a Ping, or could: each Ping has one answer.
    pub fn ponged(&self, payload: &[u8]) -> bool {
        let one_less = |unanswered: u32| unanswered.checked_sub(1);
        let asked = self.unanswered.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok();
        if asked {
            self.shared.pace.answered(payload, Instant::now());
        }
        asked
    }

    /// Queues a Close after all frames. If the peer does not end the connection within [`CLOSE_TIMEOUT`], the socket is
    /// shut down.
    pub fn close(self: &Arc<Self>, code: CloseCode, reason: &str) {
        self.close_with(&mut self.lock(), code.as_u16(), self.encoding.close(code, reason));
    }

    /// Like [`SendBuffer::close`], with a last frame before the Close. The limit does not apply to that frame.
    pub(super) fn close_after(self: &Arc<Self>, last: &ServerFrame<'_>, code: CloseCode, reason: &str) {
        let last = self.encoding.encode(last).unwrap_or_default();
        let close = [last, self.encoding.close(code, reason)].concat().into();
        self.close_with(&mut self.lock(), code.as_u16(), close);
    }

    /// Closes the connection without what is queued, which the peer may not have any more. A frame of which a part was
    /// written is completed, so that the peer can read the Close.
    pub(super) fn expel(self: &Arc<Self>, last: &ServerFrame<'_>, code: CloseCode, reason: &str) {
        let last = self.encoding.error(last).unwrap_or_default();
        let mut state = self.lock();
        if state.phase == Phase::Open {
            self.update_backlog(&mut state, Backlog::drop_unstarted);
        }
        let close = [last, self.encoding.close(code, reason)].concat().into();
        self.close_with(&mut state, code.as_u16(), close);
    }

    /// Answers a peer's Close.
    pub fn close_echo(self: &Arc<Self>, code: Option<u16>) {
        self.close_with(&mut self.lock(), code.unwrap_or(NO_CODE), frame::close_echo(code));
    }

    /// Waits until the backlog is empty. Returns false if the connection is closing: it sends no further frame.
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

    /// Whether the backlog is empty and `bytes` are at most half of its limit.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        let state = self.lock();
        state.phase == Phase::Open && !state.blocked && bytes <= self.shared.limit / 2
    }

    /// The memory of what the socket has not taken yet, in bytes.
    pub(super) fn buffered(&self) -> usize {
        self.lock().backlog.as_ref().map_or(0, |backlog| backlog.cost())
    }

    /// Is told what goes wrong in this connection's namespace.
    pub(super) fn incidents(&self) -> &Incidents {
        &self.shared.incidents
    }

    /// Whether a Close was sent or queued, or the socket is shut down.
    pub fn is_closing(&self) -> bool {
        self.lock().phase != Phase::Open
    }

    /// Closes the connection gracefully: writes the backlog, shuts down the writing side, and waits until the peer
    /// closes its side.
    ///
    /// Without that wait, a TCP reset could overtake the last frames (RFC 6455, section 7.1.1). This method takes at
    /// most [`CLOSE_TIMEOUT`].
    pub async fn finish(&self) {
        if self.lock().phase == Phase::Disconnected {
            return;
        }
        let closing = async {
            loop {
                let flushed = self.flush(&mut self.lock());
                match flushed {
                    Flushed::All => break,
                    Flushed::Blocked => self.stream.writable().await?,
                }
            }
            while let Err(error) = self.stream.try_close() {
                match error.kind() {
                    io::ErrorKind::WouldBlock => self.stream.writable().await?,
                    _ => return Err(error),
                }
            }
            self.stream.discard().await
        };
        // Errors and the timeout are ignored: the next line shuts the socket down in any case.
        let _: Result<io::Result<()>, _> = tokio::time::timeout(CLOSE_TIMEOUT, closing).await;
        self.shut_down();
    }

    /// Shuts the socket down at once, and drops the backlog.
    pub fn shut_down(&self) {
        self.shut_down_locked(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, WriteState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes as many frames as the socket takes, and queues the rest. With `counted`, [`Outgoing`] counts the connection
    /// while its socket is full: the hub pauses while too many sockets are full.
    fn write_or_queue(self: &Arc<Self>, state: &mut WriteState, frames: &[&Bytes], counted: bool) {
        if state.phase != Phase::Open || frames.is_empty() {
            return;
        }
        let rest = if state.blocked { Unwritten { frames, written: 0 } } else { self.write(state, frames) };
        if (!rest.frames.is_empty() || self.stream.held() > 0) && state.phase == Phase::Open {
            self.queue(state, rest);
            self.wait_for_socket(state, counted);
        }
    }

    /// Writes as much as the socket takes, and returns the rest. What was encrypted and not sent is not in the rest:
    /// [`Transport::held`] counts it.
    ///
    /// It calls the socket without tokio's readiness record (see [`Transport::send`]). `flush` uses tokio, which clears
    /// the record of a full socket. The waiting task needs that.
    fn write<'a>(&self, state: &mut WriteState, frames: &'a [&'a Bytes]) -> Unwritten<'a> {
        let mut rest = Unwritten { frames, written: 0 };
        while let Some(first) = rest.frames.first() {
            let result = if rest.frames.len() == 1 {
                self.stream.send(&[IoSlice::new(&first[rest.written..])])
            } else {
                let mut slices = [IoSlice::new(&[]); MAX_SLICES];
                for (slice, frame) in slices.iter_mut().zip(rest.frames) {
                    *slice = IoSlice::new(frame);
                }
                slices[0] = IoSlice::new(&first[rest.written..]);
                self.stream.send(&slices[..rest.frames.len().min(MAX_SLICES)])
            };
            match result {
                Ok(sent) => rest.advance(sent),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.shut_down_locked(state);
                    break;
                }
            }
        }
        rest
    }

    /// Queues frames, or closes the connection with 4008 if the queue would exceed its limit.
    fn queue(self: &Arc<Self>, state: &mut WriteState, rest: Unwritten<'_>) {
        let (limit, held) = (self.shared.limit, self.stream.held());
        let fits = self.update_backlog(state, |backlog| {
            backlog.set_held(held);
            let fits = backlog.add(rest, limit);
            if !fits {
                backlog.drop_unstarted();
            }
            fits
        });
        if !fits {
            self.shared.metrics.slow_consumers.inc();
            let (code, reason) =
                (CloseCode::SlowConsumer, "the client reads too slowly: resume from the last position");
            self.close_with(state, code.as_u16(), self.encoding.close(code, reason));
        }
    }

    fn close_with(self: &Arc<Self>, state: &mut WriteState, code: u16, close: Bytes) {
        if state.phase != Phase::Open {
            return;
        }
        state.phase = Phase::Closing;
        self.shared.count_close(code);
        self.stop_counting(state);
        self.update_backlog(state, |backlog| {
            backlog.drained = Vec::new();
            backlog.push(close);
        });
        if !state.blocked {
            match self.flush(state) {
                Flushed::Blocked => self.wait_for_socket(state, false),
                // A WebSocket client answers the Close and disconnects. An event stream has no Close, so its client
                // sees only the end.
                Flushed::All if matches!(self.encoding, Encoding::Events { .. }) => {
                    let _ = self.stream.try_close();
                }
                Flushed::All => {}
            }
        }
        let weak = Arc::downgrade(self);
        self.shared.runtime.spawn(async move {
            tokio::time::sleep(CLOSE_TIMEOUT).await;
            if let Some(send_buffer) = weak.upgrade() {
                send_buffer.shut_down();
            }
        });
    }

    /// Writes as much of the backlog as the socket takes. Once the backlog is empty, notifies the replays that wait for
    /// this.
    fn flush(&self, state: &mut WriteState) -> Flushed {
        loop {
            if state.phase == Phase::Open && state.backlog.is_some() {
                self.update_backlog(state, Backlog::queue_pong);
            }
            let Some(backlog) = state.backlog.as_deref_mut().filter(|backlog| !backlog.is_empty()) else { break };
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let count = backlog.slices(&mut slices);
            let result = self.stream.try_write_vectored(&slices[..count]);
            let held = self.stream.held();
            match result {
                Ok(sent) => self.update_backlog(state, |backlog| {
                    backlog.advance(sent);
                    backlog.set_held(held);
                }),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.update_backlog(state, |backlog| backlog.set_held(held));
                    return Flushed::Blocked;
                }
                Err(_) => self.shut_down_locked(state),
            }
        }
        // Taking the backlog frees the memory of a burst. A receiver is gone if its replay has ended meanwhile.
        for drained in state.backlog.take().into_iter().flat_map(|backlog| backlog.drained) {
            let _ = drained.send(());
        }
        Flushed::All
    }

    /// Starts the task that waits for the socket and writes the backlog, unless it runs already.
    fn wait_for_socket(self: &Arc<Self>, state: &mut WriteState, counted: bool) {
        if state.blocked || state.phase == Phase::Disconnected {
            return;
        }
        state.blocked = true;
        state.counted_as_blocked = counted && state.phase == Phase::Open;
        self.shared.blocked.fetch_add(usize::from(state.counted_as_blocked), Ordering::Relaxed);
        let send_buffer = Arc::clone(self);
        self.shared.runtime.spawn(async move {
            let mut stalled = Box::pin(tokio::time::sleep(STALLED_AFTER));
            loop {
                let broken = tokio::select! {
                    writable = send_buffer.stream.writable() => writable.is_err(),
                    () = &mut stalled, if !stalled.is_elapsed() => {
                        send_buffer.stop_counting(&mut send_buffer.lock());
                        continue;
                    }
                };
                let mut state = send_buffer.lock();
                if broken {
                    send_buffer.shut_down_locked(&mut state);
                }
                if send_buffer.flush(&mut state) == Flushed::All {
                    state.blocked = false;
                    send_buffer.stop_counting(&mut state);
                    return;
                }
            }
        });
    }

    /// Removes the connection from `Outgoing::blocked`: the hub no longer waits for it.
    fn stop_counting(&self, state: &mut WriteState) {
        if std::mem::take(&mut state.counted_as_blocked) {
            self.shared.blocked.fetch_sub(1, Ordering::Relaxed);
            self.shared.unblocked.notify_waiters();
        }
    }

    /// Shuts the socket down, and drops the backlog.
    fn shut_down_locked(&self, state: &mut WriteState) {
        if state.phase == Phase::Disconnected {
            return;
        }
        if state.phase == Phase::Open {
            // An event stream's client has no other way to end it.
            let is_stream = matches!(self.encoding, Encoding::Events { .. });
            self.shared.count_close(if is_stream { NO_CODE } else { NO_CLOSE });
        }
        self.stream.shut_down();
        self.stop_counting(state);
        if state.backlog.is_some() {
            self.update_backlog(state, Backlog::clear);
        }
        *state = WriteState { phase: Phase::Disconnected, blocked: state.blocked, ..WriteState::default() };
    }

    /// Changes the backlog, and updates the metric of its memory.
    fn update_backlog<T>(&self, state: &mut WriteState, change: impl FnOnce(&mut Backlog) -> T) -> T {
        let backlog = state.backlog.get_or_insert_default();
        let before = backlog.cost();
        let result = change(backlog);
        self.shared.metrics.outbox_bytes.inc_by(backlog.cost() as i64 - before as i64);
        result
    }
}

impl Drop for SendBuffer {
    fn drop(&mut self) {
        self.shut_down_locked(&mut self.lock());
        self.shared.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The result of writing the backlog.
#[derive(Debug, PartialEq, Eq)]
enum Flushed {
    /// The backlog is empty.
    All,
    /// The socket is full.
    Blocked,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Catalog, PerChannel};
    use crate::pace::Pace;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    /// Every idle connection has a send buffer, and each delivery reads one.
    #[test]
    fn a_send_buffer_is_small() {
        assert!(size_of::<SendBuffer>() <= 96, "{} bytes", size_of::<SendBuffer>());
    }

    async fn pair(limit: usize) -> (TcpStream, Arc<SendBuffer>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let pace = Pace::new(
            &Catalog::builtin(),
            Arc::new(PerChannel::new(&Catalog::builtin(), |_| AtomicU64::new(0))),
            Arc::default(),
        );
        let shared = Outgoing::new(limit, Arc::default(), Arc::new(pace), tokio::runtime::Handle::current());
        (peer, SendBuffer::new(stream.into(), Encoding::WebSocket { deflate: false }, Arc::new(shared)))
    }

    #[tokio::test]
    async fn a_ping_is_answered_after_a_full_socket_drains() {
        let (mut peer, send_buffer) = pair(usize::MAX).await;
        send_buffer.greet(&[]);
        let frame = frame::text(&[b'x'; 64 * 1024]);
        while send_buffer.has_room(0) {
            send_buffer.send(&[&frame]);
        }
        send_buffer.pong(b"here");
        let pong = frame::pong(b"here");
        let mut read = Vec::new();
        while !read.ends_with(&pong) {
            let more = tokio::time::timeout(Duration::from_secs(10), peer.read_buf(&mut read)).await;
            assert!(more.expect("a Pong").unwrap() > 0);
        }
        assert_eq!((read.len() - pong.len()) % frame.len(), 0, "the Pong is between whole frames");
    }

    #[tokio::test]
    async fn unread_bytes_are_detected_and_left_in_the_socket() {
        let (mut peer, send_buffer) = pair(1024).await;
        assert!(!send_buffer.has_unread());
        peer.write_all(b"x").await.unwrap();
        send_buffer.stream().socket().readable().await.unwrap();
        assert!(send_buffer.has_unread() && send_buffer.has_unread(), "a check leaves the bytes in the socket");
        send_buffer.stream().try_read(&mut [0; 8]).unwrap();
        assert!(!send_buffer.has_unread());
    }
}
