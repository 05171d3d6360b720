//! The Redis backend: a stream for each channel's log, pub/sub for signals, and one Lua script that appends and publishes.
//!
//! Commands go to a server over a [`transport`]: the Redis protocol, or the [REST interface](rest) of Upstash. With the
//! first, each server has two connections, which a [`link`] keeps open: one runs scripts ([`server`]; appends come through
//! the queue in [`appends`], reads through [`reads`] and [`latest`]), the other subscribes ([`listener`]). In a cluster each
//! master has these two, and [`cluster`] follows which master has which slots.
//!
//! Only the scripts assign positions, because Redis runs them one at a time. This node sends with each call what it knows
//! of the log ([`log_fingerprint`]). So a script detects that the log lost events before it gives their positions to other
//! events. [`errors`] classifies everything that can go wrong.

mod announcements;
mod appends;
mod attempts;
mod calls_in_flight;
mod channels;
mod cluster;
mod commands;
mod errors;
mod examine;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod heads;
mod internal;
mod latest;
mod learner;
mod link;
mod listener;
mod log_fingerprint;
mod nodes;
mod nonces;
mod probe;
mod probe_log;
mod pub_sub;
mod reads;
mod rest;
mod rights;
mod routes;
mod same_server;
mod sentinel;
mod sentinel_replies;
mod server;
mod slots;
mod store;
mod target;
mod tasks;
mod tls;
mod transport;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fred::types::Value;
use fred::types::config::Server as Node;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::DropGuard;

use self::announcements::Announcements;
use self::appends::Appends;
use self::attempts::Pulse;
use self::channels::Channels;
use self::cluster::Cluster;
use self::commands::{Commands, unreadable};
use self::errors::is_no_master;
use self::heads::Heads;
use self::internal::InternalChannels;
use self::latest::LatestReads;
use self::learner::Learner;
use self::listener::{Listener, Subscriptions};
use self::nodes::Registry;
use self::probe::{Probe, ProbeTarget};
use self::reads::Reads;
use self::rest::Rest;
use self::rights::advised;
use self::routes::Routes;
use self::server::Server;
use self::store::RedisStore;
use self::target::{ConnectOptions, Target};
use self::tasks::Tasks;
use super::examination::{Finding, IdleNode};
use super::nodes::Nodes;
use super::{
    Appended, Backend, BrokerError, FoundHeads, Head, Latest, LatestOf, LatestPage, LatestTally, Limits, Located, Log,
    Notifier, PAGE_BYTES, Page, Retention, SIGNAL_CAPACITY, Signal, Signals, Store,
};
use crate::config::{BrokerConfig, Form, RedisUrl};
use crate::event::{Catalog, ChannelId, Epoch, Event, Moment, Position};

pub use self::pub_sub::{NO_REST, PubSub, PubSubConnection, Received};
pub use self::same_server::compare;

/// How long a call may take, with all its attempts. A publisher gets its response within 3 s.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// The backend.
struct Redis {
    heads: Arc<Heads>,
    probe: Arc<Probe>,
    appends: Appends,
    reads: Reads,
    latest: LatestReads,
    announcements: Announcements,
    nodes: Registry,
    store: RedisStore,
    /// The setting `prefix`.
    prefix: String,
    pulse: Pulse,
    commands: Arc<Commands>,
    tasks: Tasks,
    /// Closes the backend when it is dropped.
    _closing: DropGuard,
}

/// Opens the backend; needs a tokio runtime.
pub(super) fn open(
    url: &RedisUrl,
    config: &BrokerConfig,
    catalog: &Catalog,
    limits: Limits,
) -> Result<(Arc<dyn Backend>, Signals), String> {
    let (redis, signals) = start(url, config, catalog, limits)?;
    Ok((Arc::new(redis), signals))
}

/// Opens the backend, and finds out what its servers have and lack.
///
/// # Errors
/// As [`check`].
pub(super) async fn examine(
    url: &RedisUrl,
    config: &BrokerConfig,
    catalog: &Catalog,
    limits: Limits,
    idle: &IdleNode,
) -> Result<Vec<Finding>, String> {
    let (redis, _signals) = start(url, config, catalog, limits)?;
    let findings = redis.examine(idle).await;
    redis.close().await;
    Ok(findings)
}

