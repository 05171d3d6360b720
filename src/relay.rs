//! From the broker's log to the hub: every event of every channel, in order, as soon as the bus says that there is one.
//!
//! The log decides. What the bus says is never delivered: anybody can write there, and what was true when it was said may
//! be lost by now. A message means: read the log after the last position that was delivered; so does a bus that says it
//! missed something. While a channel is being read it gathers what comes, so that a burst is few reads. What the log no
//! longer has becomes a gap, said to every subscriber. A channel that is being read does not hold up the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::{Notify, watch};

use crate::broker::{Broker, Bus, Page, Signal};
use crate::event::{Catalog, ChannelId, Position};
use crate::hub::{Delivery, Hub, ShardDied};
use crate::metrics::{Metrics, TypeLabel};
use crate::protocol::{event_frame, event_frame_position};

/// Signals that are taken from the bus at once.
const TAKE: usize = 256;
/// Events in one read of the log.
const PAGE: usize = 512;
/// Between two attempts to read a log that cannot be read.
const RETRY: Duration = Duration::from_millis(200);

/// How far the relay has come on each channel, for publishers who must not outrun it.
#[derive(Debug)]
pub struct Progress {
    offsets: Vec<AtomicU64>,
    moved: Notify,
}

impl Progress {
    /// For the catalogue's channels, none of which has moved.
    pub fn new(catalog: &Catalog) -> Self {
        Self { offsets: catalog.channels().map(|_| AtomicU64::new(0)).collect(), moved: Notify::new() }
    }

    /// Waits until everything of a channel up to `offset` was handed to the hub.
    pub async fn reached(&self, channel: ChannelId, offset: u64) {
        let there = || self.offsets[channel.0 as usize].load(Ordering::Acquire) >= offset;
        while !there() {
            let moved = self.moved.notified();
            if there() {
                return;
            }
            moved.await;
        }
    }

    fn note(&self, channel: ChannelId, offset: u64) {
        self.offsets[channel.0 as usize].store(offset, Ordering::Release);
        self.moved.notify_waiters();
    }
}

/// The relay of one node.
pub struct Relay {
    broker: Arc<dyn Broker>,
    hub: Arc<Hub>,
    catalog: Arc<Catalog>,
    metrics: Arc<Metrics>,
    channels: Vec<Channel>,
    reads: FuturesUnordered<BoxFuture<'static, (ChannelId, Page)>>,
    canary: watch::Sender<u64>,
    progress: Arc<Progress>,
}

#[derive(Default)]
struct Channel {
    /// The last position that was delivered; `None` until the log was read for the first time.
    delivered: Option<Position>,
    /// The last offset that came over the bus, in the epoch of `delivered`: the bus repeats only if the log was lost.
    heard: u64,
    reading: bool,
    /// Something came while the log was being read: it must be read again.
    again: bool,
    relayed: Counter,
}

