//! From the broker's log to the hub: every event of every channel, in order, as soon as the bus says that there is one.
//!
//! The log decides. What this node appended itself is delivered as the broker took it, if it is next in its channel. What
//! others say on the bus is never delivered: anybody can write there, and what was true when it was said may be lost by
//! now. A hint means: read the log after the last position that was delivered; so does a hole, and a bus that says it
//! missed something. While a channel is being read it gathers what comes, so that a burst is few reads. What the log no
//! longer has becomes a gap, said to every subscriber. A channel that is being read does not hold up the others.

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

/// Signals that are taken from the bus at once.
const TAKE: usize = 256;
/// Events in one read of the log.
const PAGE: usize = 512;
/// Between two attempts to read a log that cannot be read.
const RETRY: Duration = Duration::from_millis(200);

/// The relay of one node.
pub struct Relay {
    log: Arc<dyn Log>,
    hub: Arc<Hub>,
    catalog: Arc<Catalog>,
    metrics: Arc<Metrics>,
    channels: PerChannel<ChannelState>,
    reads: FuturesUnordered<BoxFuture<'static, (ChannelId, Page)>>,
    /// Channels whose log may have to be read.
    asked: Vec<ChannelId>,
    probe: watch::Sender<u64>,
    /// The first probe, where it came before all logs were read for the first time.
    held: Option<u64>,
    progress: Arc<Progress>,
}

#[derive(Default)]
struct ChannelState {
    /// The last position that was delivered; `None` until the log was read for the first time.
    delivered: Option<Position>,
    /// The last offset that came over the bus, in the epoch of `delivered`: the bus repeats only if the log was lost.
    heard: u64,
    /// The newest offset that was named since the last read began: it is to be delivered, or else the log to be read.
    named: u64,
    /// The log is to be read, whatever was delivered.
    due: bool,
    reading: bool,
    relayed: Counter,
}

impl ChannelState {
    /// Whether the log has to be read.
    fn behind(&self) -> bool {
        self.due || self.delivered.as_ref().is_none_or(|at| self.named > at.offset)
    }
}

