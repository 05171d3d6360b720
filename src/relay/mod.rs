//! The relay: hands every event of every channel from the log to the hub, in order and without holes.
//!
//! The log decides. If this node appended an event itself, the broker's answer brings the event, and the relay delivers it
//! when it is next in its channel. What other nodes say on the bus is only a hint, which anybody can write: it makes the
//! relay read the log after the last delivered position. So does a hole, and a signal that messages were missed. While the
//! relay reads a channel it collects further hints, so that a burst takes few reads. What the log no longer has becomes a
//! gap for every subscriber. Reading one channel does not hold up the others.
//!
//! Each namespace has a relay. The relay does not know sockets or backends.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::watch;

use crate::broker::{Log, Page, Signal, Signals};
use crate::event::{Catalog, ChannelId, PerChannel, Position};
use crate::hub::{ChannelStep, Hub, ShardDied};
use crate::metrics::{Metrics, TypeLabel};
use crate::progress::Progress;
use crate::protocol::event_frame;

/// The most signals that are received at once.
const MAX_SIGNALS: usize = 256;
/// Events in one read of the log.
const PAGE: usize = 512;
/// Pause after a read of the log that failed.
const RETRY: Duration = Duration::from_millis(200);

/// The relay of one namespace.
pub struct Relay {
    log: Arc<dyn Log>,
    hub: Arc<Hub>,
    catalog: Arc<Catalog>,
    metrics: Arc<Metrics>,
    channels: PerChannel<ChannelState>,
    reads: FuturesUnordered<BoxFuture<'static, (ChannelId, Page)>>,
    /// Channels whose log may have to be read.
    candidates: Vec<ChannelId>,
    /// The number of the last probe that came back.
    returned: watch::Sender<u64>,
    /// The first probe, if it came back before every log was read for the first time.
    first_probe: Option<u64>,
    progress: Arc<Progress>,
}

#[derive(Default)]
struct ChannelState {
    /// The last position that was delivered; `None` until the log was read for the first time.
    delivered: Option<Position>,
    /// The last offset that a hint named, in the epoch of `delivered`. A hint names an offset again only if the log was
    /// lost.
    last_hint: u64,
    /// The newest offset that is known to exist since the last read began. If it was not delivered, the log must be read.
    known_head: u64,
    /// The log must be read, whatever was delivered.
    must_read: bool,
    /// A read of the log is under way.
    reading: bool,
    relayed: Counter,
}

impl ChannelState {
    /// Whether the log has to be read.
    fn behind(&self) -> bool {
        self.must_read || self.delivered.as_ref().is_none_or(|at| self.known_head > at.offset)
    }
}

