//! Observes every answer of a backend's log, and tells the relay of each position that an answer names.
//!
//! A signal of the backend can be lost: Redis may append an event and refuse to publish it, and a buffer may be full. So
//! the relay does not depend on signals alone. [`observe`] wraps a backend, and every answer passes through the wrapper: an
//! append's, a duplicate's, a read's, a look at all heads. A position that the relay has not delivered makes it read the
//! log. A failed append does the same, because its events may be in the log.
//!
//! The reports are kept by channel and are not queued, so that none is lost however slow the relay is.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::{Notify, mpsc};

use super::nodes::Nodes;
use super::{
    Appended, Backend, Bounds, BrokerError, FoundHeads, Head, Latest, LatestOf, LatestPage, LatestTally, Located, Log,
    Notifier, Page, Signal, Signals, Store,
};
use crate::event::{Catalog, ChannelId, Event, Moment, PerChannel, Position};

/// Wraps a backend, and adds what its answers report to its signals.
pub fn observe(backend: Arc<dyn Backend>, signals: Signals, catalog: &Catalog) -> (Arc<dyn Backend>, ObservedSignals) {
    let channels = PerChannel::new(catalog, |_| ChannelReport::default());
    let reports =
        Arc::new(Reports { state: Mutex::new(State { channels, changed: Vec::new() }), changed: Notify::new() });
    let signals = ObservedSignals { signals, reports: reports.clone(), ahead: None };
    (Arc::new(Observed { backend, reports }), signals)
}

/// The signals of a backend, and the reports of its answers as [`Signal::Reported`] and [`Signal::Unknown`].
pub struct ObservedSignals {
    signals: mpsc::Receiver<Signal>,
    reports: Arc<Reports>,
    /// How many signals are received before the reports that are there: those that were sent earlier. An answer to an
    /// append comes after the event's own signal, which makes a read of the log unnecessary.
    ahead: Option<usize>,
}

/// What the answers say of each log.
struct Reports {
    /// Held for a comparison or a copy.
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    channels: PerChannel<ChannelReport>,
    /// The channels with a report that the relay has not received.
    changed: Vec<ChannelId>,
}

#[derive(Default)]
struct ChannelReport {
    /// The newest position that an answer named.
    newest: Option<Position>,
    /// The log may have events that no answer named, or may have lost some.
    unknown: bool,
    /// The channel is in [`State::changed`].
    changed: bool,
}

impl ObservedSignals {
    /// Receives up to `limit` signals, or all reports. Returns how many were received, 0 after the backend was closed.
    ///
    /// Nothing is lost if the future is dropped before it is ready.
    pub async fn recv_many(&mut self, received: &mut Vec<Signal>, limit: usize) -> usize {
        loop {
            if self.ahead.is_none() && self.reports.are_pending() {
                self.ahead = Some(self.signals.len());
            }
            if self.ahead == Some(0) {
                self.ahead = None;
                let before = received.len();
                self.reports.take(received);
                return received.len() - before;
            }
            let limit = self.ahead.map_or(limit, |ahead| ahead.min(limit));
            tokio::select! {
                biased;
                count = self.signals.recv_many(received, limit) => {
                    self.ahead = self.ahead.map(|ahead| ahead.saturating_sub(count));
                    return count;
                }
                () = self.reports.changed.notified(), if self.ahead.is_none() => {}
            }
        }
    }
}

impl Reports {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn are_pending(&self) -> bool {
        !self.lock().changed.is_empty()
    }

    /// Changes reports, and wakes the relay if there is something new.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        let pending = !state.changed.is_empty();
        drop(state);
        if pending {
            self.changed.notify_one();
        }
    }

    /// An answer named this position of a channel's log.
    fn report(&self, channel: ChannelId, position: &Position) {
        self.change(|state| state.report(channel, position));
    }

    /// The log of these channels may have changed, and no answer says how.
    fn unknown(&self, channels: impl Iterator<Item = ChannelId>) {
        self.change(|state| channels.for_each(|channel| state.unknown(channel)));
    }

    /// The newest position of each channel that an answer named.
    fn newest(&self) -> Vec<Option<Position>> {
        self.lock().channels.iter().map(|(_, report)| report.newest.clone()).collect()
    }

    /// A look that began when `before` were the [`newest`](Self::newest) positions found these heads.
    fn look(&self, before: &[Option<Position>], heads: &[(ChannelId, Head)]) {
        self.change(|state| {
            for (channel, head) in heads {
                match head {
                    // The log lost what it had before this look.
                    Head::At(head) if before[channel.index()].as_ref().is_some_and(|at| is_behind(head, at)) => {
                        state.unknown(*channel);
                    }
                    Head::At(head) => state.report(*channel, head),
                    Head::Unknown => state.unknown(*channel),
                }
            }
        });
    }

    /// Takes the reports as signals.
    fn take(&self, signals: &mut Vec<Signal>) {
        let State { channels, changed } = &mut *self.lock();
        for channel in changed.drain(..) {
            let report = &mut channels[channel];
            report.changed = false;
            match (std::mem::take(&mut report.unknown), report.newest.clone()) {
                (false, Some(position)) => signals.push(Signal::Reported { channel, position }),
                _ => signals.push(Signal::Unknown(channel)),
            }
        }
    }
}

