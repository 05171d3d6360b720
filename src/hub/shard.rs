//! One shard: a thread that delivers to its share of the connections.
//!
//! It takes all that waits in its inbox, notes for each connection which of the events are for it, then writes each
//! touched socket once with a vectored write. A single event leaves at once; batches come from backlog alone, never from
//! a timer. Heartbeats are the shard's too: they say up to where everything was sent, which only the shard knows.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use slab::Slab;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::delivery::{Delivery, Step};
use super::index::{Index, Member, Place};
use super::outbox::Outbox;
use super::{Arrival, HubConfig, Wanted, frame};
use crate::deflate::Deflater;
use crate::event::{Catalog, ChannelId, Filter, Position};
use crate::metrics::Metrics;
use crate::protocol::{CloseCode, ErrorCode, ServerFrame};

/// The most events that wait to be written before sockets are; with many connections, [`MAX_LINKS`] comes first.
const MAX_BATCH: usize = 512;
/// The most deliveries that are noted before sockets are written: a bound on memory.
const MAX_LINKS: usize = 1 << 16;
/// The heartbeats of a shard's connections are spread over so many ticks of an interval, or fewer where it is short.
const MAX_TICKS: u32 = 256;
const MIN_TICK: Duration = Duration::from_millis(5);

/// What a shard is told, in order. A `done` is dropped once it was done and answered.
#[derive(Debug)]
pub enum Item {
    Deliver(Arc<Delivery>),
    Join { outbox: Arc<Outbox>, arrival: Arrival },
    Leave { outbox: Arc<Outbox>, done: oneshot::Sender<()> },
    Subscribe { outbox: Arc<Outbox>, wanted: Wanted, done: oneshot::Sender<()> },
    Unsubscribe { outbox: Arc<Outbox>, sub: String, done: oneshot::Sender<()> },
    Drain(Duration),
    Settle(oneshot::Sender<()>),
}

pub struct Shard {
    catalog: Arc<Catalog>,
    metrics: Arc<Metrics>,
    subscribers: Arc<[AtomicU64]>,
    heartbeat: Duration,
    max_subscriptions: usize,

    peers: Slab<Peer>,
    channels: Vec<Channel>,
    batch: Batch,
    deflater: Deflater,

    /// Set once this node is about to stop: whoever still comes is sent away at once.
    draining: Option<Duration>,

    /// Heartbeats: connections with this number modulo `ticks` are due at the next tick.
    due: u32,
    ticks: u32,
    /// From one `due` to the next. Coprime to `ticks`, so that all get their turn, and far from 1, so that connections
    /// that came together, and thus have neighbouring numbers, are spread over the whole interval.
    stride: u32,
}

/// One connection.
struct Peer {
    outbox: Arc<Outbox>,
    deflate: bool,
    /// Its subscriptions; a place in it is the `sub` of a [`Member`], so that it never moves.
    subs: Vec<Option<Sub>>,
    /// The last event that was noted for it, so that two subscriptions make one delivery.
    noted: u64,
    /// Its deliveries in the batch: the first and the last link.
    first: u32,
    last: u32,
}

struct Sub {
    name: Box<str>,
    channel: ChannelId,
    place: Place,
}

#[derive(Default)]
struct Channel {
    /// All up to here was given to this shard's connections; `None` until the broker was reached.
    position: Option<Position>,
    index: Index,
}

/// What is to be written: for each touched connection a chain of links, one for each of its frames.
#[derive(Default)]
struct Batch {
    /// Each as it is for most, and for those who take it compressed.
    frames: Vec<[Bytes; 2]>,
    links: Vec<Link>,
    touched: Vec<u32>,
    /// Counts the events.
    event: u64,
    /// Whether someone takes the event that is being noted compressed.
    deflate: bool,
}

#[derive(Clone, Copy)]
struct Link {
    frame: u32,
    next: u32,
}

const END: u32 = u32::MAX;

