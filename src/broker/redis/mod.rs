//! Redis: a stream for each channel's log, pub/sub for the bus, and one script that appends and publishes.
//!
//! To a server there are two connections, one on which scripts run ([`server`], for publishers by way of [`appends`]) and
//! one that listens ([`bus`]); each is kept up by a [`link`]. In a cluster each master has such two, and [`cluster`] keeps
//! up who has which slots. What a position is worth is decided in the scripts alone, where Redis does one thing at a
//! time: this side knows only the newest that it has seen of each channel ([`fingerprint`]) and tells it with every call, so
//! that a log that lost events is found out before it gives their positions to others.

mod appends;
mod bus;
mod channels;
mod cluster;
mod commands;
mod link;
mod log_fingerprint;
mod nodes;
mod probe;
mod routes;
mod sentinel;
mod server;
mod slots;
mod store;
mod target;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fred::types::Value;
use fred::types::config::Server as Node;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use self::appends::Appends;
use self::bus::{Listener, Share};
use self::channels::{Channels, Sent};
use self::cluster::Cluster;
use self::commands::{Commands, Script, closed, unreadable};
use self::nodes::Registry;
use self::probe::Probe;
use self::routes::Routes;
use self::server::Server;
use self::store::RedisStore;
use self::target::{Access, Target};
use super::nodes::Nodes;
use super::{
    Appended, Backend, Bounds, BrokerError, Entry, Limits, Log, Notifier, PAGE_BYTES, Page, SIGNAL_CAPACITY, Signal,
    Signals, Store,
};
use crate::config::{BrokerConfig, Form, RedisUrl};
use crate::event::{Catalog, ChannelId, Epoch, Event, Moment, Position};

/// How long an answer of Redis may take. A publisher is told within 3 s that the broker is unavailable.
const ANSWER: Duration = Duration::from_secs(2);

struct Redis {
    commands: Arc<Commands>,
    channels: Arc<Channels>,
    probe: Arc<Probe>,
    appends: Appends,
    nodes: Registry,
    store: RedisStore,
    limits: Limits,
    /// Ends with the tasks.
    bus: mpsc::WeakSender<Signal>,
    read: Script,
    taken: Script,
    tasks: TaskTracker,
    /// Ends the tasks: when the broker is closed, and when it is dropped.
    closing: CancellationToken,
    _closing: DropGuard,
}

/// Opens the backend; needs a tokio runtime.
pub(super) fn open(
    url: &RedisUrl,
    config: &BrokerConfig,
    catalog: &Catalog,
    limits: Limits,
) -> Result<(Arc<dyn Backend>, Signals), String> {
    let site = Site::of(url)?;
    let clustered = url.form == Form::Cluster;
    let (sender, bus) = mpsc::channel(SIGNAL_CAPACITY);
    let channels = Arc::new(Channels::new(config, catalog, clustered));
    let (routes, known) = watch::channel(Routes::Unasked);
    let (look_up, asked) = mpsc::channel(1);
    let commands = Arc::new(Commands::new(known, clustered.then_some(look_up)));
    let probe = Arc::new(Probe::new(format!("{}{}", config.prefix, config.namespace), commands.clone()));
    let (appends, carried) = Appends::new(channels.clone(), commands.clone(), limits.clone(), sender.clone());
    let (tasks, closing) = (TaskTracker::new(), CancellationToken::new());
    let spawn = |task: BoxFuture<'static, ()>| {
        tasks.spawn(closing.clone().run_until_cancelled_owned(task));
    };
    spawn(carried.boxed());
    let weak = sender.downgrade();
    let listener = Listener::new(&channels, commands.clone(), probe.clone(), sender);
    match site {
        Site::Server(target, followed) => {
            let (server, kept_up) = Server::new(target.clone());
            routes.send_replace(Routes::One(Arc::new(server)));
            let all = channels.iter().map(|(_, channel)| channel.name.clone()).collect();
            let (_, share) = watch::channel(Share { channels: all, probe: probe.own_key() });
            spawn(kept_up.boxed());
            spawn(listener.listen(target, share).boxed());
            followed.map(spawn);
        }
        Site::Cluster(access, seeds) => {
            let cluster = Cluster::new(access, seeds, channels.clone(), probe.clone(), listener, routes);
            spawn(cluster.follow(asked).boxed());
        }
    }
    tasks.close();
    let redis = Redis {
        nodes: Registry::new(config, commands.clone()),
        store: RedisStore::new(config, clustered, commands.clone(), closing.clone()),
        commands,
        channels,
        probe,
        appends,
        limits,
        bus: weak,
        read: Script::new(concat!(include_str!("log.lua"), include_str!("read.lua"))),
        taken: Script::new(concat!(include_str!("log.lua"), include_str!("taken.lua"))),
        tasks,
        _closing: closing.clone().drop_guard(),
        closing,
    };
    Ok((Arc::new(redis), bus))
}

/// Whether [`open`] would take this URL.
pub(super) fn check(url: &RedisUrl) -> Result<(), String> {
    Site::of(url).map(drop)
}