impl State {
    fn report(&mut self, channel: ChannelId, position: &Position) {
        let newest = &mut self.channels[channel].newest;
        let known = newest.as_ref().is_some_and(|at| at.same_epoch(position) && at.offset >= position.offset);
        if !known {
            *newest = Some(position.clone());
            self.mark(channel);
        }
    }

    fn unknown(&mut self, channel: ChannelId) {
        self.channels[channel].unknown = true;
        self.mark(channel);
    }

    fn mark(&mut self, channel: ChannelId) {
        if !std::mem::replace(&mut self.channels[channel].changed, true) {
            self.changed.push(channel);
        }
    }
}

/// A backend whose answers are observed.
struct Observed {
    backend: Arc<dyn Backend>,
    reports: Arc<Reports>,
}

/// An append without an answer. If it is dropped, because the append failed or its caller gave up, the events may be in
/// the log.
struct Unanswered<'a> {
    reports: &'a Reports,
    events: &'a [Event],
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        self.reports.unknown(self.events.iter().map(|event| event.channel));
    }
}

#[async_trait]
impl Log for Observed {
    async fn append(&self, events: &[Event]) -> Result<Vec<Appended>, BrokerError> {
        let mut unanswered = Unanswered { reports: &self.reports, events };
        let appended = self.backend.append(events).await;
        match &appended {
            Ok(appended) => self.reports.change(|state| {
                for (event, Appended { position, .. }) in events.iter().zip(appended) {
                    state.report(event.channel, position);
                }
            }),
            // The call had no effect.
            Err(BrokerError::RateLimited { .. } | BrokerError::TooLarge(_)) => {}
            Err(_) => return appended,
        }
        unanswered.events = &[];
        appended
    }

    async fn read(&self, channel: ChannelId, known: Option<&Position>, limit: usize) -> Result<Page, BrokerError> {
        let page = self.backend.read(channel, known, limit).await?;
        self.reports.report(channel, &page.bounds.head());
        Ok(page)
    }

    async fn read_after_delivered(
        &self,
        channel: ChannelId,
        delivered: &Position,
        limit: usize,
    ) -> Result<Page, BrokerError> {
        let page = self.backend.read_after_delivered(channel, delivered, limit).await?;
        self.reports.report(channel, &page.bounds.head());
        Ok(page)
    }

    async fn bounds(&self, channel: ChannelId, known: Option<&Position>) -> Result<Bounds, BrokerError> {
        let bounds = self.backend.bounds(channel, known).await?;
        self.reports.report(channel, &bounds.head());
        Ok(bounds)
    }

    async fn position_at(&self, channel: ChannelId, moment: Moment) -> Result<Located, BrokerError> {
        let located = self.backend.position_at(channel, moment).await?;
        self.reports.report(channel, &located.bounds.head());
        Ok(located)
    }

    async fn heads(&self) -> Vec<(ChannelId, Head)> {
        let before = self.reports.newest();
        let heads = self.backend.heads().await;
        self.reports.look(&before, &heads);
        heads
    }
}

#[async_trait]
impl Latest for Observed {
    fn keeps_latest(&self, channel: ChannelId) -> bool {
        self.backend.latest().keeps_latest(channel)
    }

    async fn latest(&self, channel: ChannelId, subject: &str) -> Result<LatestOf, BrokerError> {
        let found = self.backend.latest().latest(channel, subject).await?;
        self.reports.report(channel, &found.head);
        Ok(found)
    }

