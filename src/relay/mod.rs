//! The relay: hands every event of every channel from the log to the hub, in order and without omissions.
//!
//! The relay delivers only events that are in the log. The backend passes on each event that this node appended, and
//! the relay delivers it if it is the next of its channel. A message from another node is only a hint, because any
//! client of the broker can send one. A hint makes the relay read the log after the last delivered position. A skipped
//! offset does the same, and so does a signal that messages were lost. Every answer of the log moves the relay as well: a
//! position that an answer reports is read unless it was delivered. Hints that come during a read are combined, so that a
//! burst takes few reads. If the log no longer has an event, every subscriber gets a gap. The channels are read
//! concurrently.
//!
//! Each namespace has a relay. The relay does not know sockets or backends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::watch;

use crate::broker::{BrokerError, Log, ObservedSignals, Page, Signal};
use crate::bus::{LatestCache, Namespace, Traffic};
use crate::event::{Catalog, ChannelId, PerChannel, Position};
use crate::health::RelayReport;
use crate::hub::{ChannelStep, Hub, ShardDied};
use crate::incidents::{IncidentKind, Incidents};
use crate::metrics::{Metrics, TypeLabel};
use crate::pace::Pace;
use crate::progress::Progress;
use crate::recent::RecentEvents;

/// The most signals that are received at once.
const MAX_SIGNALS: usize = 256;
/// Events in one read of the log.
const PAGE: usize = 512;
/// Pause after a read of the log that failed.
const RETRY: Duration = Duration::from_millis(200);
/// Failed attempts after which a log counts as unreadable. The last of them read a page of one event, so that no slow link
/// is the cause. After a refusal it counts at once.
const MAX_FAILURES: u32 = 10;

/// The relay of one namespace.
pub struct Relay {
    log: Arc<dyn Log>,
    hub: Arc<Hub>,
    catalog: Arc<Catalog>,
    metrics: Arc<Metrics>,
    channels: PerChannel<ChannelState>,
    reads: FuturesUnordered<BoxFuture<'static, FinishedRead>>,
    /// Channels whose log may have to be read.
    candidates: Vec<ChannelId>,
    /// Publishes the last probe that came back, and the logs that cannot be read.
    report: Arc<watch::Sender<RelayReport>>,
    /// A probe that came back before every log was read once. It is reported after the last of these reads.
    early_probe: Option<u64>,
    progress: Arc<Progress>,
    pace: Arc<Pace>,
    recent: Arc<RecentEvents>,
    latest: Arc<LatestCache>,
    traffic: Arc<Traffic>,
    incidents: Arc<Incidents>,
}

/// A page that was read from the log.
struct FinishedRead {
    channel: ChannelId,
    /// What had been delivered when the read began.
    delivered: Option<Position>,
    page: Page,
}

#[derive(Default)]
struct ChannelState {
    /// The last position that was delivered; `None` until the log was read for the first time.
    delivered: Option<Position>,
    /// The offset of the last hint in the epoch of `delivered`. The offsets of hints rise unless the log was lost, so a
    /// hint that does not exceed this one forces a read.
    last_hint: u64,
    /// The newest offset that the relay has heard of since it began the last read. If it was not delivered, the log
    /// must be read.
    known_head: u64,
    /// The log must be read, even if `known_head` was delivered.
    must_read: bool,
    /// Whether a read of the log is in flight.
    reading: bool,
    relayed: Counter,
}

impl ChannelState {
    /// Whether the log has to be read.
    fn needs_read(&self) -> bool {
        self.must_read || self.delivered.as_ref().is_none_or(|at| self.known_head > at.offset)
    }
}

