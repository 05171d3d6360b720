//! The append queue: combines the batches of concurrent publishers into calls of the append script.
//!
//! In Redis, a call has a fixed cost, as much as that of several events. So batches that are queued while calls are in
//! flight are sent together in the next call. If no call is in flight, a batch is sent at once. The script treats each
//! batch separately: an error in one does not affect the others. Each event that was appended is signalled to the
//! relay, so the relay need not read it from the log.
//!
//! In a cluster all keys of a call must be in one slot, so each channel has its own queue. A batch over several
//! channels is split into one part for each channel. The order within a channel is kept, and the publisher gets one
//! result.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fred::bytes_utils::Str;
use fred::types::{Key, Value};
use futures_util::future::{join_all, try_join_all};
use tokio::sync::{mpsc, oneshot};

use super::calls_in_flight::CallsInFlight;
use super::channels::{Attempt, Channels};
use super::commands::{Commands, Script, Sending, timed_out, unreadable};
use super::errors::from_reply;
use super::nonces::Nonce;
use super::{CALL_TIMEOUT, max_events, millis, number, parsed};
use crate::broker::{Appended, BrokerError, Limits, Signal};
use crate::config::BusMessage;
use crate::event::{ChannelId, Epoch, Event, PerChannel, Position};

/// The most calls in flight for each queue. With two, Redis runs one while the next is on the network. Over the REST interface
/// there is one: calls on different connections may overtake each other, and the relay must get its signals in the order of
/// the log.
const MAX_CALLS_IN_FLIGHT: usize = 2;
/// A call takes no further batch once it has this many events or bytes of JSON. Redis serves no other client while the
/// script runs, so calls are short.
const FULL_CALL_EVENTS: usize = 128;
const FULL_CALL_BYTES: usize = 256 * 1024;
/// The capacity of a queue, in batches. A publisher waits for space in a full queue, and this wait counts towards its
/// timeout.
const QUEUE_CAPACITY: usize = 1024;

/// A batch has a longer timeout than its call, by this margin, so that the publisher gets the error of the call.
const REPLY_MARGIN: Duration = Duration::from_millis(200);

/// What a call of the append script may have beside its event, in bytes.
const CALL_OVERHEAD: usize = 1024;

/// Accepts batches and returns their results.
pub(super) struct Appends {
    channels: Arc<Channels>,
    commands: Arc<Commands>,
    /// Does nothing with its arguments.
    nothing: Script,
    keeps_latest: PerChannel<bool>,
    /// One queue, or one for each channel in a cluster.
    queues: Vec<mpsc::Sender<Batch>>,
}

/// Sends the batches of a queue to Redis.
struct Appender {
    channels: Arc<Channels>,
    commands: Arc<Commands>,
    limits: Limits,
    script: Script,
    signals: mpsc::Sender<Signal>,
    max_calls: usize,
}

/// The events of one publisher's request, or the part of them that goes through one queue.
struct Batch {
    events: Vec<QueuedEvent>,
    done: oneshot::Sender<Result<Vec<Appended>, NotAppended>>,
}

/// A batch that failed.
struct NotAppended {
    error: BrokerError,
    /// Its events. Empty if the server has looked at them.
    events: Vec<QueuedEvent>,
}

impl From<BrokerError> for NotAppended {
    fn from(error: BrokerError) -> Self {
        Self { error, events: Vec::new() }
    }
}

/// A finished call.
struct FinishedCall {
    batches: Vec<Batch>,
    reply: Result<Value, BrokerError>,
    attempt: Attempt,
    /// The nonce of the call, which its events have in the log.
    nonce: Option<Nonce>,
    /// The channels of the call that keep newest events, in the order of the reply.
    latest: Vec<ChannelId>,
}

struct QueuedEvent {
    channel: ChannelId,
    /// In a cluster, the event's id; otherwise, the Redis key that stores the id.
    id_or_key: Str,
    /// `None` if the channel keeps no newest events.
    subject: Option<Arc<str>>,
    json: Arc<str>,
}

