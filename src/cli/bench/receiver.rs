//! One subscriber of the bench: checks that it gets everything, once and in order.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::sync::{Notify, oneshot, watch};

use super::histogram;
use crate::client::{Client, Error, Subscription, Update};

/// What all receivers write to.
pub struct Shared {
    /// The clock of this run: what publisher and receivers count microseconds from.
    begun: Instant,
    pub deliveries: AtomicU64,
    /// A few, so that thousands of receivers neither wait for one lock nor hold a histogram each.
    latencies: Vec<Mutex<Histogram<u64>>>,
    /// When the last delivery came, in microseconds of [`Shared::clock`].
    last: AtomicU64,
    next: AtomicU64,
    /// Nothing comes any more: every receiver tells what it has.
    pub give_up: Notify,
}

const HISTOGRAMS: usize = 8;

impl Default for Shared {
    fn default() -> Self {
        let latencies = (0..HISTOGRAMS).map(|_| Mutex::new(histogram())).collect();
        let zero = || AtomicU64::new(0);
        Self {
            begun: Instant::now(),
            deliveries: zero(),
            latencies,
            last: zero(),
            next: zero(),
            give_up: Notify::new(),
        }
    }
}

impl Shared {
    /// A moment in microseconds of this run, from 1.
    pub fn clock(&self, moment: Instant) -> u64 {
        moment.saturating_duration_since(self.begun).as_micros() as u64 + 1
    }

    pub fn latencies(&self) -> Histogram<u64> {
        let mut all = histogram();
        for part in &self.latencies {
            // Fails only where the bounds differ.
            let _ = all.add(&*lock(part));
        }
        all
    }

    /// A rough p99, in microseconds: that of one of the parts, since it is asked for often.
    pub fn p99(&self) -> u64 {
        lock(&self.latencies[0]).value_at_quantile(0.99)
    }

    pub fn last_delivery(&self) -> Option<Instant> {
        let last = self.last.load(Ordering::Relaxed);
        (last > 0).then(|| self.begun + Duration::from_micros(last))
    }
}

fn lock(histogram: &Mutex<Histogram<u64>>) -> MutexGuard<'_, Histogram<u64>> {
    histogram.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What one receiver saw.
#[derive(Debug, Default)]
pub struct Seen {
    pub lost: u64,
    pub misordered: u64,
    pub reconnects: u64,
}

/// Receives until the event at the offset `last` has come.
pub async fn run(
    client: Client,
    channel: String,
    run_id: String,
    shared: Arc<Shared>,
    mut last: watch::Receiver<Option<u64>>,
    ready: oneshot::Sender<()>,
) -> Result<Seen, Error> {
    let mut subscriber = client.subscribe([Subscription::to(&channel)]);
    let latencies = shared.next.fetch_add(1, Ordering::Relaxed) as usize % HISTOGRAMS;
    let mut ready = Some(ready);
    let mut seen = Seen::default();
    let mut at = 0;
    let mut end = None;
    loop {
        if let Some(end) = end
            && at >= end
        {
            subscriber.close().await;
            return Ok(seen);
        }
        let update = tokio::select! {
            update = subscriber.next() => update?,
            Ok(()) = last.changed(), if end.is_none() => {
                end = *last.borrow_and_update();
                continue;
            }
            () = shared.give_up.notified(), if end.is_some() => {
                seen.lost += end.unwrap_or(at).saturating_sub(at);
                return Ok(seen);
            }
        };
        match update {
            Update::Subscribed { position, .. } => {
                // After a reconnect, the gap has said what is missing.
                at = at.max(position.offset);
                if let Some(ready) = ready.take() {
                    let _ = ready.send(());
                }
            }
            Update::Event(delivery) => {
                let offset = delivery.position.offset;
                match offset.checked_sub(at + 1) {
                    Some(missing) => {
                        seen.lost += missing;
                        at = offset;
                    }
                    None => seen.misordered += 1,
                }
                shared.deliveries.fetch_add(1, Ordering::Relaxed);
                let now = shared.clock(Instant::now());
                shared.last.fetch_max(now, Ordering::Relaxed);
                if let Some(due) = due(delivery.event.get(), &run_id) {
                    lock(&shared.latencies[latencies]).saturating_record(now.saturating_sub(due).max(1));
                }
            }
            Update::Gap { from, position, .. } => {
                seen.lost += position.offset.saturating_sub(from.offset.max(at));
                at = at.max(position.offset);
            }
            Update::Disconnected { .. } if ready.is_none() => seen.reconnects += 1,
            Update::Disconnected { reason, .. } => {
                return Err(Error::Unreachable { url: client.url(), cause: reason });
            }
            Update::Connected { .. } => {}
        }
    }
}

/// When an event of this run was due, in microseconds of [`Shared::clock`].
fn due(event: &str, run_id: &str) -> Option<u64> {
    let (_, rest) = event.split_once(run_id)?;
    rest.split_once('-')?.0.parse().ok()
}