impl Relay {
    /// The relay of `namespace`. It reports in `report` what the readiness probe needs to know.
    pub fn new(
        log: Arc<dyn Log>,
        hub: Arc<Hub>,
        catalog: Arc<Catalog>,
        metrics: Arc<Metrics>,
        report: watch::Sender<RelayReport>,
        namespace: &Namespace,
    ) -> Self {
        let state = |id| {
            let label = TypeLabel { r#type: catalog.get(id).name.clone() };
            ChannelState { relayed: metrics.relayed.get_or_create(&label).clone(), ..ChannelState::default() }
        };
        let channels = PerChannel::new(&catalog, state);
        let (reads, candidates) = (FuturesUnordered::new(), Vec::new());
        let report = Arc::new(report);
        Self {
            log,
            hub,
            catalog,
            metrics,
            channels,
            reads,
            candidates,
            report,
            early_probe: None,
            progress: namespace.progress().clone(),
            pace: namespace.pace().clone(),
            recent: namespace.recent().clone(),
            latest: namespace.latest().clone(),
            traffic: namespace.traffic().clone(),
            incidents: namespace.incidents().clone(),
        }
    }

    /// Runs until the backend is closed.
    ///
    /// # Errors
    /// [`ShardDied`]: a shard's thread has ended, so the hub can deliver nothing.
    pub async fn run(mut self, mut signals: ObservedSignals) -> Result<(), ShardDied> {
        let mut received = Vec::with_capacity(MAX_SIGNALS);
        self.request_all_reads();
        self.start_reads();
        loop {
            tokio::select! {
                biased;
                Some(read) = self.reads.next() => self.handle_page(read).await?,
                count = signals.recv_many(&mut received, MAX_SIGNALS) => {
                    if count == 0 {
                        return Ok(());
                    }
                    let had_candidates = !self.candidates.is_empty();
                    self.handle(&mut received).await?;
                    if had_candidates {
                        self.start_reads();
                    }
                }
                // The hint about an event that this node appended often comes before the event itself. The relay yields
                // once before it reads the log, because the event makes the read unnecessary.
                () = tokio::task::yield_now(), if !self.candidates.is_empty() => self.start_reads(),
            }
        }
    }

    async fn handle(&mut self, received: &mut Vec<Signal>) -> Result<(), ShardDied> {
        for signal in received.drain(..) {
            match signal {
                Signal::Appended { channel, position, json } => self.handle_appended(channel, position, &json).await?,
                Signal::Hint { channel, position } => self.handle_hint(channel, position),
                Signal::Reported { channel, position } => self.handle_reported(channel, &position),
                Signal::Unknown(channel) => self.request_read(channel, None),
                Signal::Missed => self.request_all_reads(),
                // The first probe is reported only after every log was read, so that clients can subscribe to every
                // channel of a ready node. Later probes are reported at once: one unreadable log must not stop the
                // other channels.
                Signal::Probe(number) if self.early_probe.is_none() && !self.all_logs_read() => {
                    self.early_probe = Some(number);
                }
                Signal::Probe(number) => self.report_probe(number),
                Signal::Announced { channel, text } => self.pace.announced(channel, &text, Instant::now()),
            }
        }
        Ok(())
    }

    fn report_probe(&self, probe: u64) {
        self.report.send_if_modified(|RelayReport { returned_probe: last, .. }| {
            probe > std::mem::replace(last, probe.max(*last))
        });
    }

    fn all_logs_read(&self) -> bool {
        self.channels.values().all(|channel| channel.delivered.is_some())
    }

    /// Delivers an event that this node appended, if it is next in its channel.
    async fn handle_appended(&mut self, id: ChannelId, position: Position, json: &str) -> Result<(), ShardDied> {
        match &self.channels[id].delivered {
            Some(at) if position.same_epoch(at) && position.offset == at.offset + 1 => {
                self.deliver(id, position, json).await?;
            }
            _ => self.handle_reported(id, &position),
        }
        Ok(())
    }

    /// Requests a read unless the event at this position of the log was delivered.
    fn handle_reported(&mut self, id: ChannelId, position: &Position) {
        let same_epoch = self.channels[id].delivered.as_ref().is_some_and(|at| position.same_epoch(at));
        self.request_read(id, same_epoch.then_some(position.offset));
    }

    fn handle_hint(&mut self, id: ChannelId, position: Option<Position>) {
        let channel = &mut self.channels[id];
        let mut head = None;
        if let (Some(position), Some(delivered)) = (position, &channel.delivered)
            && position.same_epoch(delivered)
            && position.offset > std::mem::replace(&mut channel.last_hint, position.offset)
        {
            head = Some(position.offset);
        }
        self.request_read(id, head);
    }

    /// Requests a read of every channel's log.
    fn request_all_reads(&mut self) {
        self.catalog.channels().for_each(|id| self.request_read(id, None));
    }

    /// Requests a read of a channel's log after the last delivered position. With `head`, the log is read only if the
    /// event at that offset was not delivered.
    fn request_read(&mut self, id: ChannelId, head: Option<u64>) {
        let channel = &mut self.channels[id];
        match head {
            Some(offset) => channel.known_head = channel.known_head.max(offset),
            None => channel.must_read = true,
        }
        if channel.needs_read() {
            self.candidates.push(id);
        }
    }

    fn start_reads(&mut self) {
        while let Some(id) = self.candidates.pop() {
            let channel = &self.channels[id];
            if channel.needs_read() && !channel.reading {
                self.start_read(id, Duration::ZERO);
            }
        }
    }

    fn start_read(&mut self, id: ChannelId, pause: Duration) {
        let channel = &mut self.channels[id];
        (channel.reading, channel.must_read, channel.known_head) = (true, false, 0);
        let (log, delivered) = (self.log.clone(), channel.delivered.clone());
        let (name, report) = (self.catalog.get(id).name.clone(), self.report.clone());
        self.metrics.log_reads.inc();
        self.reads.push(Box::pin(async move {
            let (mut failures, mut limit) = (0, PAGE);
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            loop {
                let page = match &delivered {
                    Some(delivered) => log.read_after_delivered(id, delivered, limit).await,
                    None => log.read(id, None, limit).await,
                };
                match page {
                    Ok(page) => return FinishedRead { channel: id, delivered, page },
                    Err(error) => {
                        failures += 1;
                        if failures == 1 {
                            // Logged at debug level, because operators see once, for all channels, that the node is not
                            // ready.
                            tracing::debug!(channel = %name, %error, "the log cannot be read; the relay tries again");
                        }
                        if matches!(error, BrokerError::Rejected(_)) || failures == MAX_FAILURES {
                            report
                                .send_modify(|report| drop(report.unreadable.insert(name.clone(), error.to_string())));
                        }
                        // On a slow link a smaller page may arrive in time.
                        limit = (limit / 2).max(1);
                        tokio::time::sleep(RETRY).await;
                    }
                }
            }
        }));
    }

    /// Delivers the events of a page that was read from the log, after a gap if there is one.
    async fn handle_page(&mut self, read: FinishedRead) -> Result<(), ShardDied> {
        let FinishedRead { channel: id, delivered: read_after, page } = read;
        let channel = &mut self.channels[id];
        channel.reading = false;
        let Some(before) = channel.delivered.clone() else {
            self.note_readable(id);
            let channel = &mut self.channels[id];
            let head = page.bounds.head();
            channel.last_hint = 0;
            channel.delivered = Some(head.clone());
            // The hub gets the position first: once `progress` has it, clients can subscribe to the channel.
            self.hub.deliver(ChannelStep::known(id, head.clone())).await?;
            self.progress.note(id, &head);
            self.candidates.push(id);
            if let Some(probe) = self.early_probe.filter(|_| self.all_logs_read()) {
                self.report_probe(probe);
            }
            return Ok(());
        };
        if page.bounds.epoch != before.epoch && read_after.as_ref() != Some(&before) {
            // The page belongs to the position where the read began. An event that was delivered since may have survived,
            // and must not be delivered again.
            self.start_read(id, Duration::ZERO);
            return Ok(());
        }
        let mut at = before.clone();
        if let Some(lost) = page.bounds.gap_after(&at) {
            at = lost;
            self.deliver_gap(id, &before, &at).await?;
        }
        for entry in page.entries {
            // Entries are consecutive. An entry that was delivered during the read is skipped.
            if entry.offset == at.offset + 1 {
                at.offset = entry.offset;
                self.deliver(id, at.clone(), &entry.json).await?;
            }
        }
        if page.bounds.head > at.offset && at == before {
            // The log reports a newer head, but returned no event after `at`. This does not prove that events are lost,
            // so there is no gap. The relay reads again after a pause.
            let (channel, head) = (self.catalog.get(id).name.clone(), page.bounds.head);
            let cause = "it did not return its next event".to_owned();
            let is_new = |report: &mut RelayReport| report.unreadable.insert(channel.clone(), cause).is_none();
            if self.report.send_if_modified(is_new) {
                tracing::error!(%channel, head, "the log did not return its next event; the relay reads it again");
            }
            self.start_read(id, RETRY);
            return Ok(());
        }
        self.note_readable(id);
        self.request_read(id, Some(page.bounds.head));
        Ok(())
    }

    fn note_readable(&self, id: ChannelId) {
        let name = &self.catalog.get(id).name;
        self.report.send_if_modified(|report| report.unreadable.remove(name).is_some());
    }

    /// Delivers a gap: the events after `from`, up to and including `to`, are lost.
    async fn deliver_gap(&mut self, id: ChannelId, from: &Position, to: &Position) -> Result<(), ShardDied> {
        let name = &self.catalog.get(id).name;
        if from.offset > 0 || to.offset > 0 {
            tracing::warn!(channel = %name, %from, %to, "events are lost: the log no longer has them");
        }
        let (kind, detail) = match from.same_epoch(to) {
            true => {
                (IncidentKind::Gap, format!("events after {from}, up to {to}, are lost: the log no longer has them"))
            }
            false => {
                (IncidentKind::EpochChange, format!("the log began anew: events after {from}, up to {to}, are lost"))
            }
        };
        self.incidents.note(kind, Some(name), detail);
        self.metrics.gaps.inc();
        self.recent.clear(id);
        self.latest.clear(id);
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
        let step = ChannelStep::event(id, position.clone(), json);
        self.recent.add(id, &position, json, || step.history_entry());
        self.latest.delivered(id, &position, json, || step.history_entry());
        self.hub.deliver(step).await?;
        let channel = &mut self.channels[id];
        channel.relayed.inc();
        self.traffic.delivered(id);
        self.progress.note(id, &position);
        channel.delivered = Some(position);
        Ok(())
    }
}
