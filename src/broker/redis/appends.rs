//! Appending: what publishers bring goes to Redis in calls of the append script, one after the other.
//!
//! A call costs Redis as much as several events in it. So what comes while calls are under way gathers, and goes as one
//! call when there is room; where none is under way, nothing waits. Each publisher's batch stands or falls by itself in
//! the script. What Redis says that it took is told to the relay at once, which then need not read it from the log.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fred::types::{Key, Value};
use futures_util::stream::{FuturesOrdered, StreamExt};
use tokio::sync::{mpsc, oneshot};

use super::channels::Channels;
use super::commands::{Commands, Script, closed, silent, unreadable};
use super::{ANSWER, log_max_events, millis, new_epoch, number};
use crate::broker::{Appended, Limits, Signal, Unavailable};
use crate::event::{ChannelId, Event, Position};

/// Calls under way: Redis runs one while the next is on its way to it.
const UNDER_WAY: usize = 2;
/// The events after which a call takes no further batches, and the bytes of JSON: Redis does nothing else meanwhile.
const CALL_EVENTS: usize = 128;
const CALL_BYTES: usize = 256 * 1024;
/// Batches that wait for their call; further ones wait for room, within the time for their answer.
const WAITING: usize = 1024;

/// Takes batches.
pub(super) struct Appends {
    channels: Arc<Channels>,
    batches: mpsc::Sender<Batch>,
}

/// Carries them to Redis.
pub(super) struct Appender {
    channels: Arc<Channels>,
    commands: Arc<Commands>,
    limits: Limits,
    script: Script,
    bus: mpsc::Sender<Signal>,
}

/// One publisher's.
struct Batch {
    events: Vec<Entry>,
    done: oneshot::Sender<Result<Vec<Appended>, Unavailable>>,
}

/// What became of a call, on the connection of this number.
struct Called {
    batches: Vec<Batch>,
    reply: Result<Value, Unavailable>,
    connection: u64,
}

struct Entry {
    channel: ChannelId,
    /// Remembers the event's id.
    key: Key,
    json: Arc<str>,
}

impl Appends {
    /// What is taken goes to Redis by the future, for as long as it is polled.
    pub fn new(
        channels: Arc<Channels>,
        commands: Arc<Commands>,
        limits: Limits,
        bus: mpsc::Sender<Signal>,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (sender, batches) = mpsc::channel(WAITING);
        let script = Script::new(concat!(include_str!("log.lua"), include_str!("append.lua")));
        let appender = Appender { channels: channels.clone(), commands, limits, script, bus };
        (Self { channels, batches: sender }, appender.run(batches))
    }

    /// Appends a batch and answers within [`ANSWER`].
    pub async fn append(&self, events: &[Event]) -> Result<Vec<Appended>, Unavailable> {
        let (done, appended) = oneshot::channel();
        let entry = |event: &Event| Entry {
            channel: event.channel,
            key: self.channels.get(event.channel).id_key(&event.id).into(),
            json: event.json.clone(),
        };
        let batch = Batch { events: events.iter().map(entry).collect(), done };
        let answer = async {
            self.batches.send(batch).await.map_err(|_| closed())?;
            appended.await.map_err(|_| closed())?
        };
        tokio::time::timeout(ANSWER, answer).await.unwrap_or_else(|_| Err(silent()))
    }
}

impl Appender {
    async fn run(self, mut waiting: mpsc::Receiver<Batch>) {
        let mut calls = FuturesOrdered::new();
        loop {
            tokio::select! {
                // Answers first, and in the order of the calls: the relay is told in the order of the logs.
                biased;
                Some(called) = calls.next() => self.answer(called),
                Some(first) = waiting.recv(), if calls.len() < UNDER_WAY => {
                    let batches = gather(first, &mut waiting);
                    if !batches.is_empty() {
                        calls.push_back(self.call(batches));
                    }
                }
                else => return,
            }
        }
    }

    async fn call(&self, batches: Vec<Batch>) -> Called {
        let connection = AtomicU64::new(0);
        let arguments = || {
            connection.store(self.commands.connection(), Ordering::Relaxed);
            self.arguments(&batches, connection.load(Ordering::Relaxed))
        };
        let reply = self.commands.run(&self.script, arguments).await;
        Called { batches, reply, connection: connection.into_inner() }
    }

