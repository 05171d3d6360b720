//! `direction = "in"`: takes messages from Redis, and publishes the events that they become.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ring::digest;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::super::{DeadLetter, DeadLetters, Flow, FlowError, FlowId, Turn, dead_letters};
use super::origin::encoded;
use super::shape::Incoming;
use super::{Connected, Parts};
use crate::access::Caller;
use crate::broker::{BrokerError, PubSub, PubSubConnection, Received};
use crate::bus::{Documents, ValidEvents};
use crate::event::{BRIDGE_CHANNEL, Json};
use crate::protocol::{ErrorCode, Problem};

/// Messages that are published together.
const MAX_BATCH: usize = 100;
/// Pause before events are published again.
const RETRY: Duration = Duration::from_millis(100);
const MAX_RETRY: Duration = Duration::from_secs(2);
/// Messages that are kept in a second: more are counted only, so that a flood of them does not hold up the others.
const KEPT_PER_SECOND: u32 = 20;
/// Letters that wait for the broker to take them.
const MAX_WAITING: usize = 40;
/// The shortest time between two log lines about missed messages.
const MISSED_LOGGED: Duration = Duration::from_secs(10);
/// Pause after a letter could not be kept.
const KEEP_RETRY: Duration = Duration::from_secs(1);
/// The longest part of a message that is kept, in bytes.
const MAX_KEPT: usize = 64 << 10;

pub(super) struct Inward(pub Parts);

/// What one run of the flow works with.
struct Run<'a> {
    parts: &'a Parts,
    turn: &'a Turn,
    caller: Caller,
    /// The letters that wait to be kept.
    letters: mpsc::Sender<DeadLetter>,
    /// The second that is counted, and what was kept in it.
    kept: (Instant, u32),
    /// When missed messages were last logged, and how many are not logged yet.
    missed: (Option<Instant>, u64),
}

/// A message, and the event that it becomes.
struct Taken {
    channel: String,
    payload: Bytes,
    event: ValidEvents,
}

#[async_trait]
impl Flow for Inward {
    fn id(&self) -> &FlowId {
        &self.0.id
    }

    fn is_exclusive(&self) -> bool {
        self.0.settings.is_exclusive()
    }

    async fn run(&self, turn: &Turn) -> Result<(), FlowError> {
        let parts = &self.0;
        // The settings were checked at the start.
        let redis = PubSub::new(&parts.settings.redis, &parts.id.name).map_err(BrokerError::Rejected)?;
        let (letters, queue) = mpsc::channel(MAX_WAITING);
        let run = Run { parts, turn, caller: parts.id.caller(), letters, kept: (Instant::now(), 0), missed: (None, 0) };
        let keeping = keep_all(queue, DeadLetters::new(turn.store.clone()), &parts.id.name);
        // Beside each other: a broker that is slow to keep letters does not keep the bridge from listening.
        tokio::join!(run.listen_always(redis), keeping).0
    }
}

/// Keeps letters until no more can come. Then those that wait are tried once.
async fn keep_all(mut queue: mpsc::Receiver<DeadLetter>, dead: DeadLetters, bridge: &str) {
    while let Some(letter) = queue.recv().await {
        while let Err(error) = dead.add(letter.clone()).await {
            if !matches!(error, FlowError::Broker(_)) {
                tracing::warn!(bridge, %error, "a message that is no event could not be kept");
                break;
            }
            if queue.is_closed() {
                tracing::warn!(bridge, %error, "the last messages that are no events could not be kept");
                return;
            }
            tracing::debug!(bridge, %error, "a message that is no event cannot be kept; it is tried again");
            sleep(KEEP_RETRY).await;
        }
    }
}

