//! The load generator: thousands of subscribers and publishers, cheap enough that the server is what is measured.
//!
//! `tidings bench` and the repository's benchmark use it. A subscriber is a socket, a frame decoder and a few counters.
//! It does not reconnect, and it does not parse events; applications use the client library instead. This module does
//! not know any server's protocol. A [`Dialect`] holds what a subscriber sends and how events are recognised, so that
//! other servers can be measured in the same way.

mod frames;
mod http;
mod publisher;
mod stream;
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
pub use stream::Tls;
pub use subscriber::{Swarm, upgrade};
pub use tally::Seen;

/// The protocol of a server, as far as a subscriber needs it.
#[derive(Debug, Clone, Default)]
pub struct Dialect {
    /// How the subscriber gets its events.
    pub transport: Transport,
    /// TLS, where the server has it.
    pub tls: Option<Tls>,
    /// The path and query of the request.
    pub path: String,
    /// The `Host` header, where it is not the address.
    pub host: Option<String>,
    /// Further header lines of the handshake, each with its line end.
    pub headers: String,
    /// Sent once the WebSocket is open; already framed.
    pub hello: Vec<u8>,
    /// The text that confirms a subscription, and how often it must come until the subscriber is ready. WebSockets have
    /// it.
    pub confirmation: (Vec<u8>, usize),
    /// A message that begins with the first is answered with the second, which is already framed.
    pub keep_alive: Option<(Vec<u8>, Vec<u8>)>,
    /// How events are recognised.
    pub events: Events,
}

/// How a subscriber gets its events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Transport {
    #[default]
    WebSocket,
    /// Server-Sent Events. The subscription is confirmed by the status 200.
    EventStream,
    /// One request after the other, each with the cursor of the previous response. The first is answered at once and
    /// confirms the subscription.
    LongPoll,
}

/// How a WebSocket's subscriber recognises events: by their ids, in this kind of message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Events {
    /// Plain messages, each of which holds ids whole.
    #[default]
    Messages,
    /// A byte stream that the messages split anywhere, even within an id.
    Stream,
    /// Compressed messages only, each of which holds ids whole.
    Compressed,
}

/// The counters that all subscribers of a run share.
#[derive(Debug)]
pub struct Shared {
    /// The start of the clock that publishers and subscribers share.
    begun: Instant,
    /// The prefix of the ids of this run's events; see [`Shared::id`].
    tag: Finder<'static>,
    deliveries: AtomicU64,
    /// The number of deliveries that [`Shared::wait_for`] waits for.
    awaited: AtomicU64,
    /// Notified when `awaited` is reached.
    arrived: Notify,
    /// The time of the last delivery, in microseconds of [`Shared::clock`].
    last: AtomicU64,
    /// The deliveries of each lane, where publishers wait for them; see [`Shared::watch_lanes`].
    lanes: OnceLock<Box<[LaneDeliveries]>>,
    /// The reason why a subscriber ended before the end of the run; the first one.
    disconnected: OnceLock<String>,
    /// The number of subscribers that ended before the end of the run.
    ended: AtomicU64,
    /// Several histograms: thousands of subscribers neither contend for one lock nor hold a histogram each.
    latencies: Vec<Mutex<Histogram<u64>>>,
}

/// The deliveries of one lane, and the publisher that waits for them.
#[derive(Debug, Default)]
struct LaneDeliveries {
    count: AtomicU64,
    awaited: AtomicU64,
    arrived: Notify,
}

const HISTOGRAMS: usize = 8;

impl Shared {
    /// The counters of a new run, with a random tag.
    pub fn new() -> Arc<Self> {
        let tag = format!("bench-{:08x}-", rand::random::<u32>());
        Arc::new(Self {
            begun: Instant::now(),
            tag: Finder::new(&tag).into_owned(),
            deliveries: AtomicU64::new(0),
            awaited: AtomicU64::new(u64::MAX),
            arrived: Notify::new(),
            last: AtomicU64::new(0),
            lanes: OnceLock::new(),
            disconnected: OnceLock::new(),
            ended: AtomicU64::new(0),
            latencies: (0..HISTOGRAMS).map(|_| Mutex::new(histogram())).collect(),
        })
    }

    /// A moment as microseconds since the start of the run, from 1.
    pub fn clock(&self, moment: Instant) -> u64 {
        moment.saturating_duration_since(self.begun).as_micros() as u64 + 1
    }

    /// Events received by all subscribers together.
    pub fn deliveries(&self) -> u64 {
        self.deliveries.load(Ordering::Relaxed)
    }

    /// Waits for this many deliveries in all. Returns false once none has come for `timeout`.
    pub async fn wait_for(&self, deliveries: u64, timeout: Duration) -> bool {
        self.awaited.store(deliveries, Ordering::SeqCst);
        let mut before = self.deliveries();
        loop {
            let arrived = self.arrived.notified();
            if self.deliveries.load(Ordering::SeqCst) >= deliveries {
                return true;
            }
            if tokio::time::timeout(timeout, arrived).await.is_err() {
                let now = self.deliveries();
                if now == before {
                    return false;
                }
                before = now;
            }
        }
    }

    /// Counts the deliveries of each of the first `lanes` lanes from now on, for [`Shared::wait_for_lane`].
    pub fn watch_lanes(&self, lanes: usize) {
        self.lanes.get_or_init(|| (0..lanes).map(|_| LaneDeliveries::default()).collect());
    }

    /// Waits until the events of a lane have been delivered this often. One task at a time may wait for a lane.
    pub async fn wait_for_lane(&self, lane: usize, deliveries: u64) {
        let Some(lane) = self.lanes.get().and_then(|lanes| lanes.get(lane)) else { return };
        lane.awaited.store(deliveries, Ordering::SeqCst);
        while lane.count.load(Ordering::SeqCst) < deliveries {
            // A notification that comes before this call is kept.
            lane.arrived.notified().await;
        }
    }

    /// The latencies since the last call, in microseconds: from the moment an event was due until a subscriber read it.
    pub fn take_latencies(&self) -> Histogram<u64> {
        let mut all = histogram();
        for part in &self.latencies {
            let mut part = lock(part);
            // This fails only for histograms with different bounds.
            let _ = all.add(&*part);
            part.reset();
        }
        all
    }

    /// An approximate p99, in microseconds. It is that of one of the histograms, because progress displays call it
    /// often.
    pub fn p99(&self) -> u64 {
        lock(&self.latencies[0]).value_at_quantile(0.99)
    }

    /// The time of the last delivery.
    pub fn last_delivery(&self) -> Option<Instant> {
        let last = self.last.load(Ordering::Relaxed);
        (last > 0).then(|| self.begun + Duration::from_micros(last))
    }

    /// The reason why a subscriber ended before the end of the run, if one did.
    pub fn disconnected(&self) -> Option<&str> {
        self.disconnected.get().map(String::as_str)
    }

    /// The number of subscribers that ended before the end of the run.
    pub fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    /// Adds a delivery to its lane, if lanes are counted.
    fn add_to_lane(&self, lane: usize) {
        let Some(lane) = self.lanes.get().and_then(|lanes| lanes.get(lane)) else { return };
        if lane.count.fetch_add(1, Ordering::SeqCst) + 1 == lane.awaited.load(Ordering::SeqCst) {
            lane.arrived.notify_one();
        }
    }

    /// Adds deliveries that a subscriber received at `now`.
    fn add_deliveries(&self, events: u64, now: u64) {
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
#[expect(clippy::expect_used, reason = "fails only for invalid bounds, and these are constants")]
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("the bounds are valid")
}