impl Appends {
    /// Creates the queues, and the future that sends their batches to Redis while it is polled. `keeps_order` says whether
    /// Redis runs calls in the order in which they are sent.
    pub fn new(
        channels: Arc<Channels>,
        commands: Arc<Commands>,
        limits: Limits,
        bus_message: BusMessage,
        keeps_order: bool,
        signals: mpsc::Sender<Signal>,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        macro_rules! script {
            ($ids:literal, $change:literal) => {
                Script::new(concat!(
                    include_str!("log.lua"),
                    include_str!("keep_latest.lua"),
                    include_str!($ids),
                    $change,
                    include_str!("append.lua")
                ))
                .appending()
            };
        }
        let script = match (channels.clustered, bus_message) {
            (false, BusMessage::Event) => script!("ids_by_key.lua", ""),
            (false, BusMessage::Position) => script!("ids_by_key.lua", "EVENTS = false\n"),
            (true, BusMessage::Event) => script!("ids_in_hash.lua", ""),
            (true, BusMessage::Position) => script!("ids_in_hash.lua", "EVENTS = false\n"),
        };
        let keeps_latest = limits.map(|retention| retention.latest.is_some());
        let max_calls = if keeps_order { MAX_CALLS_IN_FLIGHT } else { 1 };
        let nothing = Script::new("return 1");
        let appender = Arc::new(Appender {
            channels: channels.clone(),
            commands: commands.clone(),
            limits,
            script,
            signals,
            max_calls,
        });
        let count = if channels.clustered { channels.iter().count() } else { 1 };
        let (queues, batches): (_, Vec<_>) = (0..count).map(|_| mpsc::channel(QUEUE_CAPACITY)).unzip();
        let sending = join_all(batches.into_iter().map(|batches| appender.clone().run(batches)));
        (Self { channels, commands, nothing, keeps_latest, queues }, async { drop(sending.await) })
    }

    /// Appends a batch. Returns within [`CALL_TIMEOUT`] plus [`REPLY_MARGIN`], with one result for each event, in the
    /// order of the events.
    ///
    /// # Errors
    /// As [`Log::append`](crate::broker::Log::append): a part of the batch may be in the log.
    pub async fn append(&self, events: &[Event]) -> Result<Vec<Appended>, BrokerError> {
        let mut parts: Vec<Vec<QueuedEvent>> = self.queues.iter().map(|_| Vec::new()).collect();
        // The index of the queue of each event, which restores their order at the end.
        let mut queue_of_event = Vec::with_capacity(events.len());
        for event in events {
            let channel = self.channels.get(event.channel);
            let id_or_key =
                if self.channels.clustered { event.id.as_str().into() } else { channel.id_key(&event.id).into() };
            let queue = event.channel.index() % self.queues.len();
            let subject = self.keeps_latest[event.channel].then(|| event.subject.clone()).flatten();
            parts[queue].push(QueuedEvent { channel: event.channel, id_or_key, subject, json: event.json.clone() });
            queue_of_event.push(queue);
        }
        let parts = self.queues.iter().zip(parts).map(async |(queue, events)| {
            if events.is_empty() { Ok(Vec::new()) } else { self.append_part(queue, events).await }
        });
        let parts = tokio::time::timeout(CALL_TIMEOUT + REPLY_MARGIN, try_join_all(parts)).await;
        let split = queue_of_event.iter().any(|queue| *queue != queue_of_event[0]);
        let parts =
            parts.unwrap_or_else(|_| Err(timed_out())).map_err(|error| if split { partly(error) } else { error })?;
        let mut parts: Vec<_> = parts.into_iter().map(Vec::into_iter).collect();
        Ok(queue_of_event.into_iter().filter_map(|queue| parts[queue].next()).collect())
    }

    /// Appends events through one queue: as one batch, or as several, one after the other, if the server takes no call as large.
    async fn append_part(
        &self,
        queue: &mpsc::Sender<Batch>,
        events: Vec<QueuedEvent>,
    ) -> Result<Vec<Appended>, BrokerError> {
        let (mut appended, mut are_checked) = (Vec::new(), false);
        // The last one is next.
        let mut waiting = vec![events];
        while let Some(events) = waiting.pop() {
            let (done, result) = oneshot::channel();
            queue.send(Batch { events, done }).await.map_err(|_| BrokerError::closed())?;
            match result.await.map_err(|_| BrokerError::closed())? {
                Ok(part) => appended.extend(part),
                Err(NotAppended { error: BrokerError::TooLarge(_), mut events }) if events.len() > 1 => {
                    if !are_checked {
                        self.takes_each(&events).await?;
                        are_checked = true;
                    }
                    let later = events.split_off(events.len() / 2);
                    waiting.extend([later, events]);
                }
                Err(NotAppended { error, .. }) if appended.is_empty() => return Err(error),
                Err(NotAppended { error, .. }) => return Err(partly(error)),
            }
        }
        Ok(appended)
    }

