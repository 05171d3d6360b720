//! The newest events of the subjects that clients ask for: a node asks its broker at most once in two seconds for each,
//! however many clients poll it.
//!
//! Clients that ask at the same time share one read of the broker. An event that the relay delivers becomes the newest of its
//! subject at once, and wakes the clients that wait for it. Only subjects that somebody asked for are here, so that the relay
//! looks into no event of a channel that nobody polls. This module does not know callers: the values are the same for all.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::broker::{Backend, BrokerError, LatestOf};
use crate::event::{Catalog, ChannelId, PerChannel, Position};
use crate::metrics::Metrics;
use crate::protocol::{HISTORY_ENTRY, event_frame};

/// How long an answer of the broker is good.
const GOOD_FOR: Duration = Duration::from_secs(2);
/// The most subjects of a channel, and the bytes of their events after which others leave.
const MAX_SUBJECTS: usize = 4_096;
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// Reads of the broker at a time.
const CONCURRENT_READS: usize = 64;

/// The subjects of a namespace that clients ask for.
pub struct LatestCache {
    backend: Arc<dyn Backend>,
    metrics: Arc<Metrics>,
    reads: Arc<Semaphore>,
    channels: PerChannel<Channel>,
}

#[derive(Default)]
struct Channel {
    /// Somebody has asked for a subject. The relay reads this for each event, without the lock.
    is_polled: AtomicBool,
    subjects: Mutex<HashMap<Box<str>, Arc<Subject>>>,
    /// The bytes of the events that are held.
    bytes: Arc<AtomicUsize>,
}

/// One subject of a channel. Whoever holds it is woken by its next change.
#[derive(Default)]
pub(super) struct Subject {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    /// What the broker last answered, to a read that began then.
    answer: Option<(Instant, Answer)>,
    /// The newest event that the relay has delivered since the subject is here.
    relayed: Option<Arc<LatestEvent>>,
    /// The read in flight. It ends when its last caller leaves: nobody would poll it any more, and it would keep its permit.
    flight: Option<WeakShared<Read>>,
}

type Answer = Result<Found, BrokerError>;
type Read = BoxFuture<'static, (Instant, Answer)>;

/// What is known of a subject.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// Everything up to this position counts.
    head: Position,
    pub event: Option<Arc<LatestEvent>>,
}

/// The newest event of a subject.
#[derive(Debug)]
pub struct LatestEvent {
    pub position: Position,
    /// The event as an entry of history, without its first brace: `"position":…,"event":…}`.
    pub entry: Bytes,
    /// Where the CloudEvent begins in `entry`; it ends before the last byte.
    json: usize,
    /// The bytes of the channel, which count this event.
    held: Arc<AtomicUsize>,
}

impl LatestEvent {
    fn new(position: Position, json: &str, entry: Bytes, held: &Arc<AtomicUsize>) -> Arc<Self> {
        held.fetch_add(entry.len(), Ordering::Relaxed);
        Arc::new(Self { position, json: entry.len() - 1 - json.len(), entry, held: held.clone() })
    }

    /// The CloudEvent.
    pub fn json(&self) -> &str {
        std::str::from_utf8(&self.entry[self.json..self.entry.len() - 1]).unwrap_or_default()
    }
}

impl Drop for LatestEvent {
    fn drop(&mut self) {
        self.held.fetch_sub(self.entry.len(), Ordering::Relaxed);
    }
}

impl LatestCache {
    /// No subjects, on the catalogue's channels.
    pub fn new(backend: Arc<dyn Backend>, catalog: &Catalog, metrics: Arc<Metrics>) -> Self {
        let reads = Arc::new(Semaphore::new(CONCURRENT_READS));
        Self { backend, metrics, reads, channels: PerChannel::new(catalog, |_| Channel::default()) }
    }

    /// A subject that somebody asks for.
    pub(super) fn subject(&self, channel: ChannelId, subject: &str) -> Arc<Subject> {
        let channel = &self.channels[channel];
        channel.is_polled.store(true, Ordering::Relaxed);
        let mut subjects = channel.lock();
        if let Some(known) = subjects.get(subject) {
            return known.clone();
        }
        let is_full = |subjects: &HashMap<_, _>| {
            subjects.len() >= MAX_SUBJECTS || channel.bytes.load(Ordering::Relaxed) >= MAX_BYTES
        };
        if is_full(&subjects) {
            // Those that nobody has asked for lately; otherwise any that nobody waits for.
            subjects.retain(|_, subject| Arc::strong_count(subject) > 1 || subject.lock().fresh().is_some());
            while is_full(&subjects) {
                let idle = subjects.iter().find(|(_, subject)| Arc::strong_count(subject) == 1);
                let Some(idle) = idle.map(|(name, _)| name.clone()) else { break };
                subjects.remove(&idle);
            }
        }
        let new = Arc::<Subject>::default();
        subjects.insert(subject.into(), new.clone());
        new
    }

