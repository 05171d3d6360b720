//! One shard: a thread that delivers to its share of the connections.
//!
//! It takes all that waits in its inbox, notes for each connection which of the events are for it, then writes each
//! touched socket once with a vectored write. A single event leaves at once; batches come from backlog alone, never from
//! a timer. Heartbeats are the shard's too: they say up to where everything was sent, which only the shard knows.

mod batch;
mod heartbeat;
mod peer;
mod replaying;
mod replays;
mod subscribing;
mod writer;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use slab::Slab;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::delivery::{Delivery, Step};
use super::encoding::Encoding;
use super::feed::{Begun, FeedOutcome, ReplayId};
use super::index::Index;
use super::send_buffer::SendBuffer;
use super::{EvictReason, HubConfig, NewConnection};
use crate::bus::Subscription;
use crate::deflate::Deflater;
use crate::event::{Catalog, PerChannel, Position};
use crate::metrics::Metrics;
use crate::protocol::{CloseCode, ServerFrame};
use batch::Batch;
use heartbeat::HeartbeatSchedule;
use peer::Peer;
use replays::{Recent, Replays};
use writer::Writer;

/// The most events that wait to be written before sockets are; with many connections, the batch is full before that.
const MAX_BATCH: usize = 512;

/// What a shard is told, in order. A `done` is dropped once it was done and answered.
#[derive(Debug)]
pub enum Item {
    Deliver(Arc<Delivery>),
    /// What connections asked.
    Commands(Vec<Item>),
    Join {
        send_buffer: Arc<SendBuffer>,
        new: NewConnection,
        /// The replays that begin with it.
        begun: Option<oneshot::Sender<Vec<Begun>>>,
    },
    Leave {
        send_buffer: Arc<SendBuffer>,
        done: oneshot::Sender<()>,
    },
    Subscribe {
        send_buffer: Arc<SendBuffer>,
        subscription: Subscription,
        done: oneshot::Sender<Begun>,
    },
    Feed {
        replay_id: ReplayId,
        steps: Arc<[Delivery]>,
        done: oneshot::Sender<FeedOutcome>,
    },
    Unsubscribe {
        send_buffer: Arc<SendBuffer>,
        sub: String,
        done: oneshot::Sender<Begun>,
    },
    Evict(Option<EvictReason>),
    Settle(oneshot::Sender<()>),
}

pub struct Shard {
    catalog: Arc<Catalog>,
    metrics: Arc<Metrics>,
    subscribers: Arc<PerChannel<AtomicU64>>,
    heartbeat: Duration,
    max_subscriptions: usize,

    peers: Slab<Peer>,
    replays: Replays,
    channels: PerChannel<Channel>,
    batch: Batch,
    deflater: Deflater,

    /// Whoever comes is sent away at once.
    away: Option<EvictReason>,
    schedule: HeartbeatSchedule,
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

impl Shard {
    pub fn new(
        config: &HubConfig,
        catalog: Arc<Catalog>,
        metrics: Arc<Metrics>,
        subscribers: Arc<PerChannel<AtomicU64>>,
    ) -> Self {
        Self {
            channels: PerChannel::new(&catalog, |_| Channel::default()),
            catalog,
            metrics,
            subscribers,
            heartbeat: config.heartbeat,
            max_subscriptions: config.max_subscriptions,
            peers: Slab::new(),
            replays: Replays::default(),
            batch: Batch::default(),
            deflater: Deflater::default(),
            away: None,
            schedule: HeartbeatSchedule::new(config.heartbeat),
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
        let interval = self.heartbeat / self.schedule.ticks();
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
            if self.batch.is_full() {
                self.flush();
            }
            return;
        }
        // A command's answer stands after the events that came before it.
        self.flush();
        match item {
            Item::Deliver(_) => {}
            Item::Commands(items) => items.into_iter().for_each(|item| self.take(item)),
            Item::Settle(_done) => {}
            Item::Join { send_buffer, new, begun } => self.welcome(&send_buffer, new, begun),
            Item::Leave { send_buffer, done: _done } => self.leave(&send_buffer),
            Item::Subscribe { send_buffer, subscription, done } => {
                let (answer, begun) = self.subscribe(&send_buffer, subscription);
                send_buffer.send(&answer.iter().collect::<Vec<_>>());
                if let Some(begun) = begun {
                    // Nobody waits for it where the connection has ended meanwhile.
                    let _ = done.send(begun);
                }
            }
            Item::Feed { replay_id, steps, done } => self.feed(replay_id, &steps, done),
            Item::Unsubscribe { send_buffer, sub, done: _done } => {
                let answer = self.unsubscribe(&send_buffer, &sub);
                send_buffer.send(&answer.iter().collect::<Vec<_>>());
            }
            Item::Evict(away) => {
                self.away = away;
                if let Some(away) = away {
                    self.peers.iter().for_each(|(_, peer)| evict(&peer.send_buffer, away));
                }
            }
        }
    }