/// Where Redis is.
enum Site {
    /// One server, and what has to run for it to stay known where that is.
    Server(Target, Option<BoxFuture<'static, ()>>),
    /// How to get into each node of a cluster, and the nodes to ask first.
    Cluster(Access, Vec<Node>),
}

impl Site {
    fn of(url: &RedisUrl) -> Result<Self, String> {
        match url.form {
            Form::Server | Form::Socket => Ok(Self::Server(Target::new(url)?, None)),
            Form::Sentinel => {
                let (target, followed) = sentinel::follow(url)?;
                Ok(Self::Server(target, Some(followed.boxed())))
            }
            Form::Cluster => {
                let seeds = url.servers.iter().map(|(host, port)| Node::new(host.as_str(), *port));
                Ok(Self::Cluster(Access::of(url)?, seeds.collect()))
            }
        }
    }
}

#[async_trait]
impl Log for Redis {
    async fn append(&self, events: &[Event]) -> Result<Vec<Appended>, BrokerError> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        self.appends.append(events).await
    }

    async fn read(&self, id: ChannelId, known: Option<&Position>, limit: usize) -> Result<Page, BrokerError> {
        let channel = self.channels.get(id);
        let sent = Sent::default();
        let arguments = |connection| {
            self.channels.send(&sent, connection);
            let keys = vec![channel.stream.as_str().into(), channel.meta.as_str().into()];
            let (epoch, offset) = known.map_or(("", 0), |known| (known.epoch.as_str(), known.offset));
            let args = vec![
                new_epoch(),
                channel.known.told_once(connection).into(),
                log_max_events(&self.limits),
                millis(self.limits.log_max_age),
                epoch.into(),
                number(offset),
                number(limit as u64),
                number(PAGE_BYTES as u64),
            ];
            (keys, args)
        };
        let reply = self.commands.run(&self.read, &channel.stream, arguments).await?;
        let Value::Array(reply) = reply else { return Err(unreadable()) };
        let mut reply = reply.into_iter();
        let epoch: Epoch = parsed(reply.next())?;
        let head = parsed(reply.next())?;
        let oldest = parsed(reply.next())?;
        let first: u64 = parsed(reply.next())?;
        let mut entries = (first..)
            .zip(reply)
            .map(|(offset, json)| Ok(Entry { offset, json: json.as_str().ok_or_else(unreadable)?.into() }))
            .collect::<Result<Vec<_>, BrokerError>>()?;
        let events = entries.iter().map(|entry| (entry.offset, &entry.json));
        let begun = channel.known.learn(sent.number(), &Position::new(epoch.clone(), head), events);
        channel.known.stood(sent.connection());
        if begun {
            self.tell(id).await;
        }
        if known.is_none() {
            // The newest, which are for ourselves.
            entries.clear();
        }
        Ok(Page { bounds: Bounds { epoch, head, oldest }, entries })
    }

    async fn position_at(&self, id: ChannelId, from: Moment) -> Result<Position, BrokerError> {
        let channel = self.channels.get(id);
        let sent = Sent::default();
        let arguments = |connection| {
            self.channels.send(&sent, connection);
            let keys = vec![channel.stream.as_str().into(), channel.meta.as_str().into()];
            let (at, ago) = match from {
                Moment::At(millis) => (millis.to_string(), String::new()),
                Moment::Ago(age) => (String::new(), age.as_millis().to_string()),
            };
            let (events, age) = (log_max_events(&self.limits), millis(self.limits.log_max_age));
            (keys, vec![new_epoch(), channel.known.told_once(connection).into(), events, age, at.into(), ago.into()])
        };
        let reply = self.commands.run(&self.taken, &channel.stream, arguments).await?;
        let position = parsed(Some(reply))?;
        if channel.known.learn(sent.number(), &position, None) {
            self.tell(id).await;
        }
        Ok(position)
    }
}

#[async_trait]
impl Notifier for Redis {
    async fn probe(&self, number: u64) -> Result<(), BrokerError> {
        // A connection may live a moment longer than its task.
        if self.closing.is_cancelled() {
            return Err(closed());
        }
        self.probe.send(number).await
    }

    fn came_back_in_part(&self, probe: u64) -> bool {
        self.probe.came_back_in_part(probe)
    }
}

#[async_trait]
impl Backend for Redis {
    fn nodes(&self) -> &dyn Nodes {
        &self.nodes
    }

    fn store(&self) -> &dyn Store {
        &self.store
    }

    async fn close(&self) {
        self.closing.cancel();
        self.tasks.wait().await;
    }
}

impl Redis {
    /// Has the relay look at a log that is another since somebody asked about it: its subscribers know nothing of that.
    async fn tell(&self, channel: ChannelId) {
        if let Some(bus) = self.bus.upgrade() {
            let _ = bus.send(Signal::Hint { channel, position: None }).await;
        }
    }
}

fn new_epoch() -> Value {
    Epoch::random().as_str().into()
}

fn log_max_events(limits: &Limits) -> Value {
    number(limits.log_max_events.max(1))
}

fn number(number: u64) -> Value {
    number.to_string().into()
}

fn millis(duration: Duration) -> Value {
    duration.as_millis().to_string().into()
}

fn parsed<T: std::str::FromStr>(value: Option<Value>) -> Result<T, BrokerError> {
    value.and_then(|value| value.as_str()?.parse().ok()).ok_or_else(unreadable)
}
