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
use super::feed::{Fed, Ticket};
use super::form::Form;
use super::index::{Index, Member, Place};
use super::outbox::Outbox;
use super::replay::{self, Recent, Replays};
use super::writer::Writer;
use super::{Arrival, Begin, HubConfig, Wanted, frame};
use crate::deflate::Deflater;
use crate::event::{Catalog, ChannelId, Cursor, Filter, Position};
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
    Subscribe { outbox: Arc<Outbox>, wanted: Wanted, done: oneshot::Sender<Option<(Ticket, Position)>> },
    Feed { ticket: Ticket, steps: Vec<Delivery>, done: oneshot::Sender<Fed> },
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
    replays: Replays,
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
    form: Form,
    /// Where each of its channels stands, for a form whose events say it.
    cursor: Option<Box<Cursor>>,
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
    standing: Standing,
}

#[derive(Clone, Copy)]
enum Standing {
    /// In the channel's index.
    Live(Place),
    /// In this replay.
    Replayed(u32),
}

#[derive(Default)]
struct Channel {
    /// All up to here was given to this shard's connections; `None` until the broker was reached.
    position: Option<Position>,
    index: Index,
    /// The replays that are to come to what is live, and what they may need for it.
    replays: Vec<u32>,
    recent: Recent,
}

/// What is to be written: for each touched connection a chain of links, one for each of its steps.
#[derive(Default)]
struct Batch {
    deliveries: Vec<Arc<Delivery>>,
    links: Vec<Link>,
    touched: Vec<u32>,
    /// Counts the events.
    event: u64,
}