impl Relay {
    /// A relay that reports the number of each returned probe in `returned`.
    pub fn new(
        log: Arc<dyn Log>,
        hub: Arc<Hub>,
        catalog: Arc<Catalog>,
        metrics: Arc<Metrics>,
        returned: watch::Sender<u64>,
        progress: Arc<Progress>,
    ) -> Self {
        let state = |id| {
            let label = TypeLabel { r#type: catalog.get(id).name.clone() };
            ChannelState { relayed: metrics.relayed.get_or_create(&label).clone(), ..ChannelState::default() }
        };
        let channels = PerChannel::new(&catalog, state);
        let (reads, candidates) = (FuturesUnordered::new(), Vec::new());
        Self { log, hub, catalog, metrics, channels, reads, candidates, returned, first_probe: None, progress }
    }

    /// Runs until the backend is closed.
    ///
    /// # Errors
    /// [`ShardDied`]: nothing can be delivered any more.
    pub async fn run(mut self, mut signals: Signals) -> Result<(), ShardDied> {
        let mut received = Vec::with_capacity(MAX_SIGNALS);
        self.check_all();
        self.begin_reads();
        loop {
            tokio::select! {
                biased;
                Some((id, page)) = self.reads.next() => self.page(id, page).await?,
                count = signals.recv_many(&mut received, MAX_SIGNALS) => {
                    if count == 0 {
                        return Ok(());
                    }
                    let waited = !self.candidates.is_empty();
                    self.handle(&mut received).await?;
                    if waited {
                        self.begin_reads();
                    }
                }
                // The hint about an event of this node's own often arrives before the broker's answer, which brings the
                // event. So signals that are just arriving are handled first, and the log is not read in vain.
                () = tokio::task::yield_now(), if !self.candidates.is_empty() => self.begin_reads(),
            }
        }
    }

    async fn handle(&mut self, received: &mut Vec<Signal>) -> Result<(), ShardDied> {
        for signal in received.drain(..) {
            match signal {
                Signal::Appended { channel, position, json } => self.appended(channel, position, &json).await?,
                Signal::Hint { channel, position } => self.hint(channel, position),
                Signal::Missed => self.check_all(),
                // The first probe waits for the logs: every channel of a ready node can be subscribed to. The next probes
                // do not wait, so that one unreadable log does not keep the node from serving the other channels.
                Signal::Probe(number) if self.first_probe.is_none() && !self.all_known() => {
                    self.first_probe = Some(number);
                }
                Signal::Probe(number) => self.report(number),
            }
        }
        Ok(())
    }

    fn report(&self, probe: u64) {
        self.returned.send_if_modified(|last| probe > std::mem::replace(last, probe.max(*last)));
    }

    fn all_known(&self) -> bool {
        self.channels.values().all(|channel| channel.delivered.is_some())
    }

    /// Delivers an event that this node appended, if it is next in its channel.
    async fn appended(&mut self, id: ChannelId, position: Position, json: &str) -> Result<(), ShardDied> {
        match &self.channels[id].delivered {
            Some(at) if position.same_epoch(at) && position.offset == at.offset + 1 => {
                self.deliver(id, position, json).await?;
            }
            Some(at) if position.same_epoch(at) => self.check(id, Some(position.offset)),
            _ => self.check(id, None),
        }
        Ok(())
    }

    fn hint(&mut self, id: ChannelId, position: Option<Position>) {
        let channel = &mut self.channels[id];
        let mut head = None;
        if let (Some(position), Some(delivered)) = (position, &channel.delivered)
            && position.same_epoch(delivered)
            && position.offset > std::mem::replace(&mut channel.last_hint, position.offset)
        {
            head = Some(position.offset);
        }
        self.check(id, head);
    }

    /// Has every channel's log read.
    fn check_all(&mut self) {
        self.catalog.channels().for_each(|id| self.check(id, None));
    }

    /// Has a channel's log read after the last delivered position. With `head`, only if the event there was not delivered.
    fn check(&mut self, id: ChannelId, head: Option<u64>) {
        let channel = &mut self.channels[id];
        match head {
            Some(offset) => channel.known_head = channel.known_head.max(offset),
            None => channel.must_read = true,
        }
        if channel.behind() {
            self.candidates.push(id);
        }
    }

    fn begin_reads(&mut self) {
        while let Some(id) = self.candidates.pop() {
            let channel = &self.channels[id];
            if channel.behind() && !channel.reading {
                self.read_after(id, Duration::ZERO);
            }
        }
    }

    fn read_after(&mut self, id: ChannelId, pause: Duration) {
        let channel = &mut self.channels[id];
        (channel.reading, channel.must_read, channel.known_head) = (true, false, 0);
        let (log, delivered) = (self.log.clone(), channel.delivered.clone());
        let name = self.catalog.get(id).name.clone();
        self.metrics.log_reads.inc();
        self.reads.push(Box::pin(async move {
            let (mut failed, mut limit) = (false, PAGE);
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            loop {
                match log.read(id, delivered.as_ref(), limit).await {
                    Ok(page) => return (id, page),
                    Err(error) => {
                        if !std::mem::replace(&mut failed, true) {
                            // Only for debugging: operators see that the node is not ready, once for all channels.
                            tracing::debug!(channel = %name, %error, "the log cannot be read; the relay tries again");
                        }
                        // On a slow link a smaller page may arrive in time.
                        limit = (limit / 2).max(1);
                        tokio::time::sleep(RETRY).await;
                    }
                }
            }
        }));
    }

    /// Delivers what a read of the log has brought.
    async fn page(&mut self, id: ChannelId, page: Page) -> Result<(), ShardDied> {
        let channel = &mut self.channels[id];
        channel.reading = false;
        let Some(before) = channel.delivered.clone() else {
            let head = page.bounds.head();
            channel.last_hint = 0;
            channel.delivered = Some(head.clone());
            // In this order: a channel whose position is known can be subscribed to.
            self.hub.deliver(ChannelStep::known(id, head.clone())).await?;
            self.progress.note(id, &head);
            self.candidates.push(id);
            if let Some(probe) = self.first_probe.filter(|_| self.all_known()) {
                self.report(probe);
            }
            return Ok(());
        };
        let mut at = before.clone();
        if let Some(lost) = page.bounds.gap_after(&at) {
            at = lost;
            self.gap(id, &before, &at).await?;
        }
        for entry in page.entries {
            // Entries are consecutive. One that was delivered meanwhile is skipped.
            if entry.offset == at.offset + 1 {
                at.offset = entry.offset;
                self.deliver(id, at.clone(), &entry.json).await?;
            }
        }
        if page.bounds.head > at.offset && at == before {
            // The log has events that it does not give. They are not lost, so there is no gap; the next read waits a while.
            tracing::error!(channel = %self.catalog.get(id).name, head = page.bounds.head, "the log has a hole");
            self.read_after(id, RETRY);
            return Ok(());
        }
        self.check(id, Some(page.bounds.head));
        Ok(())
    }

    /// Delivers a gap: the events after `from` up to and including `to` are gone.
    async fn gap(&mut self, id: ChannelId, from: &Position, to: &Position) -> Result<(), ShardDied> {
        let name = &self.catalog.get(id).name;
        if from.offset > 0 || to.offset > 0 {
            tracing::warn!(channel = %name, %from, %to, "events are lost: the log no longer has them");
        }
        self.metrics.gaps.inc();
        self.hub.deliver(ChannelStep::gap(id, name, from.clone(), to.clone())).await?;
        let channel = &mut self.channels[id];
        if !from.same_epoch(to) {
            channel.last_hint = 0;
        }
        self.progress.note(id, to);
        channel.delivered = Some(to.clone());
        Ok(())
    }

    /// Delivers the event that is next in its channel.
    async fn deliver(&mut self, id: ChannelId, position: Position, json: &str) -> Result<(), ShardDied> {
        let text = event_frame(&position, json);
        self.hub.deliver(ChannelStep::event(id, position.clone(), &text)).await?;
        let channel = &mut self.channels[id];
        channel.relayed.inc();
        self.progress.note(id, &position);
        channel.delivered = Some(position);
        Ok(())
    }
}
