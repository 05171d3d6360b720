//! Load: thousands of WebSocket subscribers and publishers at so small a cost that it is the daemon which is measured.
//!
//! `tidings bench` and the repository's benchmark drive servers with it. A subscriber here is a socket, a splitter of
//! frames and a few numbers; it neither reconnects nor parses what it gets (the client library is for those who want an
//! event). It knows how a stream is read, not whose it is: what is said to a server and how its events are recognised is a
//! [`Dialect`], so that other servers can be driven the same way.

mod frames;
mod publisher;
mod subscriber;
mod tally;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use memchr::memmem::Finder;
use tokio::sync::Notify;

pub use frames::{Frames, Message, client_frame};
pub use publisher::Publisher;
pub use subscriber::{Swarm, upgrade};
pub use tally::Seen;

/// How a server is spoken to.
#[derive(Debug, Clone, Default)]
pub struct Dialect {
    /// The path and query of the WebSocket.
    pub path: String,
    /// What the handshake says as `Host`, where that is not the address.
    pub host: Option<String>,
    /// Header lines of the handshake beside those that every handshake has, each with its line end.
    pub headers: String,
    /// What is sent once the connection is open, already framed.
    pub hello: Vec<u8>,
    /// A subscriber stands when this was in what it got, so often.
    pub stands: (Vec<u8>, usize),
    /// A message that begins with the first is answered with the second, already framed.
    pub keep_alive: Option<(Vec<u8>, Vec<u8>)>,
    /// How events are found.
    pub events: Events,
}

/// How events are found in what a subscriber gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Events {
    /// By their ids, each of which stands whole in one message.
    #[default]
    Messages,
    /// By their ids, wherever the messages are cut: for servers whose protocol takes no notice of messages.
    Stream,
    /// The same, but only in compressed messages.
    Compressed,
}

/// What all subscribers of a run write to.
#[derive(Debug)]
pub struct Shared {
    /// What publisher and receivers count microseconds from.
    begun: Instant,
    /// What the id of each event of the run begins with; see [`Shared::id`].
    tag: Finder<'static>,
    deliveries: AtomicU64,
    /// Who waits for so many deliveries is told.
    awaited: AtomicU64,
    arrived: Notify,
    /// When the last delivery came, in microseconds of [`Shared::clock`].
    last: AtomicU64,
    /// Why the first subscriber ended that was not told to.
    cut_off: OnceLock<String>,
    /// A few, so that thousands of receivers neither wait for one lock nor hold a histogram each.
    latencies: Vec<Mutex<Histogram<u64>>>,
}

const HISTOGRAMS: usize = 8;

impl Shared {
    /// For a new run, with a tag of its own.
    pub fn new() -> Arc<Self> {
        let tag = format!("bench-{:08x}-", rand::random::<u32>());
        Arc::new(Self {
            begun: Instant::now(),
            tag: Finder::new(&tag).into_owned(),
            deliveries: AtomicU64::new(0),
            awaited: AtomicU64::new(u64::MAX),
            arrived: Notify::new(),
            last: AtomicU64::new(0),
            cut_off: OnceLock::new(),
            latencies: (0..HISTOGRAMS).map(|_| Mutex::new(histogram())).collect(),
        })
    }

    /// A moment in microseconds of this run, from 1.
    pub fn clock(&self, moment: Instant) -> u64 {
        moment.saturating_duration_since(self.begun).as_micros() as u64 + 1
    }

    /// Events that arrived, at all subscribers together.
    pub fn deliveries(&self) -> u64 {
        self.deliveries.load(Ordering::Relaxed)
    }

    /// Waits for so many deliveries in all; false where none has come for `patience`.
    pub async fn wait_for(&self, deliveries: u64, patience: Duration) -> bool {
        self.awaited.store(deliveries, Ordering::SeqCst);
        let mut before = self.deliveries();
        loop {
            let arrived = self.arrived.notified();
            if self.deliveries.load(Ordering::SeqCst) >= deliveries {
                return true;
            }
            if tokio::time::timeout(patience, arrived).await.is_err() {
                let now = self.deliveries();
                if now == before {
                    return false;
                }
                before = now;
            }
        }
    }

    /// From when an event was due until it was read, in microseconds: of what came since this was last asked.
    pub fn take_latencies(&self) -> Histogram<u64> {
        let mut all = histogram();
        for part in &self.latencies {
            let mut part = lock(part);
            // Fails only where the bounds differ.
            let _ = all.add(&*part);
            part.reset();
        }
        all
    }

    /// A rough p99, in microseconds: that of one of the parts, since it is asked for often.
    pub fn p99(&self) -> u64 {
        lock(&self.latencies[0]).value_at_quantile(0.99)
    }

    /// When the last event came.
    pub fn last_delivery(&self) -> Option<Instant> {
        let last = self.last.load(Ordering::Relaxed);
        (last > 0).then(|| self.begun + Duration::from_micros(last))
    }

    /// Why a subscriber ended that was not told to, if one did.
    pub fn cut_off(&self) -> Option<&str> {
        self.cut_off.get().map(String::as_str)
    }

    fn arrived(&self, events: u64, now: u64) {
        self.last.fetch_max(now, Ordering::Relaxed);
        let before = self.deliveries.fetch_add(events, Ordering::SeqCst);
        let awaited = self.awaited.load(Ordering::SeqCst);
        if before < awaited && before + events >= awaited {
            self.arrived.notify_waiters();
        }
    }
}

fn lock(histogram: &Mutex<Histogram<u64>>) -> MutexGuard<'_, Histogram<u64>> {
    histogram.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A histogram of latencies: microseconds up to ten minutes, to three digits.
#[expect(clippy::expect_used, reason = "fails only for bounds that make no sense, and these are constants")]
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("the bounds are right")
}
