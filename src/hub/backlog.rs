//! What waits for one connection's socket: frames in their order, the first of which may be half written.
//!
//! Only bytes and their order: who may send what, and when, is the send buffer's concern.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;
use tokio::sync::oneshot;

/// What a waiting frame costs beside its bytes: its handle in the queue.
const FRAME_COST: usize = size_of::<Bytes>();

/// The most frames in one vectored write.
pub const MAX_SLICES: usize = 64;

#[derive(Debug, Default)]
pub struct Backlog {
    queue: VecDeque<Bytes>,
    /// How much of the queue's first frame is written.
    written: usize,
    /// The cost of the queue.
    cost: usize,
    /// The answer to the last Ping, where it could not be written at once. Only the last one is answered (RFC 6455,
    /// section 5.5.3): a flood of Pings that are never read costs nothing.
    pub pong: Option<Bytes>,
    /// Who waits until nothing waits here: a replay for each channel, at most.
    pub drained: Vec<oneshot::Sender<()>>,
}

/// Frames that the socket did not take; of the first, `written` bytes it did.
#[derive(Clone, Copy)]
pub struct Rest<'a> {
    pub frames: &'a [&'a Bytes],
    pub written: usize,
}

impl Backlog {
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// In bytes.
    pub fn cost(&self) -> usize {
        self.cost
    }

    /// Adds frames after all others. False, and not all of them are added, where that would cost more than `limit`; but one
    /// frame always fits.
    pub fn add(&mut self, rest: Rest<'_>, limit: usize) -> bool {
        if self.queue.is_empty() {
            self.written = rest.written;
        }
        rest.frames.iter().all(|frame| {
            let fits = self.queue.is_empty() || self.cost + frame.len() + FRAME_COST <= limit;
            if fits {
                self.push((*frame).clone());
            }
            fits
        })
    }

    /// Adds a frame after all others.
    pub fn push(&mut self, frame: Bytes) {
        self.cost += frame.len() + FRAME_COST;
        self.queue.push_back(frame);
    }

    /// Adds frames before all others, none of which may be half written.
    pub fn add_first(&mut self, rest: Rest<'_>) {
        for frame in rest.frames.iter().rev() {
            self.push_first((*frame).clone());
        }
        self.written = rest.written;
    }

    /// Queues the answer to a Ping, where no frame is half written.
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

    /// Drops what waits, but for a frame that is already half written: the stream of frames stays whole.
    pub fn drop_whole(&mut self) {
        self.queue.truncate(usize::from(self.written > 0));
        self.queue.shrink_to_fit();
        self.cost = self.queue.front().map_or(0, |half| half.len() + FRAME_COST);
    }

    /// Drops all.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// What is to be written next.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; MAX_SLICES]) -> usize {
        for (slice, frame) in slices.iter_mut().zip(&self.queue) {
            *slice = IoSlice::new(frame);
        }
        if let Some(first) = self.queue.front() {
            slices[0] = IoSlice::new(&first[self.written..]);
        }
        self.queue.len().min(MAX_SLICES)
    }

    /// So many bytes were written.
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

impl Rest<'_> {
    /// So many bytes were written.
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
    fn what_is_written_is_gone_and_what_is_not_stays_in_order() {
        let frames = frames(&["abc", "de", "f"]);
        let frames: Vec<&Bytes> = frames.iter().collect();
        let mut backlog = Backlog::default();
        assert!(backlog.add(Rest { frames: &frames, written: 1 }, 1000));
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
    fn one_frame_always_fits_and_a_half_written_one_stays() {
        let frames = frames(&["abcdef", "g"]);
        let frames: Vec<&Bytes> = frames.iter().collect();
        let mut backlog = Backlog::default();
        assert!(!backlog.add(Rest { frames: &frames, written: 2 }, 3));
        assert_eq!(bytes(&backlog), b"cdef");
        backlog.drop_whole();
        assert_eq!(bytes(&backlog), b"cdef");
        backlog.push(Bytes::from_static(b"close"));
        backlog.advance(4);
        assert_eq!(bytes(&backlog), b"close");
        backlog.drop_whole();
        assert!(backlog.is_empty());
    }

    #[test]
    fn what_comes_first_goes_before_what_waits() {
        let [first, second] = [frames(&["head", "hello"]), frames(&["close"])];
        let (first, second): (Vec<&Bytes>, Vec<&Bytes>) = (first.iter().collect(), second.iter().collect());
        let mut backlog = Backlog::default();
        assert!(backlog.add(Rest { frames: &second, written: 0 }, 1000));
        let mut rest = Rest { frames: &first, written: 0 };
        rest.advance(6);
        backlog.add_first(rest);
        assert_eq!(bytes(&backlog), b"lloclose");
    }
}