    /// Sends the largest event to a script that does nothing: a batch with an event that no call can carry must fail before a
    /// part of it is in the log.
    ///
    /// # Errors
    /// [`BrokerError::TooLarge`], and those of any call.
    async fn takes_each(&self, events: &[QueuedEvent]) -> Result<(), BrokerError> {
        let Some(largest) = events.iter().max_by_key(|event| event.json.len()) else { return Ok(()) };
        let key = &self.channels.get(largest.channel).stream;
        let overhead = " ".repeat(CALL_OVERHEAD);
        let arguments = |_| (vec![key.as_str().into()], vec![(&*largest.json).into(), overhead.as_str().into()]);
        self.commands.run(&self.nothing, key, arguments).await.map(drop)
    }
}

impl Appender {
    async fn run(self: Arc<Self>, mut queue: mpsc::Receiver<Batch>) {
        let mut calls = CallsInFlight::with_capacity(self.max_calls);
        loop {
            tokio::select! {
                // Finished calls come first, in the order in which they were sent: the relay must get its signals in
                // the order of the log.
                biased;
                Some(call) = calls.next() => self.finish(call),
                Some(first) = queue.recv(), if calls.len() < self.max_calls => {
                    let batches = take_batches(first, &mut queue);
                    if !batches.is_empty() {
                        calls.push(self.call(batches));
                    }
                }
                else => return,
            }
        }
    }

    /// Sends the batches in one call, or in several, one after the other, if the server takes no call as large. Then it finishes
    /// all but the last one. With another call in flight, the relay may get their signals too early, and reads the log.
    async fn call(&self, batches: Vec<Batch>) -> FinishedCall {
        // The last one is next.
        let mut waiting = Vec::new();
        let mut call = self.call_once(batches).await;
        loop {
            if matches!(call.reply, Err(BrokerError::TooLarge(_))) && call.batches.len() > 1 {
                waiting.push(call.batches.split_off(call.batches.len() / 2));
                call = self.call_once(call.batches).await;
            } else if let Some(batches) = waiting.pop() {
                self.finish(call);
                call = self.call_once(batches).await;
            } else {
                return call;
            }
        }
    }

    async fn call_once(&self, batches: Vec<Batch>) -> FinishedCall {
        let attempt = Attempt::default();
        let Some(first) = batches.iter().find_map(|batch| batch.events.first()) else {
            let reply = Ok(Value::Array(Vec::new()));
            return FinishedCall { batches, reply, attempt, nonce: None, latest: Vec::new() };
        };
        let key = &self.channels.get(first.channel).stream;
        let nonce = Epoch::random();
        let channels = channels_of(&batches);
        let arguments = |sending| {
            self.channels.begin_attempt(&attempt, sending);
            self.arguments(&batches, &channels, &nonce, sending)
        };
        let reply = self.commands.run(&self.script, key, arguments).await;
        let mut latest = channels;
        latest.retain(|channel| self.limits.retention(*channel).latest.is_some());
        FinishedCall { batches, reply, attempt, nonce: Nonce::of(&nonce), latest }
    }

