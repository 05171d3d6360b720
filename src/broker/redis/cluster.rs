//! A cluster: which master has which slots, looked up again and again, and connections to each master.
//!
//! One node is asked every second, and at once when another says that a slot is not where it was thought to be. Views are
//! ordered by the cluster's own epoch: a node that was cut off from the others does not take the routes back. What a
//! master has to do with channels (a connection that listens, the probe) it has for as long as it has slots of channels.

use std::collections::{HashMap, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use fred::types::config::Server as Node;
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use super::bus::{Listener, Share};
use super::channels::Channels;
use super::link::{Connection, Link};
use super::probe::{Post, Probe};
use super::routes::{Routes, slot};
use super::server::Server;
use super::slots::View;
use super::target::{Access, Target};

/// Between two looks, where nobody asks for one.
const LOOK: Duration = Duration::from_secs(1);
/// Between two looks at least, however many ask for them.
const PAUSE: Duration = Duration::from_millis(20);

pub(super) struct Cluster {
    access: Access,
    /// The nodes that the configuration names.
    seeds: Vec<Node>,
    /// The nodes to ask where the one that is asked fails.
    next: VecDeque<Node>,
    channels: Arc<Channels>,
    probe: Arc<Probe>,
    listener: Listener,
    routes: watch::Sender<Routes>,
    /// The newest view that was believed.
    view: View,
    masters: HashMap<Node, Master>,
}

struct Master {
    server: Arc<Server>,
    share: watch::Sender<Share>,
    /// They keep the connections up.
    _tasks: [AbortOnDropHandle<()>; 2],
}

impl Cluster {
    pub fn new(
        access: Access,
        seeds: Vec<Node>,
        channels: Arc<Channels>,
        probe: Arc<Probe>,
        listener: Listener,
        routes: watch::Sender<Routes>,
    ) -> Self {
        let view = View { epoch: 0, masters: Vec::new(), nodes: Vec::new() };
        let next = seeds.iter().cloned().collect();
        Self { access, seeds, next, channels, probe, listener, routes, view, masters: HashMap::new() }
    }

    /// Follows the cluster for as long as it is polled. Who is `asked` for a look at a node gets it there.
    pub async fn follow(mut self, mut asked: mpsc::Receiver<Option<Node>>) {
        let mut link = None;
        let mut failure = String::new();
        loop {
            let Some(node) = self.next.pop_front() else {
                // Nobody knows better than those who were not believed: the cluster may have been made anew.
                self.view.epoch = 0;
                // Where the cluster is down, each call that asks a master would cost fred its connection.
                self.routes.send_replace(Routes::Unknown(std::mem::take(&mut failure).into()));
                self.probe.set_posts(Vec::new());
                self.next.extend(self.view.nodes.iter().chain(&self.seeds).cloned());
                continue;
            };
            let target = Target::at(&self.access, node.clone());
            let link = link.get_or_insert_with(|| Link::new(target.clone(), "topology", 1).or_replica());
            link.aim(target);
            match link.connect().await {
                Ok(connection) => match self.stay(link, connection, &node, &mut asked).await {
                    Ok(other) => self.next.push_front(other),
                    Err(reason) => {
                        link.lost(&reason);
                        failure = reason;
                    }
                },
                // What a node says tells more than that one says nothing.
                Err(reason) if failure.is_empty() => failure = format!("{node}: {reason}"),
                Err(_) => {}
            }
        }
    }

    /// Asks one node again and again until another is said to know better, or until this one fails.
    async fn stay(
        &mut self,
        link: &mut Link,
        mut connection: Connection,
        node: &Node,
        asked: &mut mpsc::Receiver<Option<Node>>,
    ) -> Result<Node, String> {
        let client = connection.client.clone();
        let (mut stands, heard) = (false, AtomicU64::new(0));
        loop {
            let view = View::ask(&client, node).await?;
            if view.epoch < self.view.epoch {
                return Err("it knows less of the cluster than others".into());
            }
            if !std::mem::replace(&mut stands, true) {
                link.stands();
            }
            self.next = view.nodes.iter().chain(&self.seeds).filter(|other| *other != node).cloned().collect();
            self.follow_view(view);
            tokio::time::sleep(PAUSE).await;
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                Some(other) = asked.recv() => match other {
                    Some(other) if other != *node => return Ok(other),
                    _ => {}
                },
                reason = connection.end(&heard) => return Err(reason),
            }
        }
    }

    fn follow_view(&mut self, view: View) {
        let known = matches!(&*self.routes.borrow(), Routes::Slots(_));
        let changed = !known || view.masters != self.view.masters;
        let past = std::mem::replace(&mut self.view, view);
        if !changed {
            return;
        }
        let mut before = std::mem::take(&mut self.masters);
        for (_, node) in &self.view.masters {
            if !self.masters.contains_key(node) {
                let master = before.remove(node).unwrap_or_else(|| self.connect(node));
                self.masters.insert(node.clone(), master);
            }
        }
        for (slots, node) in &self.view.masters {
            if past.masters.iter().any(|(its, before)| !self.masters.contains_key(before) && overlap(its, slots)) {
                self.masters[node].server.promoted();
            }
        }
        let route = |(slots, node): &(RangeInclusive<u16>, Node)| (slots.clone(), self.masters[node].server.clone());
        self.routes.send_replace(Routes::Slots(self.view.masters.iter().map(route).collect()));
        self.share_out();
        tracing::info!(masters = self.masters.len(), epoch = self.view.epoch, "the cluster's slots are known");
    }

    /// Each master listens for the channels that it has, and the probe goes through those that have some.
    fn share_out(&self) {
        let mut shares: HashMap<&Node, Share> = HashMap::new();
        for (_, channel) in self.channels.iter() {
            let slot = slot(&channel.name);
            if let Some((_, node)) = self.view.masters.iter().find(|(slots, _)| slots.contains(&slot)) {
                let probe = || self.probe.key(&channel.name);
                let share = shares.entry(node).or_insert_with(|| Share { channels: Vec::new(), probe: probe() });
                share.channels.push(channel.name.clone());
            }
        }
        let post = |(node, share): (&&Node, &Share)| Post { server: Some(node.to_string()), key: share.probe.clone() };
        self.probe.set_posts(shares.iter().map(post).collect());
        for (node, master) in &self.masters {
            let share = shares.remove(node).unwrap_or_default();
            master.share.send_if_modified(|before| {
                let changed = *before != share;
                *before = share;
                changed
            });
        }
    }

    fn connect(&self, node: &Node) -> Master {
        let target = Target::at(&self.access, node.clone());
        let (server, kept_up) = Server::new(target.clone());
        let (share, shares) = watch::channel(Share::default());
        let listening = self.listener.clone().listen(target, shares);
        let tasks = [tokio::spawn(kept_up), tokio::spawn(listening)].map(AbortOnDropHandle::new);
        Master { server: Arc::new(server), share, _tasks: tasks }
    }
}

fn overlap(some: &RangeInclusive<u16>, others: &RangeInclusive<u16>) -> bool {
    some.start() <= others.end() && others.start() <= some.end()
}
