//! Appending: what publishers bring goes to Redis in calls of the append script, one after the other.
//!
//! A call costs Redis as much as several events in it. So what comes while calls are under way gathers, and goes as one
//! call when there is room; where none is under way, nothing waits. Each publisher's batch stands or falls by itself in
//! the script. What Redis says that it took is told to the relay at once, which then need not read it from the log.
//!
//! In a cluster a call stays within one slot. So each channel has calls of its own there, and of a batch over several
//! channels each channel's events go their own way: in their order, and with one answer for all.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fred::bytes_utils::Str;
use fred::types::{Key, Value};
use futures_util::future::{join_all, try_join_all};
use futures_util::stream::{FuturesOrdered, StreamExt};
use tokio::sync::{mpsc, oneshot};

use super::channels::{Channels, Sent};
use super::commands::{Commands, Script, closed, silent, unreadable};
use super::{ANSWER, log_max_events, millis, new_epoch, number};
use crate::broker::{Appended, BrokerError, Limits, Signal};
use crate::event::{ChannelId, Event, Position};

/// Calls under way: Redis runs one while the next is on its way to it.
const UNDER_WAY: usize = 2;
/// The events after which a call takes no further batches, and the bytes of JSON: Redis does nothing else meanwhile.
const CALL_EVENTS: usize = 128;
const CALL_BYTES: usize = 256 * 1024;
/// Batches that wait for their call; further ones wait for room, within the time for their answer.
const WAITING: usize = 1024;

/// How much longer than a call a batch may take: where a call is given up, this is time to say why.
const SAYING: Duration = Duration::from_millis(200);

/// Takes batches.
pub(super) struct Appends {
    channels: Arc<Channels>,
    /// One for all channels, or in a cluster one for each.
    lanes: Vec<mpsc::Sender<Batch>>,
}

/// Carries them to Redis.
struct Appender {
    channels: Arc<Channels>,
    commands: Arc<Commands>,
    limits: Limits,
    script: Script,
    bus: mpsc::Sender<Signal>,
}

/// One publisher's, or as much of it as goes the same way.
struct Batch {
    events: Vec<Entry>,
    done: oneshot::Sender<Result<Vec<Appended>, BrokerError>>,
}

/// What became of a call.
struct Called {
    batches: Vec<Batch>,
    reply: Result<Value, BrokerError>,
    sent: Sent,
}

struct Entry {
    channel: ChannelId,
    /// Outside of a cluster, the key that remembers it.
    id: Str,
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
        macro_rules! script {
            ($ids:literal) => {
                Script::new(concat!(include_str!("log.lua"), include_str!($ids), include_str!("append.lua")))
                    .appending()
            };
        }
        let script = if channels.clustered { script!("ids_in_hash.lua") } else { script!("ids_by_key.lua") };
        let appender = Arc::new(Appender { channels: channels.clone(), commands, limits, script, bus });
        let lanes = if channels.clustered { channels.iter().count() } else { 1 };
        let (lanes, batches): (_, Vec<_>) = (0..lanes).map(|_| mpsc::channel(WAITING)).unzip();
        let carried = join_all(batches.into_iter().map(|batches| appender.clone().run(batches)));
        (Self { channels, lanes }, async { drop(carried.await) })
    }

    /// Appends a batch and answers within little more than [`ANSWER`].
    pub async fn append(&self, events: &[Event]) -> Result<Vec<Appended>, BrokerError> {
        let mut parts: Vec<Vec<Entry>> = self.lanes.iter().map(|_| Vec::new()).collect();
        let mut order = Vec::with_capacity(events.len());
        for event in events {
            let channel = self.channels.get(event.channel);
            let id = if self.channels.clustered { event.id.as_str().into() } else { channel.id_key(&event.id).into() };
            let lane = event.channel.0 as usize % self.lanes.len();
            parts[lane].push(Entry { channel: event.channel, id, json: event.json.clone() });
            order.push(lane);
        }
        let parts = self.lanes.iter().zip(parts).map(async |(lane, events)| {
            if events.is_empty() {
                return Ok(Vec::new());
            }
            let (done, appended) = oneshot::channel();
            lane.send(Batch { events, done }).await.map_err(|_| closed())?;
            appended.await.map_err(|_| closed())?
        });
        let parts =
            tokio::time::timeout(ANSWER + SAYING, try_join_all(parts)).await.unwrap_or_else(|_| Err(silent()))?;
        let mut parts: Vec<_> = parts.into_iter().map(Vec::into_iter).collect();
        Ok(order.into_iter().filter_map(|lane| parts[lane].next()).collect())
    }
}

impl Appender {
    async fn run(self: Arc<Self>, mut waiting: mpsc::Receiver<Batch>) {
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
        let Some(first) = batches.iter().find_map(|batch| batch.events.first()) else {
            return Called { batches, reply: Ok(Value::Array(Vec::new())), sent: Sent::default() };
        };
        let key = &self.channels.get(first.channel).stream;
        let sent = Sent::default();
        let arguments = |connection| {
            self.channels.send(&sent, connection);
            self.arguments(&batches, connection)
        };
        let reply = self.commands.run(&self.script, key, arguments).await;
        Called { batches, reply, sent }
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
        let mut args = Vec::with_capacity(5 + channels.len() * 2 + batches.len() + count * 3);
        args.extend([
            number(channels.len() as u64),
            log_max_events(&self.limits),
            millis(self.limits.log_max_age),
            // Redis takes no time to live of 0.
            millis(self.limits.dedup_window.max(Duration::from_millis(1))),
            new_epoch(),
        ]);
        let in_hash = self.channels.clustered;
        for channel in channels.into_iter().map(|id| self.channels.get(id)) {
            keys.extend([channel.stream.as_str().into(), channel.meta.as_str().into()]);
            keys.extend(in_hash.then(|| channel.ids.as_str().into()));
            args.extend([channel.name.as_str().into(), channel.known.told_once(connection).into()]);
        }
        keys.extend(events().filter(|_| !in_hash).map(|event| event.id.clone().into()));
        for Batch { events, .. } in batches {
            args.push(number(events.len() as u64));
            for Entry { channel, id, json } in events {
                args.extend([numbers[channel].clone(), (&**json).into()]);
                args.extend(in_hash.then(|| id.clone().into()));
            }
        }
        (keys, args)
    }

    /// Tells each publisher what became of its batch, and the relay what was appended.
    fn answer(&self, Called { batches, reply, sent }: Called) {
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
                    self.outcome(events, refusal, positions, &sent)
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
        sent: &Sent,
    ) -> Result<Vec<Appended>, BrokerError> {
        let refusal = refusal.as_ref().and_then(Value::as_str).ok_or_else(unreadable)?;
        if !refusal.is_empty() {
            return Err(BrokerError::Unavailable(refusal.into_owned()));
        }
        let mut appended = Vec::with_capacity(events.len());
        for (Entry { channel, json, .. }, position) in events.into_iter().zip(positions) {
            let text = position.as_str().ok_or_else(unreadable)?;
            let before = text.strip_prefix('=');
            let position: Position = before.unwrap_or(&text).parse().map_err(|_| unreadable())?;
            // What was appended before may have been another event, with the same id.
            let event = before.is_none().then_some((position.offset, &json));
            let known = &self.channels.get(channel).known;
            let begun = known.learn(sent.number(), &position, event);
            known.stood(sent.connection());
            // Where there is no room, the relay finds it in the log.
            if before.is_none() {
                let _ = self.bus.try_send(Signal::Appended { channel, position: position.clone(), json });
            } else if begun {
                let _ = self.bus.try_send(Signal::Hint { channel, position: None });
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
