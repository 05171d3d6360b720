//! A shard's replays: subscriptions that begin in the log and have not come to what is live yet.
//!
//! One connection has one position in a channel, so all of its subscriptions to a channel that is replayed are one replay.
//! What is live meanwhile is kept for a while, so that a replay which has nearly caught up can be brought to the end of
//! it in one step, however fast the channel is: that step is the seam, without loss and without repetition.

use std::collections::VecDeque;
use std::sync::Arc;

use slab::Slab;
use tokio::sync::oneshot;

use crate::event::{ChannelId, Filter, Position};
use crate::hub::delivery::{Delivery, Step};
use crate::hub::feed::{FeedOutcome, ReplayId};

/// The most bytes of a channel's live events that are kept for replays to come to.
const RECENT_BYTES: usize = 512 * 1024;

/// The replays of a shard.
#[derive(Default)]
pub struct Replays {
    replays: Slab<Replay>,
    serial: u64,
}

/// A connection's replay of one channel.
pub struct Replay {
    serial: u64,
    pub peer: u32,
    pub channel: ChannelId,
    /// All up to here was sent.
    pub position: Position,
    pub subs: Vec<Member>,
    /// It is ahead of what is live: who feeds it waits for that.
    pub ahead: Option<oneshot::Sender<FeedOutcome>>,
}

/// A subscription that is replayed, by its place on the connection.
pub struct Member {
    pub sub: u32,
    pub filter: Arc<Filter>,
}

impl Replays {
    pub fn insert(&mut self, peer: u32, channel: ChannelId, position: Position, member: Member) -> ReplayId {
        self.serial += 1;
        let replay = Replay { serial: self.serial, peer, channel, position, subs: vec![member], ahead: None };
        ReplayId { slot: self.replays.insert(replay) as u32, serial: self.serial }
    }

    pub fn get(&self, slot: u32) -> Option<&Replay> {
        self.replays.get(slot as usize)
    }

    pub fn get_mut(&mut self, slot: u32) -> Option<&mut Replay> {
        self.replays.get_mut(slot as usize)
    }

    /// The replay of a replay id, unless it has ended.
    pub fn of(&mut self, replay_id: ReplayId) -> Option<&mut Replay> {
        self.get_mut(replay_id.slot).filter(|replay| replay.serial == replay_id.serial)
    }

    pub fn remove(&mut self, slot: u32) -> Option<Replay> {
        self.replays.try_remove(slot as usize)
    }
}

impl Replay {
    /// Whether the next step is for the connection; the replay stands after it then.
    pub fn takes(&mut self, delivery: &Delivery) -> bool {
        self.position = delivery.position.clone();
        match &delivery.step {
            Step::Known => false,
            Step::Gap(_) => true,
            Step::Event(_) if self.subs.iter().any(|member| member.filter.is_empty()) => true,
            Step::Event(event) => {
                let data = event.data_value();
                data.is_some_and(|data| self.subs.iter().any(|member| member.filter.matches(&data)))
            }
        }
    }
}

/// A channel's live steps since the first replay of it began, as far back as [`RECENT_BYTES`] go.
#[derive(Default)]
pub struct Recent {
    steps: VecDeque<Arc<Delivery>>,
    bytes: usize,
}

impl Recent {
    pub fn push(&mut self, delivery: &Arc<Delivery>) {
        if !matches!(delivery.step, Step::Event(_)) {
            // What comes after a gap does not go on from what was before it.
            self.clear();
            return;
        }
        self.bytes += delivery.size();
        self.steps.push_back(delivery.clone());
        while self.bytes > RECENT_BYTES
            && let Some(oldest) = self.steps.pop_front()
        {
            self.bytes -= oldest.size();
        }
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The steps after this position, where all of them are kept, and no fewer bytes than they have.
    pub fn after(&self, position: &Position) -> Option<(usize, impl Iterator<Item = &Arc<Delivery>>)> {
        let first = self.steps.front()?;
        let known = position.same_epoch(&first.position) && position.offset + 1 >= first.position.offset;
        let passed = (position.offset + 1).saturating_sub(first.position.offset) as usize;
        let rest = || self.steps.iter().skip(passed);
        known.then(|| (rest().map(|step| step.size()).sum(), rest()))
    }
}