impl Relay {
    /// `canary` is told the number of each canary that came back.
    pub fn new(
        broker: Arc<dyn Broker>,
        hub: Arc<Hub>,
        catalog: Arc<Catalog>,
        metrics: Arc<Metrics>,
        canary: watch::Sender<u64>,
        progress: Arc<Progress>,
    ) -> Self {
        let channel = |id| {
            let label = TypeLabel { r#type: catalog.get(id).name.clone() };
            Channel { relayed: metrics.relayed.get_or_create(&label).clone(), ..Channel::default() }
        };
        let channels = catalog.channels().map(channel).collect();
        Self { broker, hub, catalog, metrics, channels, reads: FuturesUnordered::new(), canary, progress }
    }

    /// Runs until the bus ends.
    ///
    /// # Errors
    /// [`ShardDied`]: nothing can be delivered any more.
    pub async fn run(mut self, mut bus: Bus) -> Result<(), ShardDied> {
        let mut signals = Vec::with_capacity(TAKE);
        for id in self.catalog.channels() {
            self.read(id);
        }
        loop {
            tokio::select! {
                taken = bus.recv_many(&mut signals, TAKE) => {
                    if taken == 0 {
                        return Ok(());
                    }
                    for signal in signals.drain(..) {
                        match signal {
                            Signal::Message { channel, frame } => self.message(channel, &frame),
                            Signal::Missed => self.catalog.channels().for_each(|id| self.read(id)),
                            Signal::Canary(number) => {
                                self.canary.send_if_modified(|last| number > std::mem::replace(last, number.max(*last)));
                            }
                        }
                    }
                }
                Some((id, page)) = self.reads.next() => self.page(id, page).await?,
            }
        }
    }

    fn message(&mut self, id: ChannelId, frame: &[u8]) {
        let channel = &mut self.channels[id.0 as usize];
        if let (Some(position), Some(delivered)) = (event_frame_position(frame), &channel.delivered)
            && position.same_epoch(delivered)
        {
            let before = std::mem::replace(&mut channel.heard, position.offset);
            // A read of the log has overtaken the bus.
            if position.offset <= delivered.offset && position.offset > before {
                return;
            }
        }
        self.read(id);
    }

    /// Reads the log of a channel after what was delivered.
    fn read(&mut self, id: ChannelId) {
        self.read_after(id, Duration::ZERO);
    }

    fn read_after(&mut self, id: ChannelId, pause: Duration) {
        let channel = &mut self.channels[id.0 as usize];
        if std::mem::replace(&mut channel.reading, true) {
            channel.again = true;
            return;
        }
        channel.again = false;
        let (broker, delivered) = (self.broker.clone(), channel.delivered.clone());
        let name = self.catalog.get(id).name.clone();
        self.metrics.log_reads.inc();
        self.reads.push(Box::pin(async move {
            let (mut failed, mut limit) = (false, PAGE);
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            loop {
                match broker.read(id, delivered.as_ref(), limit).await {
                    Ok(page) => return (id, page),
                    Err(error) => {
                        if !std::mem::replace(&mut failed, true) {
                            // One line a channel, of one cause: the node's own is that it is not ready.
                            tracing::debug!(channel = %name, %error, "the log cannot be read; trying on");
                        }
                        // On a slow link less may come in time.
                        limit = (limit / 2).max(1);
                        tokio::time::sleep(RETRY).await;
                    }
                }
            }
        }));
    }

    async fn page(&mut self, id: ChannelId, page: Page) -> Result<(), ShardDied> {
        let name = self.catalog.get(id).name.clone();
        let channel = &mut self.channels[id.0 as usize];
        channel.reading = false;
        let Some(mut at) = channel.delivered.clone() else {
            let head = Position::new(page.epoch, page.head);
            channel.heard = 0;
            channel.delivered = Some(head.clone());
            self.progress.note(id, head.offset);
            self.hub.deliver(Delivery::known(id, head)).await?;
            if channel.again {
                self.read(id);
            }
            return Ok(());
        };
        if page.epoch != at.epoch || page.oldest > at.offset + 1 {
            let lost = Position::new(page.epoch.clone(), page.oldest - 1);
            if at.offset > 0 || lost.offset > 0 {
                tracing::warn!(channel = %name, from = %at, to = %lost, "events are lost: the log no longer has them");
            }
            self.metrics.gaps.inc();
            if page.epoch != at.epoch {
                channel.heard = 0;
            }
            self.hub.deliver(Delivery::gap(id, &name, at, lost.clone())).await?;
            at = lost;
        }
        for entry in page.entries {
            // The log is without holes; an entry that was delivered before is passed over.
            if entry.offset != at.offset + 1 {
                continue;
            }
            at.offset = entry.offset;
            channel.relayed.inc();
            let text = event_frame(&at, &entry.json);
            self.hub.deliver(Delivery::event(id, at.clone(), &text)).await?;
        }
        self.progress.note(id, at.offset);
        let behind = page.head > at.offset;
        let stuck = behind && channel.delivered.as_ref() == Some(&at);
        channel.delivered = Some(at);
        if stuck {
            // Events are there that the log does not give: not to be asked for in a hurry, nor to be called lost.
            tracing::error!(channel = %name, head = page.head, "the log has a hole");
            self.read_after(id, RETRY);
        } else if behind || channel.again {
            self.read(id);
        }
        Ok(())
    }
}
