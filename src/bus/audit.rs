//! The audit: what was published, refused and revoked, handed to the task that writes it (`flows/audit/`).
//!
//! Every append passes [`Unrecorded`], which records its events: when the broker has answered, and also when it has not, or
//! when the publisher has gone meanwhile. So no event is in the log without a record. Nothing here waits for the file, but
//! for an answer under `on_failure = "refuse"`.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Bus;
use crate::access::{CallDetails, CallOrigin, Caller};
use crate::broker::Appended;
use crate::event::{Event, Position};
use crate::metrics::Metrics;
use crate::protocol::{ErrorCode, Problem};

/// Records that wait to be written.
const MAX_RECORDS: usize = 8_192;
/// Their memory, in bytes.
const MAX_BYTES: u32 = 32 << 20;
/// What a record takes beside the text of its events, in bytes.
const RECORD_BYTES: usize = 256;
/// How long a publisher waits for room in the queue, and then for its lines, under `on_failure = "refuse"`.
const PATIENCE: Duration = Duration::from_secs(2);

/// Takes records, and hands them to the task that writes them.
#[derive(Debug)]
pub struct Audit {
    queue: mpsc::Sender<Queued>,
    room: Arc<Semaphore>,
    state: Arc<AuditState>,
    /// Publishers are refused while the file cannot be written.
    refuses: bool,
    closed: CancellationToken,
}

/// What the application layer and the writer know of each other.
#[derive(Debug)]
pub struct AuditState {
    /// The file cannot be written now.
    pub failing: AtomicBool,
    /// Lines that were lost and that no line tells of yet.
    pub untold: AtomicU64,
    metrics: Arc<Metrics>,
}

impl AuditState {
    /// Counts lines that are lost, for the next line to tell.
    pub fn lose(&self, lines: usize) {
        self.untold.fetch_add(lines as u64, Ordering::Relaxed);
        self.metrics.audit.lost.inc_by(lines as u64);
    }
}

/// The writer's end.
#[derive(Debug)]
pub struct AuditQueue {
    pub records: mpsc::Receiver<Queued>,
    pub state: Arc<AuditState>,
    /// Cancelled when no more records come.
    pub closed: CancellationToken,
}

/// A record that waits to be written.
#[derive(Debug)]
pub struct Queued {
    pub record: Record,
    /// Told when its lines are in the file.
    pub written: Option<oneshot::Sender<()>>,
    /// Its part of the queue's memory.
    _room: OwnedSemaphorePermit,
}

/// What happened at one time by one caller.
#[derive(Debug)]
pub struct Record {
    pub time: Timestamp,
    pub caller: Option<Caller>,
    pub origin: CallOrigin,
    pub what: What,
}

/// What happened.
#[derive(Debug)]
pub enum What {
    /// Events were given to the broker.
    Published(Vec<PublishedEvent>),
    /// A caller or a credential was refused: what it wanted, the name of what it wanted it for, and the code of the answer.
    /// `reason` is the check that a credential failed.
    Refused { action: &'static str, name: Option<String>, code: ErrorCode, reason: Option<&'static str> },
    /// A credential was revoked: its `jti`, `sub` or `key`, and the name.
    Revoked { kind: &'static str, name: String },
    /// The access configuration was read again.
    Reloaded { result: &'static str },
}

/// One event, and what the broker answered. `None`: it did not answer, so the event may be in the log.
#[derive(Debug)]
pub struct PublishedEvent {
    pub json: Arc<str>,
    pub appended: Option<(Position, bool)>,
}

/// Events that are about to be appended. Dropped without an outcome, it records that this is not known.
pub(super) struct Unrecorded<'a> {
    audit: Option<&'a Audit>,
    caller: &'a Caller,
    events: Vec<Event>,
    slot: Option<Slot>,
}

/// A place in the queue.
struct Slot {
    place: mpsc::OwnedPermit<Queued>,
    room: OwnedSemaphorePermit,
}

impl Audit {
    /// An audit and the end from which a task writes it.
    pub fn new(refuses: bool, metrics: Arc<Metrics>) -> (Self, AuditQueue) {
        let (queue, records) = mpsc::channel(MAX_RECORDS);
        let state = AuditState { failing: AtomicBool::new(false), untold: AtomicU64::new(0), metrics };
        let (state, closed) = (Arc::new(state), CancellationToken::new());
        let room = Arc::new(Semaphore::new(MAX_BYTES as usize));
        let writer = AuditQueue { records, state: state.clone(), closed: closed.clone() };
        (Self { queue, room, state, refuses, closed }, writer)
    }

    /// Whether publishers are refused now. The writer tries again by itself.
    pub(super) fn refuses_now(&self) -> bool {
        self.refuses && self.state.failing.load(Ordering::Relaxed)
    }

    /// Ends the queue: the writer writes what is in it, and ends.
    pub fn close(&self) {
        self.closed.cancel();
    }

    /// Records that the access configuration was read again.
    pub fn reloaded(&self, result: &'static str) {
        self.record(None, None, What::Reloaded { result });
    }

    fn record(&self, caller: Option<&Caller>, origin: CallOrigin, what: What) {
        match self.slot(RECORD_BYTES) {
            Some(slot) => slot.send(caller.cloned(), origin, what, None),
            None => self.state.lose(1),
        }
    }

