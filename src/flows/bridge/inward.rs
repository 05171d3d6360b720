//! `direction = "in"`: takes messages from Redis, and publishes the events that they become.
//!
//! Listening and publishing go on beside each other, with a bounded [`Queue`] between them. So a broker that is slow or away
//! neither keeps a bridge from listening, nor fills the memory of the node.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ring::digest;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::super::{DeadLetter, DeadLetters, Flow, FlowError, FlowId, Turn, dead_letters};
use super::origin::encoded;
use super::queue::{Message, Queue};
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
    /// The messages that wait to be published.
    queue: Queue,
    /// The letters that wait to be kept.
    letters: mpsc::Sender<DeadLetter>,
    /// The second that is counted, and what was kept in it.
    kept: Mutex<(Instant, u32)>,
}

/// The missed messages that no log line has yet.
#[derive(Default)]
struct Missed {
    count: u64,
    logged: Option<Instant>,
}

/// A message, and the event that it becomes.
struct Taken {
    message: Message,
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
        let (letters, waiting) = mpsc::channel(MAX_WAITING);
        let kept = Mutex::new((Instant::now(), 0));
        let run = Run { parts, turn, caller: parts.id.caller(), queue: Queue::default(), letters, kept };
        let keeping = keep_all(waiting, DeadLetters::new(turn.store.clone()), &parts.id.name);
        // Beside each other: a broker that is slow to keep letters does not keep the bridge from listening.
        tokio::join!(run.work(redis), keeping).0
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
    /// Listens and publishes, until the node stops. What was heard by then is published.
    async fn work(self, redis: PubSub) -> Result<(), FlowError> {
        let listening = async {
            self.listen_always(redis).await;
            self.queue.close();
            Ok(())
        };
        tokio::try_join!(listening, self.publish_always()).map(drop)
    }

    /// Connects, and takes messages, until the node stops.
    async fn listen_always(&self, mut redis: PubSub) {
        let (settings, connected) = (&self.parts.settings, Connected::new(self.parts));
        let mut missed = Missed::default();
        loop {
            let connecting = redis.connect(&settings.channels, &settings.patterns);
            let Some(mut connection) = self.turn.stopping.run_until_cancelled(connecting).await else { return };
            connected.show(true);
            let Some(cause) = self.listen(&mut connection, &mut missed).await else { return };
            connected.show(false);
            self.parts.metrics.bridges.disconnections.get_or_create(&self.parts.id.label()).inc();
            redis.failed(&cause);
        }
    }

    /// Takes messages until the connection ends; returns why. `None`: the node stops.
    async fn listen(&self, connection: &mut PubSubConnection, missed: &mut Missed) -> Option<String> {
        loop {
            let received = tokio::select! {
                biased;
                received = connection.receive(MAX_BATCH) => received,
                // What has come already is published first.
                () = self.turn.stopping.cancelled() => return None,
            };
            match received {
                Ok(received) => received.into_iter().for_each(|received| self.hear(received, missed)),
                Err(cause) => return Some(cause),
            }
        }
    }

    /// Puts a message into the queue, unless it cannot become an event.
    fn hear(&self, received: Received, missed: &mut Missed) {
        let (channel, payload) = match received {
            Received::Message { channel, payload } => (channel, payload),
            Received::Missed(count) => return self.miss(count, missed),
        };
        // A pattern may cover the bus.
        if !self.parts.prefix.is_empty() && channel.starts_with(&self.parts.prefix) {
            self.parts.metrics.bridges.ignored.get_or_create(&self.parts.id.label()).inc();
            return;
        }
        let (bytes, max) = (payload.len(), self.parts.max_event_bytes);
        if bytes > max {
            let reason = format!("the message has {bytes} bytes, and events have at most {max} (max_event_bytes)");
            return self.refuse(&channel, &payload, &reason);
        }
        self.miss(self.queue.push(Message { channel, payload }), missed);
    }

    /// Counts messages that are lost on this node.
    fn miss(&self, count: u64, missed: &mut Missed) {
        if count == 0 {
            return;
        }
        self.parts.metrics.bridges.missed.get_or_create(&self.parts.id.label()).inc_by(count);
        missed.count += count;
        if missed.logged.is_none_or(|logged| logged.elapsed() >= MISSED_LOGGED) {
            let missed = std::mem::replace(missed, Missed { count: 0, logged: Some(Instant::now()) }).count;
            tracing::warn!(bridge = %self.parts.id.name, missed, "messages came faster than they could be published; tidings_bridge_missed_total counts them");
        }
    }

    /// Publishes what was heard, until nothing more comes.
    async fn publish_always(&self) -> Result<(), FlowError> {
        while let Some(messages) = self.queue.take(MAX_BATCH).await {
            let mut taken = Vec::new();
            for message in messages {
                match self.event(&message).await {
                    Ok(Some(event)) => taken.push(Taken { message, event }),
                    Ok(None) => drop(self.parts.metrics.bridges.ignored.get_or_create(&self.parts.id.label()).inc()),
                    Err(reason) => self.refuse(&message.channel, &message.payload, &reason),
                }
            }
            self.publish_all(taken).await?;
        }
        Ok(())
    }

    /// The event of a message. `None`: it is none, on purpose.
    async fn event(&self, message: &Message) -> Result<Option<ValidEvents>, String> {
        let shape = &self.parts.settings.shape;
        let event = match shape.event(&message.payload)? {
            Incoming::Event(mut event) => {
                shape.fit(&mut event, &self.parts.catalog);
                if let Json::Object(attributes) = &mut event {
                    attributes.push((BRIDGE_CHANNEL.into(), encoded(&message.channel).into_owned().into()));
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
    async fn publish_all(&self, taken: Vec<Taken>) -> Result<(), FlowError> {
        // The last one is next.
        let mut waiting = vec![taken];
        while let Some(mut taken) = waiting.pop() {
            let events = taken.iter().map(|taken| taken.event.clone()).reduce(|mut events, event| {
                events.append(event);
                events
            });
            let Some(events) = events else { continue };
            let Err(problem) = self.publish(events).await? else { continue };
            if let [Taken { message: Message { channel, payload }, .. }] = &*taken {
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
    fn refuse(&self, channel: &str, payload: &[u8], reason: &str) {
        self.parts.metrics.bridges.refused.get_or_create(&self.parts.id.label()).inc();
        self.keep(channel, payload, reason);
    }

    /// Whether one more may be kept in this second.
    fn may_keep(&self) -> bool {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.0.elapsed() >= Duration::from_secs(1) {
            *kept = (Instant::now(), 0);
        }
        kept.1 += 1;
        kept.1 <= KEPT_PER_SECOND
    }

    /// Keeps a message that did not become an event, unless too many wait for that. Every node finds the same name for it.
    fn keep(&self, channel: &str, payload: &[u8], reason: &str) {
        self.parts.metrics.flows.dead.get_or_create(&self.parts.id.label()).inc();
        if !self.may_keep() {
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