impl Shard {
    pub fn new(
        config: &HubConfig,
        catalog: Arc<Catalog>,
        metrics: Arc<Metrics>,
        subscribers: Arc<[AtomicU64]>,
    ) -> Self {
        let fitting = (config.heartbeat.as_millis() / MIN_TICK.as_millis()) as u32;
        let ticks = fitting.clamp(1, MAX_TICKS);
        Self {
            channels: catalog.channels().map(|_| Channel::default()).collect(),
            catalog,
            metrics,
            subscribers,
            heartbeat: config.heartbeat,
            max_subscriptions: config.max_subscriptions,
            peers: Slab::new(),
            batch: Batch::default(),
            deflater: Deflater::default(),
            draining: None,
            due: 0,
            ticks,
            stride: stride(ticks),
        }
    }

    /// Starts the shard's thread, which ends when nobody can send to the inbox any more.
    pub fn spawn(mut self, number: usize, mut inbox: mpsc::Receiver<Item>) -> std::io::Result<()> {
        // A runtime of its own for one future: it brings a parked thread, a timer and nothing else.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        std::thread::Builder::new()
            .name(format!("fan-out-{number}"))
            .spawn(move || runtime.block_on(self.run(&mut inbox)))?;
        Ok(())
    }

    async fn run(&mut self, inbox: &mut mpsc::Receiver<Item>) {
        let interval = self.heartbeat / self.ticks;
        let mut due = Instant::now() + interval;
        let mut items = Vec::new();
        loop {
            tokio::select! {
                biased;
                taken = inbox.recv_many(&mut items, MAX_BATCH) => {
                    if taken == 0 {
                        return;
                    }
                    items.drain(..).for_each(|item| self.take(item));
                    self.flush();
                }
                () = tokio::time::sleep_until(due) => {}
            }
            // Here, and not in the branch: an inbox that is never empty must not silence the heartbeats.
            if Instant::now() >= due {
                self.beat();
                due = (due + interval).max(Instant::now());
            }
        }
    }

    fn take(&mut self, item: Item) {
        if let Item::Deliver(delivery) = item {
            self.deliver(&delivery);
            if self.batch.links.len() >= MAX_LINKS {
                self.flush();
            }
            return;
        }
        // A command's answer stands after the events that came before it.
        self.flush();
        match item {
            Item::Deliver(_) => {}
            Item::Settle(_done) => {}
            Item::Join { outbox, arrival: Arrival { mut greeting, wanted, deflate } } => {
                self.join(outbox.clone(), deflate);
                greeting.extend(wanted.into_iter().map(|wanted| self.subscribe(&outbox, wanted)));
                outbox.greet(&greeting.iter().collect::<Vec<_>>());
                if let Some(spread) = self.draining {
                    send_away(&outbox, spread);
                }
            }
            Item::Leave { outbox, done: _done } => self.leave(&outbox),
            Item::Subscribe { outbox, wanted, done: _done } => outbox.send(&[&self.subscribe(&outbox, wanted)]),
            Item::Unsubscribe { outbox, sub, done: _done } => outbox.send(&[&self.unsubscribe(&outbox, &sub)]),
            Item::Drain(spread) => {
                self.draining = Some(spread);
                self.peers.iter().for_each(|(_, peer)| send_away(&peer.outbox, spread));
            }
        }
    }

    fn deliver(&mut self, delivery: &Delivery) {
        let channel = &mut self.channels[delivery.channel.0 as usize];
        channel.position = Some(delivery.position.clone());
        self.batch.event += 1;
        self.batch.deflate = false;
        let before = self.batch.links.len();
        let [plain, deflated] = match &delivery.step {
            Step::Known => return,
            Step::Event(event) => {
                let data = if channel.index.has_filters() { event.data() } else { None };
                channel.index.matching(data, |member| self.batch.note(&mut self.peers, member));
                self.metrics.deliveries.inc_by((self.batch.links.len() - before) as u64);
                let made = || {
                    self.metrics.compressed.inc();
                };
                let deflated = if self.batch.deflate { event.deflated(&mut self.deflater, made) } else { &event.frame };
                [&event.frame, deflated]
            }
            Step::Gap(frame) => {
                channel.index.everyone().for_each(|member| self.batch.note(&mut self.peers, member));
                [frame, frame]
            }
        };
        if self.batch.links.len() > before {
            self.batch.frames.push([plain.clone(), deflated.clone()]);
        }
    }

