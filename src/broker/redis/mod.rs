//! Redis: a stream for each channel's log, pub/sub for the bus, and one script that appends and publishes.
//!
//! There are two connections, one on which scripts run ([`commands`]) and one that listens ([`bus`]); each is kept up by a
//! [`link`]. What a position is worth is decided in the scripts alone, where Redis does one thing at a time: this side
//! knows only the newest position that it has seen of each channel ([`channels`]) and tells it with every call, so that a
//! log that lost events is found out before it gives their positions to others.

mod bus;
mod canary;
mod channels;
mod commands;
mod link;
mod target;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fred::types::{Key, Value};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use url::Url;

use self::bus::Listener;
use self::canary::Canary;
use self::channels::{Channel, Channels};
use self::commands::{Commands, Script, unreadable};
use self::target::Target;
use super::{Appended, BUS_CAPACITY, Broker, Bus, Entry, Limits, PAGE_BYTES, Page, Signal, Unavailable};
use crate::config::BrokerConfig;
use crate::event::{Catalog, ChannelId, Epoch, Event, Position};

/// How long an answer of Redis may take. A publisher is told within 3 s that the broker is unavailable.
const ANSWER: Duration = Duration::from_secs(2);

struct Redis {
    commands: Arc<Commands>,
    channels: Channels,
    canary: Arc<Canary>,
    limits: Limits,
    append: Script,
    read: Script,
    tasks: TaskTracker,
    /// Ends the tasks: when the broker is closed, and when it is dropped.
    closing: CancellationToken,
    _closing: DropGuard,
}

/// Opens the backend; needs a tokio runtime.
pub(super) fn open(
    url: &Url,
    config: &BrokerConfig,
    catalog: &Catalog,
    limits: Limits,
) -> Result<(Arc<dyn Broker>, Bus), String> {
    let target = Target::new(url)?;
    let (sender, bus) = mpsc::channel(BUS_CAPACITY);
    let channels = Channels::new(config, catalog);
    let (commands, kept_up) = Commands::new(target.clone());
    let commands = Arc::new(commands);
    let canary = Arc::new(Canary::new(config, commands.clone()));
    let listener = Listener::new(&channels, canary.clone(), sender);
    let (tasks, closing) = (TaskTracker::new(), CancellationToken::new());
    tasks.spawn(closing.clone().run_until_cancelled_owned(kept_up));
    tasks.spawn(closing.clone().run_until_cancelled_owned(listener.listen(target)));
    tasks.close();
    let redis = Redis {
        commands,
        channels,
        canary,
        limits,
        append: Script::new(concat!(include_str!("log.lua"), include_str!("append.lua"))),
        read: Script::new(concat!(include_str!("log.lua"), include_str!("read.lua"))),
        tasks,
        _closing: closing.clone().drop_guard(),
        closing,
    };
    Ok((Arc::new(redis), bus))
}

/// Whether [`open`] would take this URL.
pub(super) fn check(url: &Url) -> Result<(), String> {
    Target::new(url).map(drop)
}

#[async_trait]
impl Broker for Redis {
    async fn append(&self, events: &[Event]) -> Result<Vec<Appended>, Unavailable> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let (keys, args) = self.append_call(events);
        let reply = self.commands.run(&self.append, keys, args).await?;
        let Value::Array(reply) = reply else { return Err(unreadable()) };
        if reply.len() != events.len() * 2 {
            return Err(unreadable());
        }
        let mut reply = reply.into_iter();
        let mut appended = Vec::with_capacity(events.len());
        for event in events {
            let position: Position = parsed(reply.next())?;
            let duplicate = reply.next().and_then(|flag| flag.as_i64()) == Some(1);
            self.channels.get(event.channel).learn(&position);
            appended.push(Appended { position, duplicate });
        }
        Ok(appended)
    }

    async fn read(&self, id: ChannelId, known: Option<&Position>, limit: usize) -> Result<Page, Unavailable> {
        let channel = self.channels.get(id);
        let keys = vec![channel.stream.as_str().into(), channel.meta.as_str().into()];
        let [epoch, offset] = known_args(known);
        let args = vec![
            new_epoch(),
            self.log_max_events(),
            millis(self.limits.log_max_age),
            epoch,
            offset,
            number(limit as u64),
            number(PAGE_BYTES as u64),
        ];
        let reply = self.commands.run(&self.read, keys, args).await?;
        let Value::Array(reply) = reply else { return Err(unreadable()) };
        let mut reply = reply.into_iter();
        let epoch: Epoch = parsed(reply.next())?;
        let head = parsed(reply.next())?;
        let oldest = parsed(reply.next())?;
        let first: u64 = parsed(reply.next())?;
        let entries = (first..)
            .zip(reply)
            .map(|(offset, json)| Ok(Entry { offset, json: json.into_string().ok_or_else(unreadable)? }))
            .collect::<Result<_, Unavailable>>()?;
        channel.learn(&Position::new(epoch.clone(), head));
        Ok(Page { epoch, head, oldest, entries })
    }

    async fn canary(&self, number: u64) -> Result<(), Unavailable> {
        self.canary.send(number).await
    }

    async fn close(&self) {
        self.closing.cancel();
        self.tasks.wait().await;
    }
}

impl Redis {
    /// Keys and arguments of the append script; see there.
    fn append_call(&self, events: &[Event]) -> (Vec<Key>, Vec<Value>) {
        let mut numbers = HashMap::new();
        let mut channels: Vec<&Channel> = Vec::new();
        let of_event: Vec<u64> = events
            .iter()
            .map(|event| {
                *numbers.entry(event.channel).or_insert_with(|| {
                    channels.push(self.channels.get(event.channel));
                    channels.len() as u64
                })
            })
            .collect();
        let mut keys = Vec::with_capacity(channels.len() * 2 + events.len());
        let mut args = Vec::with_capacity(5 + channels.len() * 3 + events.len() * 2);
        args.extend([
            number(channels.len() as u64),
            self.log_max_events(),
            millis(self.limits.log_max_age),
            // Redis takes no time to live of 0.
            millis(self.limits.dedup_window.max(Duration::from_millis(1))),
            new_epoch(),
        ]);
        for channel in channels {
            keys.extend([channel.stream.as_str().into(), channel.meta.as_str().into()]);
            args.push(channel.name.as_str().into());
            args.extend(known_args(channel.known().as_ref()));
        }
        for (event, channel) in events.iter().zip(of_event) {
            keys.push(self.channels.get(event.channel).id_key(&event.id).into());
            args.extend([number(channel), (&*event.json).into()]);
        }
        (keys, args)
    }

    fn log_max_events(&self) -> Value {
        number(self.limits.log_max_events.max(1))
    }
}

fn new_epoch() -> Value {
    Epoch::random().as_str().into()
}

fn known_args(known: Option<&Position>) -> [Value; 2] {
    match known {
        Some(position) => [position.epoch.as_str().into(), number(position.offset)],
        None => ["".into(), number(0)],
    }
}

fn number(number: u64) -> Value {
    number.to_string().into()
}

fn millis(duration: Duration) -> Value {
    duration.as_millis().to_string().into()
}

fn parsed<T: std::str::FromStr>(value: Option<Value>) -> Result<T, Unavailable> {
    value.and_then(|value| value.as_str()?.parse().ok()).ok_or_else(unreadable)
}