    /// The script's keys and arguments; `append.lua` describes them.
    fn arguments(
        &self,
        batches: &[Batch],
        channels: &[ChannelId],
        nonce: &Epoch,
        sending: Sending,
    ) -> (Vec<Key>, Vec<Value>) {
        let events = || batches.iter().flat_map(|batch| &batch.events);
        let channel_numbers: HashMap<ChannelId, Value> = channels.iter().copied().zip((1..).map(number)).collect();
        let count = events().count();
        let mut keys = Vec::with_capacity(channels.len() * 4 + 1 + count);
        let mut args = Vec::with_capacity(3 + channels.len() * 6 + batches.len() + count * 4);
        args.extend([
            number(channels.len() as u64),
            // Redis refuses a time to live of 0.
            millis(self.limits.dedup_window.max(Duration::from_millis(1))),
            nonce.as_str().into(),
        ]);
        let in_hash = self.channels.clustered;
        for &id in channels {
            let (channel, retention) = (self.channels.get(id), self.limits.retention(id));
            keys.extend([channel.stream.as_str().into(), channel.meta.as_str().into()]);
            keys.extend(in_hash.then(|| channel.ids.as_str().into()));
            args.extend([channel.name.as_str().into(), channel.fingerprint.argument(sending).into()]);
            args.extend([max_events(retention), millis(retention.max_age)]);
            args.extend(match retention.latest {
                Some(kept) => [millis(kept.max_age), number(kept.max_subjects)],
                None => ["".into(), "".into()],
            });
        }
        for &id in channels.iter().filter(|id| self.limits.retention(**id).latest.is_some()) {
            keys.extend(self.channels.get(id).latest_keys());
        }
        keys.extend(events().filter(|_| !in_hash).map(|event| event.id_or_key.clone().into()));
        for Batch { events, .. } in batches {
            args.push(number(events.len() as u64));
            for QueuedEvent { channel, id_or_key, subject, json } in events {
                let subject = subject.as_deref().unwrap_or_default();
                args.extend([channel_numbers[channel].clone(), (&**json).into(), subject.into()]);
                args.extend(in_hash.then(|| id_or_key.clone().into()));
            }
        }
        (keys, args)
    }

    /// Gives each publisher the result of its batch, and signals the appended events to the relay.
    fn finish(&self, FinishedCall { batches, reply, attempt, nonce, latest }: FinishedCall) {
        let expected = batches.iter().map(|batch| 1 + batch.events.len()).sum::<usize>() + 2 * latest.len();
        let mut reply = match reply {
            Ok(Value::Array(reply)) if reply.len() == expected => Ok(reply.into_iter()),
            Ok(_) => Err(unreadable()),
            Err(error) => Err(error),
        };
        for Batch { events, done } in batches {
            let result = match &mut reply {
                Ok(reply) => {
                    let error = reply.next();
                    let positions = reply.by_ref().take(events.len()).collect();
                    self.batch_result(events, error, positions, &attempt, nonce).map_err(NotAppended::from)
                }
                Err(error) => Err(NotAppended { error: error.clone(), events }),
            };
            // The receiver is gone if the publisher no longer waits.
            let _ = done.send(result);
        }
        let Ok(mut counts) = reply else { return };
        for channel in latest {
            // Empty if nothing was looked at.
            if let (Ok(kept), Ok(evicted)) = (parsed(counts.next()), parsed(counts.next())) {
                self.channels.get(channel).tally.note(kept, evicted);
            }
        }
    }

    /// The result of one batch. `error` is the error text of the first event that failed, or empty.
    fn batch_result(
        &self,
        events: Vec<QueuedEvent>,
        error: Option<Value>,
        positions: Vec<Value>,
        attempt: &Attempt,
        nonce: Option<Nonce>,
    ) -> Result<Vec<Appended>, BrokerError> {
        let error = error.as_ref().and_then(Value::as_str).ok_or_else(unreadable)?;
        if !error.is_empty() {
            let error = from_reply(&error);
            return Err(if events.len() > 1 { partly(error) } else { error });
        }
        let mut appended = Vec::with_capacity(events.len());
        for (QueuedEvent { channel, json, .. }, position) in events.into_iter().zip(positions) {
            let text = position.as_str().ok_or_else(unreadable)?;
            // `=` marks the position of an earlier event with the same id.
            let earlier = text.strip_prefix('=');
            let position: Position = earlier.unwrap_or(&text).parse().map_err(|_| unreadable())?;
            // Another call appended the earlier event, so only a new event is added to the fingerprint.
            let event = nonce.filter(|_| earlier.is_none()).map(|nonce| (position.offset, nonce));
            let fingerprint = &self.channels.get(channel).fingerprint;
            fingerprint.record(attempt.number(), &position, event);
            fingerprint.confirm(attempt.connection());
            // If the buffer of the signals is full, the relay reads the events from the log.
            if earlier.is_none() {
                let _ = self.signals.try_send(Signal::Appended { channel, position: position.clone(), json });
            }
            appended.push(Appended { position, duplicate: earlier.is_some() });
        }
        Ok(appended)
    }
}

