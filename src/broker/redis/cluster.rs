//! Follows a Redis Cluster: keeps the [`Routes`] up to date, and connections to each master open.
//!
//! One node is polled for its view of the cluster, and asked at once when another node redirects a call. Views are ordered
//! by the cluster's epoch, so a partitioned node cannot bring back old routes. A master that has channels of the bus also
//! has a subscriber connection and takes part in the probe.

use std::collections::{HashMap, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use fred::types::config::Server as Node;
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use super::BrokerError;
use super::attempts::Pulse;
use super::channels::Channels;
use super::link::{Connection, Link, SignsOfLife};
use super::listener::{Listener, Subscriptions};
use super::probe::{Probe, ProbeTarget};
use super::routes::{Routes, slot};
use super::server::Server;
use super::slots::ClusterView;
use super::target::{ConnectOptions, Target};
use super::tasks::Tasks;

/// Between two polls while a master is not connected, if the pulse is not shorter.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// The shortest time between two polls, however many are requested.
const MIN_POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The connections to a cluster.
pub(super) struct Cluster {
    options: ConnectOptions,
    /// Between two polls, if nobody requests one earlier.
    pulse: Pulse,
    /// The nodes in the configuration.
    seeds: Vec<Node>,
    /// The nodes to poll next, if the polled one fails.
    candidates: VecDeque<Node>,
    channels: Arc<Channels>,
    probe: Arc<Probe>,
    listener: Listener,
    routes: watch::Sender<Routes>,
    /// The newest view that was accepted.
    view: ClusterView,
    masters: HashMap<Node, Master>,
    tasks: Tasks,
}

/// One master and its connections.
struct Master {
    server: Arc<Server>,
    subscriptions: watch::Sender<Subscriptions>,
    /// The tasks that keep the two connections open.
    _tasks: [AbortOnDropHandle<()>; 2],
}

impl Cluster {
    pub fn new(
        options: ConnectOptions,
        seeds: Vec<Node>,
        channels: Arc<Channels>,
        probe: Arc<Probe>,
        listener: Listener,
        routes: watch::Sender<Routes>,
        tasks: Tasks,
    ) -> Self {
        let view = ClusterView { epoch: 0, masters: Vec::new(), nodes: Vec::new() };
        let candidates = seeds.iter().cloned().collect();
        let pulse = listener.pulse.clone();
        Self {
            options,
            pulse,
            seeds,
            candidates,
            channels,
            probe,
            listener,
            routes,
            view,
            masters: HashMap::new(),
            tasks,
        }
    }

    /// Follows the cluster while this is polled. A message in `requests` asks for a poll at once, of this node if one is
    /// given.
    pub async fn follow(mut self, mut requests: mpsc::Receiver<Option<Node>>) {
        let mut link = None;
        let mut failure = None;
        loop {
            let Some(node) = self.candidates.pop_front() else {
                // All nodes failed, or know only an older epoch. The cluster may have been set up anew, so the next view
                // is accepted whatever its epoch.
                self.view.epoch = 0;
                // Calls fail here now. In a cluster that is down, each call to a master would end fred's connection.
                let cause = failure.take();
                let cause =
                    cause.unwrap_or_else(|| BrokerError::Unavailable("no node of the cluster has answered".into()));
                self.routes.send_replace(Routes::Unknown(cause));
                self.probe.set_targets(Vec::new());
                self.candidates.extend(self.view.nodes.iter().chain(&self.seeds).cloned());
                continue;
            };
            let target = Target::at(&self.options, node.clone());
            let link = link.get_or_insert_with(|| Link::new(target.clone(), "topology", 1).or_replica());
            link.set_target(target);
            match link.connect().await {
                Ok(connection) => match self.poll(link, connection, &node, &mut requests).await {
                    Ok(other) => self.candidates.push_front(other),
                    Err(error) => {
                        link.failed(&error.to_string());
                        failure = Some(error);
                    }
                },
                // What a node says about the cluster explains more than a node that cannot be reached.
                Err(error) if failure.is_none() => failure = Some(error.at(&node)),
                Err(_) => {}
            }
        }
    }

    /// Polls one node until a poll of another node is requested, which is returned, or until this one fails.
    async fn poll(
        &mut self,
        link: &mut Link,
        mut connection: Connection,
        node: &Node,
        requests: &mut mpsc::Receiver<Option<Node>>,
    ) -> Result<Node, BrokerError> {
        let client = connection.client.clone();
        let (mut established, signs) = (false, SignsOfLife::after_each(self.pulse.interval));
        loop {
            let view = ClusterView::query(&client, node).await?;
            signs.proved();
            if view.epoch < self.view.epoch {
                return Err(BrokerError::Unavailable(
                    "the node knows an older state of the cluster than others".into(),
                ));
            }
            if !std::mem::replace(&mut established, true) {
                link.established();
            }
            self.candidates = view.nodes.iter().chain(&self.seeds).filter(|other| *other != node).cloned().collect();
            self.apply(view);
            tokio::time::sleep(MIN_POLL_INTERVAL).await;
            tokio::select! {
                () = tokio::time::sleep(self.pulse.interval) => {}
                () = self.disconnected() => {}
                Some(other) = requests.recv() => match other {
                    Some(other) if other != *node => return Ok(other),
                    _ => {}
                },
                cause = connection.ended(&signs) => return Err(BrokerError::Unavailable(cause)),
            }
        }
    }

    /// Waits until a master is not connected for a while: another one may have its slots.
    async fn disconnected(&self) {
        loop {
            tokio::time::sleep(RETRY_INTERVAL).await;
            if self.masters.values().any(|master| !master.server.is_connected()) {
                return;
            }
        }
    }

    /// Accepts a view. If the slots changed, connects to new masters, drops old ones, and publishes new routes.
    fn apply(&mut self, view: ClusterView) {
        let known = matches!(&*self.routes.borrow(), Routes::Slots(_));
        let changed = !known || view.masters != self.view.masters;
        let old_view = std::mem::replace(&mut self.view, view);
        if !changed {
            return;
        }
        let mut old_masters = std::mem::take(&mut self.masters);
        for (_, node) in &self.view.masters {
            if !self.masters.contains_key(node) {
                let master = old_masters.remove(node).unwrap_or_else(|| self.connect(node));
                self.masters.insert(node.clone(), master);
            }
        }
        // A master that took over slots from one that is gone was promoted.
        for (slots, node) in &self.view.masters {
            let mut old_ranges = old_view.masters.iter();
            if old_ranges.any(|(range, before)| !self.masters.contains_key(before) && overlap(range, slots)) {
                self.masters[node].server.promoted();
            }
        }
        let route = |(slots, node): &(RangeInclusive<u16>, Node)| (slots.clone(), self.masters[node].server.clone());
        self.routes.send_replace(Routes::Slots(self.view.masters.iter().map(route).collect()));
        self.assign_channels();
        tracing::info!(masters = self.masters.len(), epoch = self.view.epoch, "the cluster's slots are known");
    }

    /// Subscribes at each master to the channels in its slots, and sends the probe through the masters that have some.
    fn assign_channels(&self) {
        let mut by_node: HashMap<&Node, Subscriptions> = HashMap::new();
        let channel_slots: Vec<_> = self.channels.iter().map(|(_, channel)| slot(&channel.name)).collect();
        for ((_, channel), slot) in self.channels.iter().zip(&channel_slots) {
            if let Some((_, node)) = self.view.masters.iter().find(|(slots, _)| slots.contains(slot)) {
                by_node.entry(node).or_default().channels.extend(channel.subscriptions());
            }
        }
        for (node, subscriptions) in &mut by_node {
            let ranges = self.view.masters.iter().filter(|(_, master)| master == *node);
            let ranges: Vec<_> = ranges.map(|(slots, _)| slots.clone()).collect();
            let current = self.masters[*node].subscriptions.borrow().probe_key.clone();
            subscriptions.probe_key = self.probe.key_in(&ranges, &channel_slots, &current);
        }
        let targets = by_node.iter().map(|(node, subscriptions)| ProbeTarget {
            server: Some(node.to_string()),
            key: subscriptions.probe_key.clone(),
        });
        self.probe.set_targets(targets.collect());
        for (node, master) in &self.masters {
            let subscriptions = by_node.remove(node).unwrap_or_default();
            master.server.set_probed(!subscriptions.channels.is_empty());
            master.subscriptions.send_if_modified(|before| {
                let changed = *before != subscriptions;
                *before = subscriptions;
                changed
            });
        }
    }

    /// Opens the two connections to a master.
    fn connect(&self, node: &Node) -> Master {
        let target = Target::at(&self.options, node.clone());
        let (server, keep_connected) = Server::new(target.clone(), self.pulse.clone());
        let (subscriptions, changes) = watch::channel(Subscriptions::default());
        let listen = self.listener.clone().listen(target, changes);
        let tasks = [self.tasks.spawn("connection", keep_connected), self.tasks.spawn("listener", listen)];
        let tasks = tasks.map(AbortOnDropHandle::new);
        Master { server: Arc::new(server), subscriptions, _tasks: tasks }
    }
}

fn overlap(some: &RangeInclusive<u16>, others: &RangeInclusive<u16>) -> bool {
    some.start() <= others.end() && others.start() <= some.end()
}