fn start(url: &RedisUrl, config: &BrokerConfig, catalog: &Catalog, limits: Limits) -> Result<(Redis, Signals), String> {
    let topology = Topology::of(url)?;
    let clustered = url.form == Form::Cluster;
    let keeps_order = url.form != Form::Rest;
    let (sender, signals) = mpsc::channel(SIGNAL_CAPACITY);
    let channels = Arc::new(Channels::new(config, catalog, &limits, clustered));
    let (routes, known_routes) = watch::channel(Routes::Pending);
    let (request_routes, route_requests) = mpsc::channel(1);
    let commands = Arc::new(Commands::new(known_routes, clustered.then_some(request_routes)));
    let heads = Arc::new(Heads::new(channels.clone(), commands.clone()));
    let internal = Arc::<InternalChannels>::default();
    let probe = Probe::new(
        &config.prefix,
        &config.namespace,
        clustered,
        limits.each().any(|retention| retention.latest.is_some()),
        commands.clone(),
        heads.clone(),
        internal.clone(),
    );
    let probe = Arc::new(probe);
    let (appends, send_appends) = Appends::new(
        channels.clone(),
        commands.clone(),
        limits.clone(),
        config.bus_message,
        keeps_order,
        sender.clone(),
    );
    let pulse = Pulse::each(config.pulse);
    let tasks = Tasks::new();
    tasks.spawn("appends", send_appends);
    let learner = Learner::new(channels.clone(), commands.clone(), sender.downgrade());
    tasks.spawn("nonces", learner.run());
    let listener = Listener::new(&channels, commands.clone(), probe.clone(), internal.clone(), sender, pulse.clone());
    match topology {
        Topology::Server(target, follow_sentinels) => {
            let (server, keep_connected) = Server::new(target.clone(), pulse.clone());
            routes.send_replace(Routes::Single(Arc::new(server)));
            let all = channels.iter().flat_map(|(_, channel)| channel.subscriptions()).collect();
            let subscriptions = Subscriptions { channels: all, probe_key: probe.single_key() };
            probe.set_targets(vec![ProbeTarget { server: None, key: probe.single_key() }]);
            tasks.spawn("connection", keep_connected);
            tasks.spawn("listener", listener.listen(target, watch::channel(subscriptions).1));
            follow_sentinels.map(|follow| tasks.spawn("sentinels", follow));
        }
        Topology::Rest(rest) => {
            let server = Server::unconnected(rest.clone(), pulse.clone());
            routes.send_replace(Routes::Single(Arc::new(server)));
            let all = channels.iter().flat_map(|(_, channel)| channel.subscriptions()).collect();
            let subscriptions = Subscriptions { channels: all, probe_key: probe.single_key() };
            probe.set_targets(vec![ProbeTarget { server: None, key: probe.single_key() }]);
            tasks.spawn("listener", listener.listen_over_rest(rest, subscriptions));
        }
        Topology::Cluster(options, seeds) => {
            let cluster =
                Cluster::new(options, seeds, channels.clone(), probe.clone(), listener, routes, tasks.clone());
            tasks.spawn("cluster", cluster.follow(route_requests));
        }
    }
    let redis = Redis {
        nodes: Registry::new(config, commands.clone()),
        store: RedisStore::new(config, clustered, commands.clone(), tasks.closing.clone()),
        latest: LatestReads::new(channels.clone(), commands.clone(), limits.clone()),
        reads: Reads::new(channels.clone(), commands.clone(), limits),
        announcements: Announcements::new(channels.clone(), commands.clone(), internal),
        heads,
        probe,
        appends,
        prefix: config.prefix.clone(),
        pulse,
        commands,
        _closing: tasks.closing.clone().drop_guard(),
        tasks,
    };
    Ok((redis, signals))
}

/// Whether [`open`] accepts this URL.
///
/// # Errors
/// What is wrong with it, as a sentence without its passwords.
pub(super) fn check(url: &RedisUrl) -> Result<(), String> {
    Topology::of(url).map(drop)
}