    /// Writes each touched socket once.
    fn flush(&mut self) {
        let Batch { frames, links, touched, .. } = &mut self.batch;
        let mut run: Vec<&Bytes> = Vec::new();
        for number in touched.drain(..) {
            let peer = &mut self.peers[number as usize];
            let mut at = std::mem::replace(&mut peer.first, END);
            peer.last = END;
            run.clear();
            while at != END {
                let link = links[at as usize];
                run.push(&frames[link.frame as usize][usize::from(peer.deflate)]);
                at = link.next;
            }
            peer.outbox.send(&run);
        }
        drop(run);
        frames.clear();
        links.clear();
    }

    fn join(&mut self, outbox: Arc<Outbox>, deflate: bool) {
        let entry = self.peers.vacant_entry();
        outbox.seat.store(entry.key() as u32, Ordering::Relaxed);
        entry.insert(Peer { outbox, deflate, subs: Vec::new(), noted: 0, first: END, last: END });
        self.metrics.connections.inc();
    }

    fn leave(&mut self, outbox: &Outbox) {
        let number = outbox.seat.load(Ordering::Relaxed);
        let subs = match self.peers.get(number as usize) {
            Some(peer) => 0..peer.subs.len(),
            None => return,
        };
        for sub in subs {
            self.remove(number, sub);
        }
        self.peers.remove(number as usize);
        self.metrics.connections.dec();
    }

    /// Answers with a `subscribed` or an `error` frame.
    fn subscribe(&mut self, outbox: &Outbox, wanted: Wanted) -> Bytes {
        let Wanted { sub, channel, filter } = wanted;
        match self.try_subscribe(outbox, &sub, channel, &filter) {
            Ok(position) => {
                let channel = self.catalog.get(channel).name.as_ref();
                frame::server(&ServerFrame::Subscribed { sub: sub.into(), channel: channel.into(), position })
            }
            Err((code, message)) => self.refused(code, message, sub),
        }
    }

    fn try_subscribe(
        &mut self,
        outbox: &Outbox,
        name: &str,
        id: ChannelId,
        filter: &Arc<Filter>,
    ) -> Result<Position, (ErrorCode, String)> {
        let gone = || (ErrorCode::UnknownSubscription, "this connection has ended".to_owned());
        let number = outbox.seat.load(Ordering::Relaxed);
        let channel = &mut self.channels[id.0 as usize];
        let peer = self.peers.get_mut(number as usize).ok_or_else(gone)?;
        if peer.subs.iter().flatten().any(|sub| &*sub.name == name) {
            let message = "this connection has a subscription of that name".to_owned();
            return Err((ErrorCode::DuplicateSubscription, message));
        }
        let max = self.max_subscriptions;
        if peer.subs.iter().flatten().count() >= max {
            return Err((ErrorCode::TooManySubscriptions, format!("a connection has at most {max} subscriptions")));
        }
        let Some(position) = channel.position.clone() else {
            let message = "the broker has not been reached yet: try again".to_owned();
            return Err((ErrorCode::BrokerUnavailable, message));
        };
        if peer.subs.iter().flatten().all(|sub| sub.channel != id) {
            self.subscribers[id.0 as usize].fetch_add(1, Ordering::Relaxed);
        }
        let slot = peer.subs.iter().position(Option::is_none).unwrap_or_else(|| {
            peer.subs.reserve_exact(1);
            peer.subs.push(None);
            peer.subs.len() - 1
        });
        let place = channel.index.insert(filter, Member { peer: number, sub: slot as u32 });
        peer.subs[slot] = Some(Sub { name: name.into(), channel: id, place });
        self.metrics.subscriptions.inc();
        Ok(position)
    }