    fn deliver(&mut self, delivery: &Arc<Delivery>) {
        let channel = &mut self.channels[delivery.channel];
        channel.position = Some(delivery.position.clone());
        self.batch.begin();
        match &delivery.step {
            Step::Known => {}
            Step::Event(event) => {
                let data = if channel.index.has_filters() { event.data() } else { None };
                channel.index.matching(data, |member| self.batch.note(&mut self.peers, member));
                self.metrics.deliveries.inc_by(self.batch.end(delivery) as u64);
            }
            Step::Gap(_) => {
                channel.index.everyone().for_each(|member| self.batch.note(&mut self.peers, member));
                self.batch.end(delivery);
            }
        }
        if !channel.replays.is_empty() {
            self.pass_replays(delivery);
        }
    }

    /// Writes each touched socket once.
    fn flush(&mut self) {
        let touched = self.batch.take_touched();
        let mut run: Vec<&Bytes> = Vec::new();
        let mut writer = Writer { catalog: &self.catalog, deflater: &mut self.deflater, metrics: &self.metrics };
        for number in &touched {
            let peer = &mut self.peers[*number as usize];
            let steps = self.batch.steps(&mut peer.chain);
            match &mut peer.cursor {
                None => {
                    run.clear();
                    run.extend(steps.filter_map(|step| writer.shared(peer.encoding, step)));
                    peer.send_buffer.send(&run);
                }
                Some(cursor) => {
                    let own = writer.with_ids(peer.encoding, cursor, steps);
                    peer.send_buffer.send(&own.iter().collect::<Vec<_>>());
                }
            }
        }
        drop(run);
        self.batch.clear(touched);
    }

    /// Takes a connection in. It is greeted when all that it wants stands: an event stream's 200 says so, and its first `id`
    /// where a reader goes on that is partitioned before anything came.
    fn welcome(
        &mut self,
        send_buffer: &Arc<SendBuffer>,
        new: NewConnection,
        begun: Option<oneshot::Sender<Vec<Begun>>>,
    ) {
        let NewConnection { mut greeting, subscriptions, encoding, permit: _permit } = new;
        self.join(send_buffer.clone());
        let mut replays = Vec::new();
        for subscription in subscriptions {
            let (answer, replay) = self.subscribe(send_buffer, subscription);
            greeting.extend(answer);
            replays.extend(replay);
        }
        if matches!(encoding, Encoding::Events { .. }) {
            greeting.extend(self.heartbeat_of(send_buffer.slot()));
        }
        send_buffer.greet(&greeting.iter().collect::<Vec<_>>());
        if let Some(begun) = begun {
            // Nobody waits for them where the connection has ended meanwhile.
            let _ = begun.send(replays);
        }
        if let Some(away) = self.away {
            evict(send_buffer, away);
        }
    }

    fn join(&mut self, send_buffer: Arc<SendBuffer>) {
        let entry = self.peers.vacant_entry();
        send_buffer.set_slot(entry.key());
        entry.insert(Peer::new(send_buffer));
        self.metrics.connections.inc();
    }

    fn leave(&mut self, send_buffer: &SendBuffer) {
        let number = send_buffer.slot();
        let Some(peer) = self.peers.get(number) else { return };
        for sub in 0..peer.subs.len() {
            self.remove(number, sub);
        }
        self.peers.remove(number);
        self.metrics.connections.dec();
    }
}

fn evict(send_buffer: &Arc<SendBuffer>, away: EvictReason) {
    let spread = match away {
        EvictReason::Draining(spread) => spread,
        EvictReason::Partitioned => {
            return send_buffer.close(CloseCode::BrokerUnavailable, "this node is partitioned from its broker");
        }
    };
    let draining = ServerFrame::Draining { reconnect_in_ms: rand::random_range(0..=spread.as_millis() as u64) };
    send_buffer.close_saying(&draining, CloseCode::Draining, "this node is about to stop");
}