impl Relay {
    /// `probe` is told the number of each probe that came back.
    pub fn new(
        log: Arc<dyn Log>,
        hub: Arc<Hub>,
        catalog: Arc<Catalog>,
        metrics: Arc<Metrics>,
        probe: watch::Sender<u64>,
        progress: Arc<Progress>,
    ) -> Self {
        let state = |id| {
            let label = TypeLabel { r#type: catalog.get(id).name.clone() };
            ChannelState { relayed: metrics.relayed.get_or_create(&label).clone(), ..ChannelState::default() }
        };
        let channels = PerChannel::new(&catalog, state);
        let (reads, asked) = (FuturesUnordered::new(), Vec::new());
        Self { log, hub, catalog, metrics, channels, reads, asked, probe, held: None, progress }
    }

    /// Runs until the bus ends.
    ///
    /// # Errors
    /// [`ShardDied`]: nothing can be delivered any more.
    pub async fn run(mut self, mut bus: Signals) -> Result<(), ShardDied> {
        let mut signals = Vec::with_capacity(TAKE);
        self.ask_all();
        self.begin_reads();
        loop {
            tokio::select! {
                biased;
                Some((id, page)) = self.reads.next() => self.page(id, page).await?,
                taken = bus.recv_many(&mut signals, TAKE) => {
                    if taken == 0 {
                        return Ok(());
                    }
                    let waited = !self.asked.is_empty();
                    self.take(&mut signals).await?;
                    if waited {
                        self.begin_reads();
                    }
                }
                // The bus often says what this node appended before the broker's own answer is here, which brings the
                // event: what is just arriving is looked at before a log is read for nothing.
                () = tokio::task::yield_now(), if !self.asked.is_empty() => self.begin_reads(),
            }
        }
    }

    async fn take(&mut self, signals: &mut Vec<Signal>) -> Result<(), ShardDied> {
        for signal in signals.drain(..) {
            match signal {
                Signal::Appended { channel, position, json } => self.appended(channel, position, &json).await?,
                Signal::Hint { channel, position } => self.hint(channel, position),
                Signal::Missed => self.ask_all(),
                // The first one waits for the logs: who is ready can be subscribed to. The next waits for nothing, so that
                // one log that cannot be read does not keep the node from the others.
                Signal::Probe(number) if self.held.is_none() && !self.all_known() => self.held = Some(number),
                Signal::Probe(number) => self.pass_on(number),
            }
        }
        Ok(())
    }

    fn pass_on(&self, probe: u64) {
        self.probe.send_if_modified(|last| probe > std::mem::replace(last, probe.max(*last)));
    }

    fn all_known(&self) -> bool {
        self.channels.values().all(|channel| channel.delivered.is_some())
    }

    async fn appended(&mut self, id: ChannelId, position: Position, json: &str) -> Result<(), ShardDied> {
        match &self.channels[id].delivered {
            Some(at) if position.same_epoch(at) && position.offset == at.offset + 1 => {
                self.deliver(id, position, json).await?;
            }
            Some(at) if position.same_epoch(at) => self.ask(id, Some(position.offset)),
            _ => self.ask(id, None),
        }
        Ok(())
    }

    fn hint(&mut self, id: ChannelId, position: Option<Position>) {
        let channel = &mut self.channels[id];
        let mut named = None;
        if let (Some(position), Some(delivered)) = (position, &channel.delivered)
            && position.same_epoch(delivered)
            && position.offset > std::mem::replace(&mut channel.heard, position.offset)
        {
            named = Some(position.offset);
        }
        self.ask(id, named);
    }

    fn ask_all(&mut self) {
        self.catalog.channels().for_each(|id| self.ask(id, None));
    }

    /// Asks for the log of a channel to be read after what was delivered; with `named` only if that was not.
    fn ask(&mut self, id: ChannelId, named: Option<u64>) {
        let channel = &mut self.channels[id];
        match named {
            Some(offset) => channel.named = channel.named.max(offset),
            None => channel.due = true,
        }
        if channel.behind() {
            self.asked.push(id);
        }
    }

    fn begin_reads(&mut self) {
        while let Some(id) = self.asked.pop() {
            let channel = &self.channels[id];
            if channel.behind() && !channel.reading {
                self.read_after(id, Duration::ZERO);
            }
        }
    }

    fn read_after(&mut self, id: ChannelId, pause: Duration) {
        let channel = &mut self.channels[id];
        (channel.reading, channel.due, channel.named) = (true, false, 0);
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
        let channel = &mut self.channels[id];
        channel.reading = false;
        let Some(before) = channel.delivered.clone() else {
            let head = page.bounds.head();
            channel.heard = 0;
            channel.delivered = Some(head.clone());
            // In this order: a channel whose position is known can be subscribed to.
            self.hub.deliver(ChannelStep::known(id, head.clone())).await?;
            self.progress.note(id, &head);
            self.asked.push(id);
            if let Some(probe) = self.held.filter(|_| self.all_known()) {
                self.pass_on(probe);
            }
            return Ok(());
        };
        let mut at = before.clone();
        if let Some(lost) = page.bounds.gap_after(&at) {
            at = lost;
            self.gap(id, &before, &at).await?;
        }
        for entry in page.entries {
            // The log is without holes; an entry that was delivered before is passed over.
            if entry.offset == at.offset + 1 {
                at.offset = entry.offset;
                self.deliver(id, at.clone(), &entry.json).await?;
            }
        }
        if page.bounds.head > at.offset && at == before {
            // Events are there that the log does not give: not to be asked for in a hurry, nor to be called lost.
            tracing::error!(channel = %self.catalog.get(id).name, head = page.bounds.head, "the log has a hole");
            self.read_after(id, RETRY);
            return Ok(());
        }
        self.ask(id, Some(page.bounds.head));
        Ok(())
    }

    /// The events after `from` up to and including `to` are gone.
    async fn gap(&mut self, id: ChannelId, from: &Position, to: &Position) -> Result<(), ShardDied> {
        let name = &self.catalog.get(id).name;
        if from.offset > 0 || to.offset > 0 {
            tracing::warn!(channel = %name, %from, %to, "events are lost: the log no longer has them");
        }
        self.metrics.gaps.inc();
        self.hub.deliver(ChannelStep::gap(id, name, from.clone(), to.clone())).await?;
        let channel = &mut self.channels[id];
        if !from.same_epoch(to) {
            channel.heard = 0;
        }
        self.progress.note(id, to);
        channel.delivered = Some(to.clone());
        Ok(())
    }

    /// An event that is next in its channel.
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