#[derive(Clone, Copy)]
struct Link {
    delivery: u32,
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
            replays: Replays::default(),
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
            Item::Join { outbox, arrival: Arrival { mut greeting, wanted, .. } } => {
                self.join(outbox.clone());
                greeting.extend(wanted.into_iter().flat_map(|wanted| self.subscribe(&outbox, wanted).0));
                outbox.greet(&greeting.iter().collect::<Vec<_>>());
                if let Some(spread) = self.draining {
                    send_away(&outbox, spread);
                }
            }
            Item::Leave { outbox, done: _done } => self.leave(&outbox),
            Item::Subscribe { outbox, wanted, done } => {
                let (answer, replay) = self.subscribe(&outbox, wanted);
                outbox.send(&answer.iter().collect::<Vec<_>>());
                // Nobody waits for it where the connection has ended meanwhile.
                let _ = done.send(replay);
            }
            Item::Feed { ticket, steps, done } => self.feed(ticket, &steps, done),
            Item::Unsubscribe { outbox, sub, done: _done } => {
                let answer = self.unsubscribe(&outbox, &sub);
                outbox.send(&answer.iter().collect::<Vec<_>>());
            }
            Item::Drain(spread) => {
                self.draining = Some(spread);
                self.peers.iter().for_each(|(_, peer)| send_away(&peer.outbox, spread));
            }
        }
    }

    fn deliver(&mut self, delivery: &Arc<Delivery>) {
        self.deliver_live(delivery);
        if !self.channels[delivery.channel.0 as usize].replays.is_empty() {
            self.pass_replays(delivery);
        }
    }

    fn deliver_live(&mut self, delivery: &Arc<Delivery>) {
        let channel = &mut self.channels[delivery.channel.0 as usize];
        channel.position = Some(delivery.position.clone());
        self.batch.event += 1;
        let before = self.batch.links.len();
        match &delivery.step {
            Step::Known => return,
            Step::Event(event) => {
                let data = if channel.index.has_filters() { event.data() } else { None };
                channel.index.matching(data, |member| self.batch.note(&mut self.peers, member));
                self.metrics.deliveries.inc_by((self.batch.links.len() - before) as u64);
            }
            Step::Gap(_) => channel.index.everyone().for_each(|member| self.batch.note(&mut self.peers, member)),
        }
        if self.batch.links.len() > before {
            self.batch.deliveries.push(delivery.clone());
        }
    }

    /// Writes each touched socket once.
    fn flush(&mut self) {
        let Batch { deliveries, links, touched, .. } = &mut self.batch;
        let mut run: Vec<&Bytes> = Vec::new();
        let mut writer = Writer { catalog: &self.catalog, deflater: &mut self.deflater, metrics: &self.metrics };
        for number in touched.drain(..) {
            let peer = &mut self.peers[number as usize];
            let mut at = std::mem::replace(&mut peer.first, END);
            peer.last = END;
            let steps = std::iter::from_fn(|| {
                let link = links.get(at as usize)?;
                at = link.next;
                Some(&*deliveries[link.delivery as usize])
            });
            match &mut peer.cursor {
                None => {
                    run.clear();
                    run.extend(steps.filter_map(|step| writer.shared(peer.form, step)));
                    peer.outbox.send(&run);
                }
                Some(cursor) => {
                    let own = writer.with_ids(peer.form, cursor, steps);
                    peer.outbox.send(&own.iter().collect::<Vec<_>>());
                }
            }
        }
        drop(run);
        deliveries.clear();
        links.clear();
    }

    fn join(&mut self, outbox: Arc<Outbox>) {
        let entry = self.peers.vacant_entry();
        outbox.seat.store(entry.key() as u32, Ordering::Relaxed);
        let form = outbox.form;
        let cursor = matches!(form, Form::Events { channels: 2.. }).then(Box::default);
        entry.insert(Peer { outbox, form, cursor, subs: Vec::new(), noted: 0, first: END, last: END });
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

    /// Answers with a `subscribed` (and where the log no longer reaches back, a `gap`) or an `error` frame, and with the
    /// replay that begins.
    fn subscribe(&mut self, outbox: &Outbox, wanted: Wanted) -> (Vec<Bytes>, Option<(Ticket, Position)>) {
        let Wanted { sub, channel, filter, begin } = wanted;
        let (recovered, lost) = match &begin {
            Begin::Live { recovered } => (recovered.then_some(true), None),
            Begin::After { lost, .. } => (Some(lost.is_none()), lost.clone()),
        };
        let (position, ticket) = match self.try_subscribe(outbox, &sub, channel, filter, begin) {
            Ok(stands) => stands,
            Err((code, message)) => return (self.refused(outbox, code, message, sub), None),
        };
        let name = self.catalog.get(channel).name.as_ref();
        let subscribed =
            ServerFrame::Subscribed { sub: sub.into(), channel: name.into(), position: position.clone(), recovered };
        let mut answer: Vec<Bytes> = outbox.form.said(&subscribed).into_iter().collect();
        let peer = self.peers.get_mut(outbox.seat.load(Ordering::Relaxed) as usize);
        let cursor = peer.and_then(|peer| peer.cursor.as_mut());
        if let Some(from) = lost {
            self.metrics.gaps.inc();
            answer.extend(outbox.form.said(&ServerFrame::Gap {
                channel: name.into(),
                from,
                position: position.clone(),
            }));
        }
        if let Some(cursor) = cursor {
            cursor.0.insert(name.to_owned(), position.clone());
        }
        (answer, ticket.map(|ticket| (ticket, position)))
    }

    fn try_subscribe(
        &mut self,
        outbox: &Outbox,
        name: &str,
        id: ChannelId,
        filter: Arc<Filter>,
        begin: Begin,
    ) -> Result<(Position, Option<Ticket>), (ErrorCode, String)> {
        let gone = || (ErrorCode::UnknownSubscription, "this connection has ended".to_owned());
        let number = outbox.seat.load(Ordering::Relaxed);
        let channel = &mut self.channels[id.0 as usize];
        let peer = self.peers.get_mut(number as usize).ok_or_else(gone)?;
        if peer.subs.iter().flatten().any(|sub| &*sub.name == name) {
            let message = "this connection has a subscription of that name".to_owned();
            return Err((ErrorCode::DuplicateSubscription, message));
        }
        let max = self.max_subscriptions;
        // An event stream says at once all that it wants.
        if peer.subs.iter().flatten().count() >= max && matches!(peer.form, Form::WebSocket { .. }) {
            return Err((ErrorCode::TooManySubscriptions, format!("a connection has at most {max} subscriptions")));
        }
        let Some(live) = channel.position.clone() else {
            let message = "the broker has not been reached yet: try again".to_owned();
            return Err((ErrorCode::BrokerUnavailable, message));
        };
        let slot = peer.subs.iter().position(Option::is_none).unwrap_or(peer.subs.len());
        let member = Member { peer: number, sub: slot as u32 };
        // A connection has one position in a channel.
        let other = peer.subs.iter().flatten().find(|sub| sub.channel == id).map(|sub| sub.standing);
        let stands = match other {
            Some(Standing::Replayed(replay)) => self.replays.get(replay).map_or(live, |replay| replay.position.clone()),
            Some(Standing::Live(_)) | None => live,
        };
        let behind = match &begin {
            Begin::Live { .. } => None,
            Begin::After { position, lost } => {
                let reached = position.same_epoch(&stands) && position.offset >= stands.offset;
                (!reached || (other.is_none() && *position != stands) || lost.is_some()).then(|| position.clone())
            }
        };
        if let (Some(position), Some(_)) = (&behind, other)
            && *position != stands
        {
            let message = format!("this connection's stream of the channel stands at {stands}, and cannot go back");
            return Err((ErrorCode::InvalidPosition, message));
        }
        let mut ticket = None;
        let (position, standing) = match (other, behind) {
            (Some(Standing::Replayed(replay)), _) => {
                if let Some(replay) = self.replays.get_mut(replay) {
                    replay.subs.push(replay::Member { sub: slot as u32, filter });
                }
                (stands, Standing::Replayed(replay))
            }
            (None, Some(position)) => {
                let member = replay::Member { sub: slot as u32, filter };
                let begun = self.replays.insert(number, id, position.clone(), member);
                channel.replays.push(begun.slot);
                ticket = Some(begun);
                (position, Standing::Replayed(begun.slot))
            }
            (Some(Standing::Live(_)) | None, _) => (stands, Standing::Live(channel.index.insert(&filter, member))),
        };
        if other.is_none() {
            self.subscribers[id.0 as usize].fetch_add(1, Ordering::Relaxed);
        }
        if slot == peer.subs.len() {
            peer.subs.reserve_exact(1);
            peer.subs.push(None);
        }
        peer.subs[slot] = Some(Sub { name: name.into(), channel: id, standing });
        self.metrics.subscriptions.inc();
        Ok((position, ticket))
    }

    /// Sends what the log has, and brings the replay to what is live where it can be.
    fn feed(&mut self, ticket: Ticket, steps: &[Delivery], done: oneshot::Sender<Fed>) {
        let Some(replay) = self.replays.of(ticket) else {
            let _ = done.send(Fed::Gone);
            return;
        };
        let peer = &mut self.peers[replay.peer as usize];
        let outbox = peer.outbox.clone();
        let mut writer = Writer { catalog: &self.catalog, deflater: &mut self.deflater, metrics: &self.metrics };
        let sent = writer.replayed(peer.form, &mut peer.cursor, steps.iter().filter(|step| replay.takes(step)));
        outbox.send(&sent.iter().collect::<Vec<_>>());
        let channel = &self.channels[replay.channel.0 as usize];
        let Some(live) = &channel.position else { return };
        if replay.position.same_epoch(live) && replay.position.offset > live.offset {
            // The log was read before what is live came here: it will.
            replay.ahead = Some(done);
            return;
        }
        if replay.position != *live {
            let position = replay.position.clone();
            let Some(rest) = channel.recent.after(&position) else {
                let _ = done.send(if outbox.is_closing() { Fed::Gone } else { Fed::On });
                return;
            };
            let rest = rest.map(|step| &**step).filter(|step| replay.takes(step));
            let sent = writer.replayed(peer.form, &mut peer.cursor, rest);
            outbox.send(&sent.iter().collect::<Vec<_>>());
        }
        self.go_live(ticket.slot);
        let _ = done.send(Fed::Live);
    }

    /// What is live has made a step: replays that are waiting for it join it.
    fn pass_replays(&mut self, delivery: &Arc<Delivery>) {
        let channel = &mut self.channels[delivery.channel.0 as usize];
        channel.recent.push(delivery);
        let mut reached = Vec::new();
        for slot in channel.replays.iter().copied() {
            let Some(replay) = self.replays.get_mut(slot) else { continue };
            if !replay.position.same_epoch(&delivery.position) {
                // The log was lost: it will say what is missing.
                if let Some(done) = replay.ahead.take() {
                    let _ = done.send(Fed::On);
                }
            } else if delivery.position.offset >= replay.position.offset
                && let Some(done) = replay.ahead.take()
            {
                reached.push((slot, done));
            }
        }
        for (slot, done) in reached {
            self.go_live(slot);
            let _ = done.send(Fed::Live);
        }
    }

    /// The replay stands where the channel stands.
    fn go_live(&mut self, slot: u32) {
        let Some(replay) = self.replays.remove(slot) else { return };
        let channel = &mut self.channels[replay.channel.0 as usize];
        channel.forget(slot);
        for replay::Member { sub, filter } in replay.subs {
            let place = channel.index.insert(&filter, Member { peer: replay.peer, sub });
            if let Some(sub) = &mut self.peers[replay.peer as usize].subs[sub as usize] {
                sub.standing = Standing::Live(place);
            }
        }
    }

    /// Answers with an `unsubscribed` or an `error` frame.
    fn unsubscribe(&mut self, outbox: &Outbox, name: &str) -> Vec<Bytes> {
        let number = outbox.seat.load(Ordering::Relaxed);
        let named = |sub: &Option<Sub>| sub.as_ref().is_some_and(|sub| &*sub.name == name);
        match self.peers.get(number as usize).and_then(|peer| peer.subs.iter().position(named)) {
            Some(slot) => {
                self.remove(number, slot);
                outbox.form.said(&ServerFrame::Unsubscribed { sub: name.into() }).into_iter().collect()
            }
            None => {
                let message = "this connection has no subscription of that name".to_owned();
                self.refused(outbox, ErrorCode::UnknownSubscription, message, name.into())
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
        let channel = &mut self.channels[sub.channel.0 as usize];
        match sub.standing {
            Standing::Live(place) => {
                if let Some(moved) = channel.index.remove(place)
                    && let Some(other) = &mut self.peers[moved.peer as usize].subs[moved.sub as usize]
                {
                    other.standing = sub.standing;
                }
            }
            Standing::Replayed(replay) => {
                let Some(replayed) = self.replays.get_mut(replay) else { return };
                replayed.subs.retain(|member| member.sub != slot as u32);
                if replayed.subs.is_empty() {
                    channel.forget(replay);
                    // Whoever feeds it is told that it has gone.
                    self.replays.remove(replay);
                }
            }
        }
    }

    fn refused(&self, outbox: &Outbox, code: ErrorCode, message: String, sub: String) -> Vec<Bytes> {
        self.metrics.refused(code.as_str());
        let error = ServerFrame::Error { code, message: message.into(), sub: Some(sub.into()) };
        outbox.form.said(&error).into_iter().collect()
    }

    /// The heartbeats of the connections that are due: a tick takes each `ticks`-th, so that they are spread evenly and
    /// a connection's first comes after a part of the interval that it cannot know.
    fn beat(&mut self) {
        let ping = frame::ping();
        let due = (self.due as usize..self.peers.capacity()).step_by(self.ticks as usize);
        for peer in due.filter_map(|number| self.peers.get(number)) {
            // An event stream's peer has nothing to say: TCP tells when it has gone.
            let speaks = matches!(peer.form, Form::WebSocket { .. });
            if speaks && peer.outbox.silence() > 2 * self.heartbeat {
                self.metrics.dead_peers.inc();
                peer.outbox.close(CloseCode::HeartbeatTimeout, "nothing came for two heartbeats");
                continue;
            }
            let positions: BTreeMap<Cow<'_, str>, Position> = peer
                .subs
                .iter()
                .flatten()
                .filter_map(|sub| {
                    let position = match sub.standing {
                        Standing::Live(_) => self.channels[sub.channel.0 as usize].position.clone()?,
                        Standing::Replayed(replay) => self.replays.get(replay)?.position.clone(),
                    };
                    Some((Cow::from(&*self.catalog.get(sub.channel).name), position))
                })
                .collect();
            let heartbeat = peer.form.said(&ServerFrame::Heartbeat { positions });
            let frames = speaks.then_some(&ping).into_iter().chain(&heartbeat);
            peer.outbox.send(&frames.collect::<Vec<_>>());
        }
        self.due = (self.due + self.stride) % self.ticks;
    }
}

impl Channel {
    /// A replay has ended.
    fn forget(&mut self, replay: u32) {
        self.replays.retain(|other| *other != replay);
        if self.replays.is_empty() {
            self.recent.clear();
        }
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
    if let Some(draining) = outbox.form.said(&ServerFrame::Draining { reconnect_in_ms: wait }) {
        outbox.send(&[&draining]);
    }
    outbox.close(CloseCode::Draining, "this node is about to stop");
}

impl Batch {
    /// The batch's next delivery is for this subscription's connection.
    fn note(&mut self, peers: &mut Slab<Peer>, member: Member) {
        let peer = &mut peers[member.peer as usize];
        if std::mem::replace(&mut peer.noted, self.event) == self.event {
            return;
        }
        let link = self.links.len() as u32;
        self.links.push(Link { delivery: self.deliveries.len() as u32, next: END });
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