/// How Redis is deployed, by the form of the URL.
enum Topology {
    /// One server. With Sentinel, the future finds it while it is polled.
    Server(Target, Option<BoxFuture<'static, ()>>),
    /// One database behind the REST interface.
    Rest(Arc<Rest>),
    /// A cluster: the options for each node, and the nodes to ask first.
    Cluster(ConnectOptions, Vec<Node>),
}

impl Topology {
    fn of(url: &RedisUrl) -> Result<Self, String> {
        match url.form {
            Form::Server | Form::Socket => Ok(Self::Server(Target::new(url)?, None)),
            Form::Sentinel => {
                let (target, follow_sentinels) = sentinel::follow(url)?;
                Ok(Self::Server(target, Some(follow_sentinels.boxed())))
            }
            Form::Rest => Ok(Self::Rest(Arc::new(Rest::new(url)?))),
            Form::Cluster => {
                let seeds = url.servers.iter().map(|(host, port)| Node::new(host.as_str(), *port));
                Ok(Self::Cluster(ConnectOptions::of(url)?, seeds.collect()))
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
        self.appends.append(events).await.map_err(|error| self.explain(error))
    }

    async fn read(&self, id: ChannelId, known: Option<&Position>, limit: usize) -> Result<Page, BrokerError> {
        self.reads.page(id, known, limit, false).await.map_err(|error| self.explain(error))
    }

    async fn read_after_delivered(
        &self,
        id: ChannelId,
        delivered: &Position,
        limit: usize,
    ) -> Result<Page, BrokerError> {
        self.reads.page(id, Some(delivered), limit, true).await.map_err(|error| self.explain(error))
    }

    async fn position_at(&self, id: ChannelId, moment: Moment) -> Result<Located, BrokerError> {
        self.reads.position_at(id, moment).await.map_err(|error| self.explain(error))
    }

    async fn heads(&self) -> Vec<(ChannelId, Head)> {
        if self.tasks.closing.is_cancelled() {
            return Vec::new();
        }
        self.heads.all().await
    }
}

#[async_trait]
impl Latest for Redis {
    fn keeps_latest(&self, id: ChannelId) -> bool {
        self.latest.retention(id).is_some()
    }

    async fn latest(&self, id: ChannelId, subject: &str) -> Result<LatestOf, BrokerError> {
        self.latest.of_subject(id, subject).await.map_err(|error| self.explain(error))
    }

    async fn latest_page(&self, id: ChannelId, after: u64, limit: usize) -> Result<LatestPage, BrokerError> {
        self.latest.page(id, after, limit).await.map_err(|error| self.explain(error))
    }

    fn latest_tally(&self, id: ChannelId) -> &LatestTally {
        self.latest.tally(id)
    }
}

#[async_trait]
impl Notifier for Redis {
    async fn probe(&self, number: u64) -> Result<(), BrokerError> {
        // A connection may outlive its task for a moment, and must not be used then.
        if self.tasks.closing.is_cancelled() {
            return Err(BrokerError::closed());
        }
        self.probe.send(number, None).await
    }

    fn returned_from_any_server(&self, probe: u64) -> bool {
        self.probe.returned_from_any_server(probe)
    }

    async fn announce(&self, channel: ChannelId, text: &str) -> Result<(), BrokerError> {
        if self.tasks.closing.is_cancelled() {
            return Err(BrokerError::closed());
        }
        self.announcements.send(channel, text).await
    }
}

#[async_trait]
impl Backend for Redis {
    async fn pulse(&self, number: u64, found: &FoundHeads<'_>) -> Result<(), BrokerError> {
        if self.tasks.closing.is_cancelled() {
            return Err(BrokerError::closed());
        }
        self.probe.send(number, Some(found)).await
    }

    async fn pulse_due(&self) {
        self.pulse.due().await;
    }

    fn nodes(&self) -> &dyn Nodes {
        &self.nodes
    }

    fn latest(&self) -> &dyn Latest {
        self
    }

    fn store(&self) -> &dyn Store {
        &self.store
    }

    async fn close(&self) {
        self.tasks.close().await;
    }
}

impl Redis {
    /// Adds to a refusal what to do about it, and has the next probe look for a missing right. A server that says that it is
    /// no master is checked now.
    fn explain(&self, error: BrokerError) -> BrokerError {
        match &error {
            BrokerError::Rejected(_) => self.probe.call_refused(),
            BrokerError::Unavailable(cause) if is_no_master(cause) => self.commands.doubt(),
            _ => {}
        }
        advised(error, &self.prefix)
    }
}

/// An unused epoch, for a script that must begin one.
fn new_epoch() -> Value {
    Epoch::random().as_str().into()
}

fn max_events(retention: Retention) -> Value {
    number(retention.max_events.max(1))
}

/// A number as a script argument.
fn number(number: u64) -> Value {
    number.to_string().into()
}

/// A duration in milliseconds as a script argument.
fn millis(duration: Duration) -> Value {
    duration.as_millis().to_string().into()
}

/// The largest offset: scripts count with Lua's numbers, which are doubles.
const MAX_OFFSET: u64 = 1 << 53;

/// Parses an offset in a script's reply. A larger one is in no log that scripts have written.
fn offset(value: Option<Value>) -> Result<u64, BrokerError> {
    parsed(value).and_then(|offset| if offset <= MAX_OFFSET { Ok(offset) } else { Err(unreadable()) })
}

/// Parses a field of a script's reply.
fn parsed<T: std::str::FromStr>(value: Option<Value>) -> Result<T, BrokerError> {
    value.and_then(|value| value.as_str()?.parse().ok()).ok_or_else(unreadable)
}