    /// Keys and arguments of the script; see there.
    fn arguments(&self, batches: &[Batch], connection: u64) -> (Vec<Key>, Vec<Value>) {
        let events = || batches.iter().flat_map(|batch| &batch.events);
        let mut channels: Vec<ChannelId> = Vec::new();
        let mut numbers = HashMap::new();
        for Entry { channel, .. } in events() {
            numbers.entry(*channel).or_insert_with(|| {
                channels.push(*channel);
                number(channels.len() as u64)
            });
        }
        let count = events().count();
        let mut keys = Vec::with_capacity(channels.len() * 2 + count);
        let mut args = Vec::with_capacity(5 + channels.len() * 2 + batches.len() + count * 2);
        args.extend([
            number(channels.len() as u64),
            log_max_events(&self.limits),
            millis(self.limits.log_max_age),
            // Redis takes no time to live of 0.
            millis(self.limits.dedup_window.max(Duration::from_millis(1))),
            new_epoch(),
        ]);
        for channel in channels.into_iter().map(|id| self.channels.get(id)) {
            keys.extend([channel.stream.as_str().into(), channel.meta.as_str().into()]);
            args.extend([channel.name.as_str().into(), channel.known.told_once(connection).into()]);
        }
        keys.extend(events().map(|event| event.key.clone()));
        for Batch { events, .. } in batches {
            args.push(number(events.len() as u64));
            for Entry { channel, json, .. } in events {
                args.extend([numbers[channel].clone(), (&**json).into()]);
            }
        }
        (keys, args)
    }

    /// Tells each publisher what became of its batch, and the relay what was appended.
    fn answer(&self, Called { batches, reply, connection }: Called) {
        let expected: usize = batches.iter().map(|batch| 1 + batch.events.len()).sum();
        let mut reply = match reply {
            Ok(Value::Array(reply)) if reply.len() == expected => Ok(reply.into_iter()),
            Ok(_) => Err(unreadable()),
            Err(error) => Err(error),
        };
        for Batch { events, done } in batches {
            let answer = match &mut reply {
                Ok(reply) => {
                    let refusal = reply.next();
                    let positions = reply.by_ref().take(events.len()).collect();
                    self.outcome(events, refusal, positions, connection)
                }
                Err(error) => Err(error.clone()),
            };
            // It may have waited too long.
            let _ = done.send(answer);
        }
    }

    fn outcome(
        &self,
        events: Vec<Entry>,
        refusal: Option<Value>,
        positions: Vec<Value>,
        connection: u64,
    ) -> Result<Vec<Appended>, Unavailable> {
        let refusal = refusal.as_ref().and_then(Value::as_str).ok_or_else(unreadable)?;
        if !refusal.is_empty() {
            return Err(Unavailable(refusal.into_owned()));
        }
        let mut appended = Vec::with_capacity(events.len());
        for (Entry { channel, json, .. }, position) in events.into_iter().zip(positions) {
            let text = position.as_str().ok_or_else(unreadable)?;
            let before = text.strip_prefix('=');
            let position: Position = before.unwrap_or(&text).parse().map_err(|_| unreadable())?;
            // What was appended before may have been another event, with the same id.
            let event = before.is_none().then_some((position.offset, &json));
            let known = &self.channels.get(channel).known;
            known.learn(&position, event);
            known.stood(connection);
            if before.is_none() {
                // Where there is no room, the relay finds it in the log.
                let _ = self.bus.try_send(Signal::Appended { channel, position: position.clone(), json });
            }
            appended.push(Appended { position, duplicate: before.is_some() });
        }
        Ok(appended)
    }
}

/// The next call's batches: as many as wait, within the bounds of a call. Who gave up waiting is left out.
fn gather(first: Batch, waiting: &mut mpsc::Receiver<Batch>) -> Vec<Batch> {
    let (mut batches, mut events, mut bytes) = (Vec::new(), 0, 0);
    let mut next = Some(first);
    while let Some(batch) = next {
        if !batch.done.is_closed() {
            events += batch.events.len();
            bytes += batch.events.iter().map(|event| event.json.len()).sum::<usize>();
            batches.push(batch);
        }
        next = if events < CALL_EVENTS && bytes < CALL_BYTES { waiting.try_recv().ok() } else { None };
    }
    batches
}
