//! The frames that one connection's socket has not taken yet, in order; the first may be half written.
//!
//! A [`SendBuffer`](super::SendBuffer) writes to the socket first, and queues here what the socket did not take. With TLS,
//! the transport itself holds bytes that were encrypted and not sent; the queue only counts them. This module knows bytes, their order and their cost in memory. It does not know the socket, and it decides no limits.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;
use tokio::sync::oneshot;

/// The memory of a queued frame beside its bytes: its handle in the queue.
const FRAME_COST: usize = size_of::<Bytes>();

/// The most frames in one vectored write.
pub const MAX_SLICES: usize = 64;

/// The queue of one connection.
#[derive(Debug, Default)]
pub struct Backlog {
    queue: VecDeque<Bytes>,
    /// How many bytes of the queue's first frame are written.
    written: usize,
    /// The memory of the queue, in bytes, and `held`.
    cost: usize,
    /// Bytes that the transport has encrypted and the socket has not taken. They go before the queue.
    held: usize,
    /// The answer to the last Ping, where it could not be written at once. Only the last Ping is answered (RFC 6455,
    /// section 5.5.3), so a client that floods with Pings and does not read costs one frame.
    pub pong: Option<Bytes>,
    /// The replays that wait until the backlog is empty: one for each channel, at most.
    pub drained: Vec<oneshot::Sender<()>>,
}

/// Frames that the socket did not take whole; it took the first `written` bytes of the first one.
#[derive(Clone, Copy)]
pub struct Unwritten<'a> {
    pub frames: &'a [&'a Bytes],
    pub written: usize,
}

impl Backlog {
    /// Whether nothing is left to send.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.held == 0
    }

    /// The memory of what is left to send, in bytes.
    pub fn cost(&self) -> usize {
        self.cost
    }

    /// Adds frames after all others. Returns false, with only some of them added, where they would cost more than
    /// `limit` bytes. An empty queue takes one frame of any size.
    pub fn add(&mut self, unwritten: Unwritten<'_>, limit: usize) -> bool {
        if self.queue.is_empty() {
            self.written = unwritten.written;
        }
        unwritten.frames.iter().all(|frame| {
            let fits = self.queue.is_empty() || self.cost + frame.len() + FRAME_COST <= limit;
            if fits {
                self.push((*frame).clone());
            }
            fits
        })
    }

    /// Counts the encrypted bytes that the transport holds.
    pub fn set_held(&mut self, held: usize) {
        self.cost = self.cost - self.held + held;
        self.held = held;
    }

    /// Adds a frame after all others.
    pub fn push(&mut self, frame: Bytes) {
        self.cost += frame.len() + FRAME_COST;
        self.queue.push_back(frame);
    }

    /// Adds frames before all others. The caller ensures that no queued frame is half written.
    pub fn add_first(&mut self, unwritten: Unwritten<'_>) {
        for frame in unwritten.frames.iter().rev() {
            self.push_first((*frame).clone());
        }
        self.written = unwritten.written;
    }

    /// Queues the answer to a Ping before all frames, unless the first of them is half written.
    pub fn queue_pong(&mut self) {
        if self.written == 0
            && let Some(pong) = self.pong.take()
        {
            self.push_first(pong);
        }
    }

    fn push_first(&mut self, frame: Bytes) {
        self.cost += frame.len() + FRAME_COST;
        self.queue.push_front(frame);
    }

    /// Drops all frames of which nothing is written. A half written frame stays, so that the peer can read what
    /// follows.
    pub fn drop_unstarted(&mut self) {
        self.queue.truncate(usize::from(self.written > 0));
        self.queue.shrink_to_fit();
        self.cost = self.held + self.queue.front().map_or(0, |half| half.len() + FRAME_COST);
    }

    /// Drops all frames.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Fills in the slices of the next vectored write, and returns how many they are.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; MAX_SLICES]) -> usize {
        for (slice, frame) in slices.iter_mut().zip(&self.queue) {
            *slice = IoSlice::new(frame);
        }
        if let Some(first) = self.queue.front() {
            slices[0] = IoSlice::new(&first[self.written..]);
        }
        self.queue.len().min(MAX_SLICES)
    }

    /// Removes the `sent` bytes that the socket took.
    pub fn advance(&mut self, mut sent: usize) {
        while let Some(first) = self.queue.front() {
            let left = first.len() - self.written;
            if sent < left {
                self.written += sent;
                break;
            }
            sent -= left;
            self.written = 0;
            self.cost -= first.len() + FRAME_COST;
            self.queue.pop_front();
        }
    }
}

impl Unwritten<'_> {
    /// Removes the `sent` bytes that the socket took.
    pub fn advance(&mut self, mut sent: usize) {
        while let Some(first) = self.frames.first() {
            let left = first.len() - self.written;
            if sent < left {
                self.written += sent;
                break;
            }
            sent -= left;
            self.written = 0;
            self.frames = &self.frames[1..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(backlog: &Backlog) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let count = backlog.slices(&mut slices);
        slices[..count].iter().flat_map(|slice| slice.iter().copied()).collect()
    }

    fn frames(frames: &[&'static str]) -> Vec<Bytes> {
        frames.iter().map(|frame| Bytes::from_static(frame.as_bytes())).collect()
    }

    #[test]
    fn unwritten_bytes_stay_in_order() {
        let frames = frames(&["abc", "de", "f"]);
        let frames: Vec<&Bytes> = frames.iter().collect();
        let mut backlog = Backlog::default();
        assert!(backlog.add(Unwritten { frames: &frames, written: 1 }, 1000));
        assert_eq!(bytes(&backlog), b"bcdef");
        backlog.advance(3);
        assert_eq!(bytes(&backlog), b"ef");
        backlog.pong = Some(Bytes::from_static(b"pong"));
        backlog.queue_pong();
        assert_eq!(bytes(&backlog), b"ef", "no pong into the middle of a frame");
        backlog.advance(1);
        backlog.queue_pong();
        assert_eq!(bytes(&backlog), b"pongf");
        backlog.advance(5);
        assert!(backlog.is_empty());
        assert_eq!(backlog.cost(), 0);
    }

    #[test]
    fn an_empty_queue_takes_any_frame_and_a_half_written_one_stays() {
        let frames = frames(&["abcdef", "g"]);
        let frames: Vec<&Bytes> = frames.iter().collect();
        let mut backlog = Backlog::default();
        assert!(!backlog.add(Unwritten { frames: &frames, written: 2 }, 3));
        assert_eq!(bytes(&backlog), b"cdef");
        backlog.drop_unstarted();
        assert_eq!(bytes(&backlog), b"cdef");
        backlog.push(Bytes::from_static(b"close"));
        backlog.advance(4);
        assert_eq!(bytes(&backlog), b"close");
        backlog.drop_unstarted();
        assert!(backlog.is_empty());
    }

    #[test]
    fn a_greeting_goes_before_queued_frames() {
        let [first, second] = [frames(&["head", "hello"]), frames(&["close"])];
        let (first, second): (Vec<&Bytes>, Vec<&Bytes>) = (first.iter().collect(), second.iter().collect());
        let mut backlog = Backlog::default();
        assert!(backlog.add(Unwritten { frames: &second, written: 0 }, 1000));
        let mut unwritten = Unwritten { frames: &first, written: 0 };
        unwritten.advance(6);
        backlog.add_first(unwritten);
        assert_eq!(bytes(&backlog), b"lloclose");
    }
}