    /// A place in the queue, if it is not full.
    fn slot(&self, bytes: usize) -> Option<Slot> {
        let room = self.room.clone().try_acquire_many_owned(room_of(bytes)).ok()?;
        let place = self.queue.clone().try_reserve_owned().ok()?;
        Some(Slot { place, room })
    }

    async fn wait_for_slot(&self, bytes: usize) -> Option<Slot> {
        let room = self.room.clone().acquire_many_owned(room_of(bytes)).await.ok()?;
        let place = self.queue.clone().reserve_owned().await.ok()?;
        Some(Slot { place, room })
    }
}

/// A record that is larger than the whole queue takes all of it.
fn room_of(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(MAX_BYTES).min(MAX_BYTES)
}

impl Slot {
    fn send(self, caller: Option<Caller>, origin: CallOrigin, what: What, written: Option<oneshot::Sender<()>>) {
        let record = Record { time: Timestamp::now(), caller, origin, what };
        self.place.send(Queued { record, written, _room: self.room });
    }
}

impl<'a> Unrecorded<'a> {
    /// Takes events before they are appended.
    ///
    /// # Errors
    /// `broker-unavailable`: the audit refuses publishers now.
    pub async fn new(audit: Option<&'a Audit>, caller: &'a Caller, events: Vec<Event>) -> Result<Self, Problem> {
        let slot = match audit {
            Some(audit) if audit.refuses => {
                let slot = timeout(PATIENCE, audit.wait_for_slot(bytes_of(&events)));
                let slot = if audit.refuses_now() { None } else { slot.await.ok().flatten() };
                let Some(slot) = slot.filter(|_| !audit.refuses_now()) else {
                    // The code says that it is not known: clients add what happened to their earlier attempts.
                    let detail = "the audit file of this node cannot be written, so it takes no events now: try again; \
                                  sending the same ids again is safe";
                    return Err(Problem::new(ErrorCode::BrokerUnavailable, detail));
                };
                Some(slot)
            }
            _ => None,
        };
        Ok(Self { audit, caller, events, slot })
    }

    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The events were certainly not appended.
    pub fn discard(mut self) {
        self.events.clear();
    }

    /// Records what the broker answered, and gives the events back. Under `on_failure = "refuse"` it returns when the lines
    /// are in the file.
    ///
    /// # Errors
    /// `broker-unavailable`: the events are published, and their lines cannot be written now. They are written later.
    pub async fn appended(mut self, appended: &[Appended]) -> Result<Vec<Event>, Problem> {
        let events = std::mem::take(&mut self.events);
        let Some(audit) = self.audit else { return Ok(events) };
        let outcomes = events.iter().zip(appended).map(|(event, Appended { position, duplicate })| PublishedEvent {
            json: event.json.clone(),
            appended: Some((position.clone(), *duplicate)),
        });
        let (sender, written) = oneshot::channel();
        self.send(outcomes.collect(), bytes_of(&events), audit.refuses.then_some(sender));
        if audit.refuses && !matches!(timeout(PATIENCE, written).await, Ok(Ok(()))) {
            let detail = "the events are published, but the audit file of this node cannot be written: send the same ids \
                          again until they are answered";
            return Err(Problem::new(ErrorCode::BrokerUnavailable, detail));
        }
        Ok(events)
    }

    fn send(&mut self, events: Vec<PublishedEvent>, bytes: usize, written: Option<oneshot::Sender<()>>) {
        let Some(audit) = self.audit.filter(|_| !events.is_empty()) else { return };
        match self.slot.take().or_else(|| audit.slot(bytes)) {
            Some(slot) => {
                slot.send(Some(self.caller.clone()), self.caller.origin().clone(), What::Published(events), written);
            }
            None => audit.state.lose(events.len()),
        }
    }
}

fn bytes_of(events: &[Event]) -> usize {
    events.iter().map(|event| event.json.len() + RECORD_BYTES).sum()
}

impl Drop for Unrecorded<'_> {
    fn drop(&mut self) {
        let events = std::mem::take(&mut self.events);
        let bytes = bytes_of(&events);
        self.send(
            events.into_iter().map(|event| PublishedEvent { json: event.json, appended: None }).collect(),
            bytes,
            None,
        );
    }
}

impl Bus {
    /// Adds the audit.
    #[must_use]
    pub fn with_audit(mut self, audit: Option<Arc<Audit>>) -> Self {
        self.audit = audit;
        self
    }

    /// Where a call comes from, if there is an audit that records it.
    pub fn origin<'i>(&self, address: IpAddr, request_id: impl FnOnce() -> &'i [u8]) -> CallOrigin {
        self.audit.as_ref().map(|_| {
            let id = String::from_utf8_lossy(request_id()).into_owned().into();
            Arc::new(CallDetails::Request { address, id })
        })
    }

    /// Records a refusal. A call without an origin is only tried.
    pub(super) fn record_refusal(&self, caller: Option<&Caller>, origin: &CallOrigin, what: What) {
        if let (Some(audit), Some(origin)) = (&self.audit, origin) {
            audit.record(caller, Some(origin.clone()), what);
        }
    }

    /// Records what an operator did.
    pub(super) fn record(&self, caller: &Caller, what: What) {
        if let Some(audit) = &self.audit {
            audit.record(Some(caller), caller.origin().clone(), what);
        }
    }
}