    /// Answers with an `unsubscribed` or an `error` frame.
    fn unsubscribe(&mut self, outbox: &Outbox, name: &str) -> Bytes {
        let number = outbox.seat.load(Ordering::Relaxed);
        let named = |sub: &Option<Sub>| sub.as_ref().is_some_and(|sub| &*sub.name == name);
        match self.peers.get(number as usize).and_then(|peer| peer.subs.iter().position(named)) {
            Some(slot) => {
                self.remove(number, slot);
                frame::server(&ServerFrame::Unsubscribed { sub: name.into() })
            }
            None => {
                let message = "this connection has no subscription of that name".to_owned();
                self.refused(ErrorCode::UnknownSubscription, message, name.into())
            }
        }
    }

    fn remove(&mut self, number: u32, slot: usize) {
        let peer = &mut self.peers[number as usize];
        let Some(sub) = peer.subs[slot].take() else { return };
        if peer.subs.iter().flatten().all(|other| other.channel != sub.channel) {
            self.subscribers[sub.channel.0 as usize].fetch_sub(1, Ordering::Relaxed);
        }
        self.metrics.subscriptions.dec();
        if let Some(moved) = self.channels[sub.channel.0 as usize].index.remove(sub.place)
            && let Some(other) = &mut self.peers[moved.peer as usize].subs[moved.sub as usize]
        {
            other.place = sub.place;
        }
    }

    fn refused(&self, code: ErrorCode, message: String, sub: String) -> Bytes {
        self.metrics.refused(code.as_str());
        frame::server(&ServerFrame::Error { code, message: message.into(), sub: Some(sub.into()) })
    }

    /// The heartbeats of the connections that are due: a tick takes each `ticks`-th, so that they are spread evenly and
    /// a connection's first comes after a part of the interval that it cannot know.
    fn beat(&mut self) {
        let ping = frame::ping();
        let due = (self.due as usize..self.peers.capacity()).step_by(self.ticks as usize);
        for peer in due.filter_map(|number| self.peers.get(number)) {
            if peer.outbox.silence() > 2 * self.heartbeat {
                self.metrics.dead_peers.inc();
                peer.outbox.close(CloseCode::HeartbeatTimeout, "nothing came for two heartbeats");
                continue;
            }
            let positions: BTreeMap<Cow<'_, str>, Position> = peer
                .subs
                .iter()
                .flatten()
                .filter_map(|sub| {
                    let position = self.channels[sub.channel.0 as usize].position.clone()?;
                    Some((Cow::from(&*self.catalog.get(sub.channel).name), position))
                })
                .collect();
            peer.outbox.send(&[&ping, &frame::server(&ServerFrame::Heartbeat { positions })]);
        }
        self.due = (self.due + self.stride) % self.ticks;
    }
}

/// The first number from about 0.6 of `ticks` on (the golden section spreads neighbours most evenly) that has no divisor
/// in common with it.
fn stride(ticks: u32) -> u32 {
    let coprime = |candidate: &u32| {
        let (mut a, mut b) = (*candidate, ticks);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a == 1
    };
    (ticks * 618 / 1000 + 1..).find(coprime).unwrap_or(1)
}

/// Asks a peer to connect again, to another node, after a random part of `spread`, and closes it.
fn send_away(outbox: &Arc<Outbox>, spread: Duration) {
    let wait = rand::random_range(0..=spread.as_millis() as u64);
    outbox.send(&[&frame::server(&ServerFrame::Draining { reconnect_in_ms: wait })]);
    outbox.close(CloseCode::Draining, "this node is about to stop");
}

impl Batch {
    /// The batch's next frame is for this subscription's connection.
    fn note(&mut self, peers: &mut Slab<Peer>, member: Member) {
        let peer = &mut peers[member.peer as usize];
        if std::mem::replace(&mut peer.noted, self.event) == self.event {
            return;
        }
        self.deflate |= peer.deflate;
        let link = self.links.len() as u32;
        self.links.push(Link { frame: self.frames.len() as u32, next: END });
        match peer.last {
            END => {
                peer.first = link;
                self.touched.push(member.peer);
            }
            last => self.links[last as usize].next = link,
        }
        peer.last = link;
    }
}