    async fn latest_page(&self, channel: ChannelId, after: u64, limit: usize) -> Result<LatestPage, BrokerError> {
        let page = self.backend.latest().latest_page(channel, after, limit).await?;
        self.reports.report(channel, &page.head);
        Ok(page)
    }

    fn latest_tally(&self, channel: ChannelId) -> &LatestTally {
        self.backend.latest().latest_tally(channel)
    }
}

fn is_behind(head: &Position, at: &Position) -> bool {
    head.same_epoch(at) && head.offset < at.offset
}

#[async_trait]
impl Notifier for Observed {
    async fn probe(&self, number: u64) -> Result<(), BrokerError> {
        self.backend.probe(number).await
    }

    fn returned_from_any_server(&self, probe: u64) -> bool {
        self.backend.returned_from_any_server(probe)
    }

    async fn announce(&self, channel: ChannelId, text: &str) -> Result<(), BrokerError> {
        self.backend.announce(channel, text).await
    }
}

#[async_trait]
impl Backend for Observed {
    async fn pulse(&self, number: u64, found: &FoundHeads<'_>) -> Result<(), BrokerError> {
        let before = self.reports.newest();
        let report = |heads: &[(ChannelId, Head)]| {
            self.reports.look(&before, heads);
            found(heads);
        };
        self.backend.pulse(number, &report).await
    }

    async fn pulse_due(&self) {
        self.backend.pulse_due().await;
    }

    fn nodes(&self) -> &dyn Nodes {
        self.backend.nodes()
    }

    fn latest(&self) -> &dyn Latest {
        self
    }

    fn store(&self) -> &dyn Store {
        self.backend.store()
    }

    async fn close(&self) {
        self.backend.close().await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::broker::{Limits, memory};

    const CHANNEL: ChannelId = ChannelId::for_test(0);
    const OTHER: ChannelId = ChannelId::for_test(1);

    fn at(text: &str) -> Position {
        text.parse().unwrap()
    }

    fn observed() -> (Arc<Reports>, mpsc::Sender<Signal>, ObservedSignals) {
        let catalog = Catalog::builtin();
        let limits = Limits::for_test();
        let (sender, receiver) = mpsc::channel(16);
        let (_, signals) = observe(memory::open(&catalog, limits).0, receiver, &catalog);
        (signals.reports.clone(), sender, signals)
    }

    async fn received(signals: &mut ObservedSignals) -> Vec<Signal> {
        let mut received = Vec::new();
        tokio::time::timeout(Duration::from_secs(10), signals.recv_many(&mut received, 2)).await.unwrap();
        received
    }

    #[tokio::test]
    async fn a_report_comes_after_the_signals_that_were_sent_before_it() {
        let (reports, sender, mut signals) = observed();
        for number in 1..=3 {
            sender.send(Signal::Probe(number)).await.unwrap();
        }
        reports.report(CHANNEL, &at("a:1"));
        assert_eq!(received(&mut signals).await, [Signal::Probe(1), Signal::Probe(2)]);
        sender.send(Signal::Probe(4)).await.unwrap();
        reports.report(CHANNEL, &at("a:2"));
        assert_eq!(received(&mut signals).await, [Signal::Probe(3)]);
        let reported = Signal::Reported { channel: CHANNEL, position: at("a:2") };
        assert_eq!(received(&mut signals).await, [reported], "signals without end do not hold it up");
        assert_eq!(received(&mut signals).await, [Signal::Probe(4)]);
        drop(sender);
        assert_eq!(received(&mut signals).await, [], "the backend was closed");
    }

    #[tokio::test]
    async fn a_position_is_reported_once_and_an_unknown_log_each_time() {
        let (reports, _sender, mut signals) = observed();
        reports.report(CHANNEL, &at("a:7"));
        received(&mut signals).await;
        reports.report(CHANNEL, &at("a:7"));
        reports.report(CHANNEL, &at("a:3"));
        reports.report(OTHER, &at("a:1"));
        let reported = |channel, text| Signal::Reported { channel, position: at(text) };
        assert_eq!(received(&mut signals).await, [reported(OTHER, "a:1")]);
        reports.report(CHANNEL, &at("b:2"));
        assert_eq!(received(&mut signals).await, [reported(CHANNEL, "b:2")]);
        for _ in 0..2 {
            reports.unknown([CHANNEL, OTHER].into_iter());
            assert_eq!(received(&mut signals).await, [Signal::Unknown(CHANNEL), Signal::Unknown(OTHER)]);
        }
    }
}