/// The channels of the batches, in the order in which they first occur.
fn channels_of(batches: &[Batch]) -> Vec<ChannelId> {
    let mut channels: Vec<ChannelId> = Vec::new();
    for QueuedEvent { channel, .. } in batches.iter().flat_map(|batch| &batch.events) {
        if !channels.contains(channel) {
            channels.push(*channel);
        }
    }
    channels
}

/// The error of a batch of which another part may be in the log. A rate limit, or that of a call's size, would say that nothing was
/// done.
fn partly(error: BrokerError) -> BrokerError {
    match error {
        BrokerError::RateLimited { cause, .. } => BrokerError::Unavailable(cause),
        BrokerError::TooLarge(cause) => BrokerError::Rejected(cause),
        error => error,
    }
}

/// Takes the batches of the next call: `first`, then queued ones until the call is full. Skips a batch whose publisher
/// no longer waits.
fn take_batches(first: Batch, queue: &mut mpsc::Receiver<Batch>) -> Vec<Batch> {
    let (mut batches, mut events, mut bytes) = (Vec::new(), 0, 0);
    let mut next = Some(first);
    while let Some(batch) = next {
        if !batch.done.is_closed() {
            events += batch.events.len();
            bytes += batch.events.iter().map(|event| event.json.len()).sum::<usize>();
            batches.push(batch);
        }
        next = if events < FULL_CALL_EVENTS && bytes < FULL_CALL_BYTES { queue.try_recv().ok() } else { None };
    }
    batches
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;
    use crate::broker::redis::routes::Routes;

    const LIMIT: &str = "ERR max daily request limit exceeded";

    /// What a batch of events on these channels is answered if the queue of the first channel takes its part and those of
    /// the others are at their limit.
    async fn append(on: &[u32]) -> BrokerError {
        let channels = Channels::for_test(true);
        let (queues, batches): (_, Vec<_>) = channels.iter().map(|_| mpsc::channel(1)).unzip();
        for (index, mut queue) in batches.into_iter().enumerate() {
            tokio::spawn(async move {
                while let Some(Batch { events, done }) = queue.recv().await {
                    let appended = |_| Appended { position: "e:1".parse().unwrap(), duplicate: false };
                    let taken = Ok(events.iter().map(appended).collect());
                    let _ = done.send(if index == 0 { taken } else { Err(from_reply(LIMIT).into()) });
                }
            });
        }
        let event = |channel: &u32| Event {
            channel: ChannelId::for_test(*channel),
            id: "id".into(),
            subject: None,
            json: "{}".into(),
        };
        let events: Vec<_> = on.iter().map(event).collect();
        let keeps_latest = Limits::for_test().map(|_| false);
        let (commands, nothing) = (Arc::new(Commands::new(watch::channel(Routes::Pending).1, None)), Script::new(""));
        Appends { channels, commands, nothing, keeps_latest, queues }.append(&events).await.unwrap_err()
    }

    #[tokio::test]
    async fn a_rate_limit_is_an_unknown_outcome_when_another_part_may_be_in_the_log() {
        assert!(matches!(append(&[1]).await, BrokerError::RateLimited { .. }));
        assert_eq!(append(&[0, 1]).await, BrokerError::Unavailable(LIMIT.into()));
    }

    #[test]
    fn a_rate_limit_is_an_unknown_outcome_when_an_earlier_event_may_be_in_the_log() {
        let channels = Channels::for_test(false);
        let limits = Limits::for_test();
        let commands = Arc::new(Commands::new(watch::channel(Routes::Pending).1, None));
        let appender =
            Appender { channels, commands, limits, script: Script::new(""), signals: mpsc::channel(1).0, max_calls: 1 };
        let of = |count: usize| {
            let event = || QueuedEvent {
                channel: ChannelId::for_test(0),
                id_or_key: "id".into(),
                subject: None,
                json: "{}".into(),
            };
            let events = (0..count).map(|_| event()).collect();
            appender.batch_result(events, Some(LIMIT.into()), Vec::new(), &Attempt::default(), None).unwrap_err()
        };
        assert!(matches!(of(1), BrokerError::RateLimited { .. }));
        assert_eq!(of(2), BrokerError::Unavailable(LIMIT.into()));
    }
}