    /// What the broker has of a subject, at most two seconds ago. Asks it if that is not known.
    ///
    /// # Errors
    /// If the broker cannot be asked; for two seconds, everybody gets the same error.
    pub(super) async fn find(&self, channel: ChannelId, name: &str, subject: &Subject) -> Result<Found, BrokerError> {
        loop {
            let flight = {
                let mut state = subject.lock();
                if let Some(answer) = state.fresh() {
                    return answer;
                }
                state.in_flight().unwrap_or_else(|| {
                    let flight = self.ask(channel, name).shared();
                    state.flight = flight.downgrade();
                    flight
                })
            };
            let answer = flight.clone().await;
            subject.lock().landed(&flight, answer);
        }
    }

    /// A read of the broker.
    fn ask(&self, channel: ChannelId, name: &str) -> Read {
        let (backend, reads, metrics) = (self.backend.clone(), self.reads.clone(), self.metrics.clone());
        let (name, held) = (name.to_owned(), self.channels[channel].bytes.clone());
        Box::pin(async move {
            // The semaphore is never closed.
            let _permit = reads.acquire().await;
            metrics.latest_reads.inc();
            let begun = Instant::now();
            let answer = backend.latest().latest(channel, &name).await;
            match answer.and_then(|found| Found::read(found, &held)) {
                Ok(found) => (begun, Ok(found)),
                Err(error) => (Instant::now(), Err(error)),
            }
        })
    }

    /// Takes an event that the relay delivers, if somebody asks for its subject. `entry` makes its
    /// [`LatestEvent::entry`].
    pub fn delivered(&self, id: ChannelId, position: &Position, json: &str, entry: impl FnOnce() -> Bytes) {
        let channel = &self.channels[id];
        if !channel.is_polled.load(Ordering::Relaxed) {
            return;
        }
        // Another program may have written it into the log.
        let Some(name) = subject_of(json) else { return };
        let known = {
            let subjects = channel.lock();
            if subjects.is_empty() {
                channel.is_polled.store(false, Ordering::Relaxed);
            }
            subjects.get(&*name).cloned()
        };
        let Some(subject) = known else { return };
        subject.lock().relayed = Some(LatestEvent::new(position.clone(), json, entry(), &channel.bytes));
        subject.changed.send_replace(());
    }

    /// Forgets what is known of a channel that has lost events, or whose log is another.
    pub fn clear(&self, channel: ChannelId) {
        let mut subjects = self.channels[channel].lock();
        for subject in subjects.values() {
            *subject.lock() = State::default();
            subject.changed.send_replace(());
        }
        subjects.retain(|_, subject| Arc::strong_count(subject) > 1);
    }
}

impl Channel {
    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Arc<Subject>>> {
        self.subjects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subject {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was found last, however long ago, with what the relay has delivered since. `None` if nothing was.
    pub fn last(&self) -> Option<Found> {
        self.lock().last()?.ok()
    }

    /// Tells of each change from now on.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

impl State {
    fn last(&self) -> Option<Answer> {
        let (_, answer) = self.answer.as_ref()?;
        let Ok(found) = answer else { return Some(answer.clone()) };
        Some(Ok(match &self.relayed {
            // The answer may be older than the event. An event of another epoch says nothing about this one.
            Some(event) if event.position.same_epoch(&found.head) && event.position.offset > found.head.offset => {
                Found { head: event.position.clone(), event: Some(event.clone()) }
            }
            _ => found.clone(),
        }))
    }

    fn fresh(&self) -> Option<Answer> {
        let (asked, _) = self.answer.as_ref()?;
        if asked.elapsed() < GOOD_FOR { self.last() } else { None }
    }

    fn in_flight(&self) -> Option<Shared<Read>> {
        self.flight.as_ref()?.upgrade()
    }

    /// A read has ended. If the state was cleared meanwhile, it belongs to what is gone.
    fn landed(&mut self, flight: &Shared<Read>, answer: (Instant, Answer)) {
        if self.in_flight().is_some_and(|current| current.ptr_eq(flight)) {
            self.flight = None;
            self.answer = Some(answer);
        }
    }
}

impl Found {
    fn read(LatestOf { head, entry }: LatestOf, held: &Arc<AtomicUsize>) -> Answer {
        let Some(entry) = entry else { return Ok(Self { head, event: None }) };
        if serde_json::from_str::<&RawValue>(&entry.json).is_err() {
            return Err(BrokerError::Rejected(
                "the newest event of a subject is no JSON: another program wrote it".into(),
            ));
        }
        let position = Position { offset: entry.offset, ..head.clone() };
        let text = Bytes::from(event_frame(&position, &entry.json)).slice(HISTORY_ENTRY..);
        Ok(Self { head, event: Some(LatestEvent::new(position, &entry.json, text, held)) })
    }
}

/// The subject of an event, if it has one.
fn subject_of(json: &str) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Event<'a> {
        #[serde(borrow)]
        subject: Option<Cow<'a, str>>,
    }
    serde_json::from_str::<Event<'_>>(json).ok()?.subject
}

#[cfg(test)]
mod tests;