impl Run<'_> {
    /// Connects, and takes messages, until the node stops.
    async fn listen_always(mut self, mut redis: PubSub) -> Result<(), FlowError> {
        let (settings, connected) = (&self.parts.settings, Connected::new(self.parts));
        loop {
            let connecting = redis.connect(&settings.channels, &settings.patterns);
            let Some(mut connection) = self.turn.stopping.run_until_cancelled(connecting).await else { return Ok(()) };
            connected.show(true);
            let Some(cause) = self.listen(&mut connection).await? else { return Ok(()) };
            connected.show(false);
            self.parts.metrics.bridges.disconnections.get_or_create(&self.parts.id.label()).inc();
            redis.failed(&cause);
        }
    }

    /// Takes messages until the connection ends; returns why. `None`: the node stops.
    async fn listen(&mut self, connection: &mut PubSubConnection) -> Result<Option<String>, FlowError> {
        loop {
            let received = tokio::select! {
                biased;
                received = connection.receive(MAX_BATCH) => received,
                // What has come already is published first.
                () = self.turn.stopping.cancelled() => return Ok(None),
            };
            match received {
                Ok(received) => self.take(received).await?,
                Err(cause) => return Ok(Some(cause)),
            }
        }
    }

    async fn take(&mut self, received: Vec<Received>) -> Result<(), FlowError> {
        let label = self.parts.id.label();
        let metrics = &self.parts.metrics.bridges;
        let mut taken = Vec::new();
        for received in received {
            let (channel, payload) = match received {
                Received::Message { channel, payload } => (channel, payload),
                Received::Missed(missed) => {
                    metrics.missed.get_or_create(&label).inc_by(missed);
                    self.missed.1 += missed;
                    if self.missed.0.is_none_or(|logged| logged.elapsed() >= MISSED_LOGGED) {
                        let missed = std::mem::take(&mut self.missed.1);
                        self.missed.0 = Some(Instant::now());
                        tracing::warn!(bridge = %self.parts.id.name, missed, "messages came faster than they could be published; tidings_bridge_missed_total counts them");
                    }
                    continue;
                }
            };
            // A pattern may cover the bus.
            if !self.parts.prefix.is_empty() && channel.starts_with(&self.parts.prefix) {
                metrics.ignored.get_or_create(&label).inc();
                continue;
            }
            match self.event(&channel, &payload).await {
                Ok(Some(event)) => taken.push(Taken { channel, payload, event }),
                Ok(None) => drop(metrics.ignored.get_or_create(&label).inc()),
                Err(reason) => self.refuse(&channel, &payload, &reason),
            }
        }
        self.publish_all(taken).await
    }

    /// The event of a message. `None`: it is none, on purpose.
    async fn event(&self, channel: &str, payload: &[u8]) -> Result<Option<ValidEvents>, String> {
        let max = self.parts.max_event_bytes;
        if payload.len() > max {
            return Err(format!(
                "the message has {} bytes, and events have at most {max} (max_event_bytes)",
                payload.len()
            ));
        }
        let shape = &self.parts.settings.shape;
        let event = match shape.event(payload)? {
            Incoming::Event(mut event) => {
                shape.fit(&mut event, &self.parts.catalog);
                if let Json::Object(attributes) = &mut event {
                    attributes.push((BRIDGE_CHANNEL.into(), encoded(channel).into_owned().into()));
                }
                event
            }
            Incoming::Ignored | Incoming::Own => return Ok(None),
        };
        let publisher = self.parts.bus.flow_publisher(&self.caller);
        let valid = publisher.validate(Documents::One(event)).await;
        valid.map(Some).map_err(|problem| reason(&problem))
    }

    /// Publishes the events of messages, in their order. One that the broker takes in no call is refused alone.
    async fn publish_all(&mut self, taken: Vec<Taken>) -> Result<(), FlowError> {
        // The last one is next.
        let mut waiting = vec![taken];
        while let Some(mut taken) = waiting.pop() {
            let events = taken.iter().map(|taken| taken.event.clone()).reduce(|mut events, event| {
                events.append(event);
                events
            });
            let Some(events) = events else { continue };
            let Err(problem) = self.publish(events).await? else { continue };
            if let [Taken { channel, payload, .. }] = &*taken {
                let (bridge, cause) = (&*self.parts.id.name, problem.cause.as_deref().unwrap_or_default());
                tracing::warn!(bridge, channel, cause, "the broker takes an event of a bridge in no call");
                self.refuse(channel, payload, &problem.detail);
                continue;
            }
            // The half that has it is found.
            let later = taken.split_off(taken.len() / 2);
            waiting.extend([later, taken]);
        }
        Ok(())
    }

    /// Publishes events, again and again until the broker has taken them. The inner error says that the broker takes one of
    /// them in no call. Then nothing was published.
    async fn publish(&self, events: ValidEvents) -> Result<Result<(), Problem>, FlowError> {
        let mut retry = RETRY;
        loop {
            self.turn.check()?;
            match self.parts.bus.flow_publisher(&self.caller).publish(events.clone()).await {
                Ok(published) => {
                    let fresh = published.accepted.iter().filter(|accepted| !accepted.duplicate).count();
                    let label = self.parts.id.label();
                    self.parts.metrics.bridges.bridged.get_or_create(&label).inc_by(fresh as u64);
                    return Ok(Ok(()));
                }
                Err(problem) if problem.code == ErrorCode::PayloadTooLarge => return Ok(Err(problem)),
                Err(problem) if matches!(problem.code, ErrorCode::BrokerUnavailable | ErrorCode::RateLimited) => {
                    let cause = problem.cause.as_deref().unwrap_or(&problem.detail);
                    tracing::debug!(bridge = %self.parts.id.name, cause, "the events of a bridge are published again");
                    sleep(retry.mul_f64(rand::random_range(0.5..1.0))).await;
                    retry = (retry * 2).min(MAX_RETRY);
                }
                Err(problem) => return Err(problem.into()),
            }
        }
    }

    /// Counts and keeps a message that does not become an event.
    fn refuse(&mut self, channel: &str, payload: &[u8], reason: &str) {
        self.parts.metrics.bridges.refused.get_or_create(&self.parts.id.label()).inc();
        self.keep(channel, payload, reason);
    }

    /// Keeps a message that did not become an event, unless too many wait for that. Every node finds the same name for it.
    fn keep(&mut self, channel: &str, payload: &[u8], reason: &str) {
        self.parts.metrics.flows.dead.get_or_create(&self.parts.id.label()).inc();
        if self.kept.0.elapsed() >= Duration::from_secs(1) {
            self.kept = (Instant::now(), 0);
        }
        self.kept.1 += 1;
        if self.kept.1 > KEPT_PER_SECOND {
            return;
        }
        let mut hash = digest::Context::new(&digest::SHA256);
        [channel.as_bytes(), &[0], payload].iter().for_each(|part| hash.update(part));
        let id: String = hash.finish().as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let body = String::from_utf8_lossy(&payload[..payload.len().min(MAX_KEPT)]).into_owned();
        let reason = format!("{channel}: {reason}");
        let letter = DeadLetter { id, reason, at: dead_letters::now(), attempts: 1, position: None, body };
        // The broker is slower than these messages come, or away. This one is counted.
        let _ = self.letters.try_send(letter);
    }
}

/// Why an event is refused: each mistake with its place.
fn reason(problem: &Problem) -> String {
    let mistakes: Vec<_> =
        problem.errors.iter().map(|mistake| format!("{}: {}", mistake.pointer, mistake.message)).collect();
    if mistakes.is_empty() { problem.detail.clone() } else { mistakes.join("; ") }
}
