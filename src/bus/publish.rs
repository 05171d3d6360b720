//! Publishing: authorize, validate, find what the events cause, append all together, and hold the answer back for a publisher
//! that outruns the fan-out.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde::Serialize;

use super::audit::Unrecorded;
use super::authorize::PUBLISH;
use super::{Bus, Namespace, rate_limited};
use crate::access::{Caller, Rule};
use crate::broker::{Appended, BrokerError};
use crate::event::{BRIDGE_CHANNEL, ChannelId, Defaults, Event, Json, MAX_MISTAKES, Mistake, Position};
use crate::metrics::TypeLabel;
use crate::protocol::{ErrorCode, Problem};
use crate::suggest;

/// How long the broker may take to answer. After that it is not known whether it took the events.
const APPEND_TIMEOUT: Duration = Duration::from_millis(2_500);
/// How long an answer waits until this node has handed the answered events to its own connections.
const CATCH_UP: Duration = Duration::from_millis(20);
/// Documents that are validated before other tasks get the thread: a megabyte at the default limits.
const DOCUMENTS_PER_TURN: usize = 16;

/// What a publisher sent.
#[derive(Debug, PartialEq)]
pub enum Documents<'a> {
    /// One event: JSON pointers of mistakes begin at its root.
    One(Json<'a>),
    /// Several: pointers begin with the index.
    Many(Vec<Json<'a>>),
}

impl Documents<'_> {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Many(documents) => documents.len(),
        }
    }
}

/// Events that are valid, and not yet published.
#[derive(Debug, Clone)]
pub struct ValidEvents {
    events: Vec<Event>,
    /// What they cause, in their order. The grant to publish the cause is enough for it.
    cascaded: Vec<Event>,
    /// How many templates of cascades were left out.
    omitted: u64,
}

impl ValidEvents {
    /// Adds others behind these.
    pub fn append(&mut self, others: Self) {
        self.events.extend(others.events);
        self.cascaded.extend(others.cascaded);
        self.omitted += others.omitted;
    }
}

/// What was published.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct Published {
    /// One for each event, in their order.
    pub accepted: Vec<Accepted>,
    /// Events that the accepted ones caused, in the order of their causes.
    pub cascaded: Vec<Accepted>,
}

/// An event that the broker has taken.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct Accepted {
    #[schemars(example = &"01a22090-487d-73fd-adec-6b9ccd8fbc01")]
    pub id: String,
    #[schemars(example = &"order-status")]
    pub r#type: Arc<str>,
    pub position: Position,
    /// It had been published before, and `position` is where.
    pub duplicate: bool,
}

/// A caller who may publish.
pub struct Publisher<'a> {
    pub(super) bus: &'a Bus,
    pub(super) caller: &'a Caller,
}

/// What one request appended to one channel.
struct Added {
    channel: ChannelId,
    /// The newest position.
    position: Position,
    /// The number of events that are no duplicates.
    fresh: u64,
    duplicates: u64,
}

impl Bus {
    /// Checks whether the caller may publish now, before its events are read.
    ///
    /// # Errors
    /// `forbidden`, `unauthenticated`, `draining`.
    pub fn publisher<'a>(&'a self, caller: &'a Caller) -> Result<Publisher<'a>, Problem> {
        if caller.principal().is_some_and(|principal| !principal.grants.publishes()) {
            return Err(self.denied(caller, PUBLISH, None));
        }
        if self.lifecycle.draining.is_cancelled() {
            return Err(Problem::new(ErrorCode::Draining, "this node is about to stop: publish to another"));
        }
        Ok(Publisher { bus: self, caller })
    }

    /// A part of this node that publishes. Also while the node drains, what it has begun.
    pub fn flow_publisher<'a>(&'a self, caller: &'a Caller) -> Publisher<'a> {
        Publisher { bus: self, caller }
    }
}

impl Publisher<'_> {
    /// Appends events in their order, and what they cause behind them in the same batch. Answers for each, when the broker has
    /// taken them.
    ///
    /// A cause that is a duplicate is appended with its cascade all the same: the id of the cascade derives from the cause's, so
    /// the log answers with the first one. If an earlier attempt ended between the two, this one completes it.
    ///
    /// # Errors
    /// After `broker-unavailable` a part may have been published: publishing the same ids again is safe.
    pub async fn publish(&self, valid: ValidEvents) -> Result<Published, Problem> {
        let (bus, namespace) = (self.bus, self.bus.namespace(self.caller));
        let ValidEvents { mut events, cascaded, omitted } = valid;
        let causes = events.len();
        events.extend(cascaded);
        let (events, appended) = bus.append(namespace, self.caller, events).await?;
        bus.count(namespace, &added(&events[..causes], &appended[..causes]), causes);
        if omitted > 0 || events.len() > causes {
            let fresh = appended[causes..].iter().filter(|appended| !appended.duplicate).count();
            bus.metrics.cascaded.inc_by(fresh as u64);
            bus.metrics.cascade_omissions.inc_by(omitted);
        }
        let added = added(&events, &appended);
        for Added { channel, fresh, duplicates, .. } in &added {
            let traffic = namespace.traffic().of(*channel);
            traffic.published.fetch_add(*fresh, Ordering::Relaxed);
            traffic.duplicates.fetch_add(*duplicates, Ordering::Relaxed);
        }
        let accepted = events.into_iter().zip(appended).map(|(event, Appended { position, duplicate })| Accepted {
            id: event.id,
            r#type: bus.catalog.get(event.channel).name.clone(),
            position,
            duplicate,
        });
        // The events' text is freed before the answer waits.
        let mut accepted: Vec<_> = accepted.collect();
        let cascaded = accepted.split_off(causes);
        keep_pace(namespace, &added).await;
        Ok(Published { accepted, cascaded })
    }

    /// Validates all documents before any is published. Yields in between, since 8 MiB take a while.
    ///
    /// # Errors
    /// `forbidden` if one event is outside of the caller's grants: before anything else about it is looked at. `invalid-event`
    /// and `unknown-type` list every mistake.
    pub async fn validate(&self, documents: Documents<'_>) -> Result<ValidEvents, Problem> {
        let time = Defaults::now();
        let source = self.caller.source();
        let defaults = Defaults { source: &source, time: &time };
        let (documents, many) = match documents {
            Documents::One(document) => (vec![document], false),
            Documents::Many(documents) => (documents, true),
        };
        documents.iter().try_for_each(|document| self.authorize(document))?;
        let mut valid = ValidEvents { events: Vec::with_capacity(documents.len()), cascaded: Vec::new(), omitted: 0 };
        let mut code = None;
        let mut mistakes: Vec<Mistake> = Vec::new();
        for (index, mut document) in documents.into_iter().enumerate() {
            if let Json::Object(attributes) = &mut document
                && self.caller.part().is_none()
            {
                attributes.retain(|(name, _)| name != BRIDGE_CHANNEL);
            }
            if index % DOCUMENTS_PER_TURN == DOCUMENTS_PER_TURN - 1 {
                tokio::task::yield_now().await;
            }
            let at = if many { format!("/{index}") } else { String::new() };
            match self.bus.catalog.validate(document, &at, MAX_MISTAKES - mistakes.len(), defaults) {
                Ok(event) => {
                    if let Some(effect) = self.bus.cascades.effect(&event, &self.bus.catalog, &time) {
                        valid.omitted += effect.left_out.len() as u64;
                        valid.cascaded.extend(effect.event);
                    }
                    valid.events.push(event);
                }
                Err(refusal) => {
                    let unknown = refusal.unknown_type.map(|name| {
                        let known = self.bus.known_types(self.caller, "event types", "GET /v1/channels");
                        let message = format!("there is no event type {} here", suggest::quoted(&name));
                        Mistake::new(format!("{at}/type"), known.refuse(&message, &name))
                    });
                    let is_unknown = unknown.is_some();
                    self.count_refused(refusal.channel);
                    code.get_or_insert(if is_unknown { ErrorCode::UnknownType } else { ErrorCode::InvalidEvent });
                    mistakes.extend(unknown.into_iter().chain(refusal.mistakes));
                    if mistakes.len() >= MAX_MISTAKES {
                        break;
                    }
                }
            }
        }
        let Some(code) = code else { return Ok(valid) };
        let detail = Mistake::summary(&mistakes);
        Err(Problem::new(code, detail).with_errors(mistakes))
    }

    /// Whether the caller may publish this event. A document whose type is no string is left to the validation.
    fn authorize(&self, document: &Json<'_>) -> Result<(), Problem> {
        let Some(principal) = self.caller.principal() else { return Ok(()) };
        let Some(name) = document.get("type").and_then(Json::as_str) else { return Ok(()) };
        let channel = self.bus.catalog.channel(name);
        let rule = channel.and_then(|channel| principal.grants.publish(channel));
        let within_pin = match rule {
            None => false,
            Some(Rule::All) => true,
            Some(rule) => document.get("data").is_some_and(|data| rule.allows(data)),
        };
        let own = self.caller.source();
        let source = document.get("source").and_then(Json::as_str).unwrap_or(&own);
        match within_pin && !self.bus.is_other_publisher(principal, source) {
            true => Ok(()),
            false => {
                self.count_refused(channel);
                Err(self.bus.denied(self.caller, PUBLISH, Some(name)))
            }
        }
    }

    /// Counts a refused event. An unknown type has no channel that could count it.
    fn count_refused(&self, channel: Option<ChannelId>) {
        if let Some(channel) = channel {
            self.bus.namespace(self.caller).traffic().of(channel).refused.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Bus {
    /// Appends events, records it for the audit, and gives the events back. There is no other way into a log.
    async fn append(
        &self,
        namespace: &Namespace,
        caller: &Caller,
        events: Vec<Event>,
    ) -> Result<(Vec<Event>, Vec<Appended>), Problem> {
        if events.is_empty() {
            return Ok((events, Vec::new()));
        }
        let unrecorded = Unrecorded::new(self.audit.as_deref(), caller, events).await?;
        let started = Instant::now();
        let appended = tokio::time::timeout(APPEND_TIMEOUT, namespace.log().append(unrecorded.events()))
            .await
            .unwrap_or_else(|_| Err(BrokerError::Unavailable("the broker did not answer in time".into())));
        let appended = match appended {
            Ok(appended) => appended,
            Err(error) => {
                if matches!(error, BrokerError::RateLimited { .. } | BrokerError::TooLarge(_)) {
                    unrecorded.discard();
                }
                return Err(not_appended(error));
            }
        };
        self.metrics.appended(started.elapsed());
        let events = unrecorded.appended(&appended).await?;
        Ok((events, appended))
    }

    fn count(&self, namespace: &Namespace, added: &[Added], events: usize) {
        for Added { channel, fresh, .. } in added.iter().filter(|added| added.fresh > 0) {
            let label = TypeLabel { r#type: self.catalog.get(*channel).name.clone() };
            self.metrics.published.get_or_create(&label).inc_by(*fresh);
            let latest = namespace.backend().latest();
            if latest.keeps_latest(*channel) {
                let tally = latest.latest_tally(*channel);
                self.metrics.latest_subjects.get_or_create(&label).set(tally.kept() as i64);
                self.metrics.latest_evictions.get_or_create(&label).inc_by(tally.take_evicted());
            }
        }
        let fresh: u64 = added.iter().map(|added| added.fresh).sum();
        self.metrics.duplicates.inc_by(events as u64 - fresh);
    }
}

/// What a publisher is told of a failed append.
fn not_appended(error: BrokerError) -> Problem {
    let detail = match error {
        BrokerError::RateLimited { cause, retry_after } => return rate_limited(cause, retry_after),
        BrokerError::TooLarge(_) => {
            let detail = "an event is larger than the broker takes in one call, and nothing was published: send a smaller one; \
                          the broker's answer is in this node's log, and max_event_bytes belongs below its limit";
            return Problem::new(ErrorCode::PayloadTooLarge, detail).with_cause(error);
        }
        BrokerError::Rejected(_) => {
            "the broker refused the events, but some may have been published: the reason is in this node's log; sending \
             the same ids again is safe"
        }
        _ => {
            "the broker is unavailable, and the events may have been published or not: try again; sending the same ids \
             again is safe"
        }
    };
    Problem::new(ErrorCode::BrokerUnavailable, detail).with_cause(error)
}

/// Waits for this node's own fan-out. A moment, so that a client which subscribes here after the answer begins after what
/// was answered. Longer if too many events are in flight to the subscribers: see [`Pace`](crate::pace::Pace).
async fn keep_pace(namespace: &Namespace, added: &[Added]) {
    let reached = added.iter().map(|added| namespace.progress().reached(added.channel, &added.position));
    let _ = tokio::time::timeout(CATCH_UP, join_all(reached)).await;
    let fresh = added.iter().filter(|added| added.fresh > 0);
    join_all(fresh.map(|added| namespace.pace().hold(added.channel, &added.position, added.fresh))).await;
}

fn added(events: &[Event], appended: &[Appended]) -> Vec<Added> {
    let mut all: Vec<Added> = Vec::new();
    for (event, Appended { position, duplicate }) in events.iter().zip(appended) {
        let fresh = u64::from(!duplicate);
        match all.iter_mut().find(|added| added.channel == event.channel) {
            Some(added) => {
                // A duplicate has an earlier position than its neighbours. A new epoch may begin within a batch.
                if !position.same_epoch(&added.position) || position.offset > added.position.offset {
                    added.position = position.clone();
                }
                added.fresh += fresh;
                added.duplicates += 1 - fresh;
            }
            None => {
                all.push(Added { channel: event.channel, position: position.clone(), fresh, duplicates: 1 - fresh });
            }
        }
    }
    all
}
