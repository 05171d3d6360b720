//! A shard's replays: subscriptions that begin in the log and have not caught up with the live channel yet.
//!
//! A connection has one position in a channel, so all its replayed subscriptions to that channel are one replay. While
//! a channel has replays, the shard keeps its recent live steps. A replay that has nearly caught up is sent these and
//! joins the live channel in the same call, without loss or repetition, at any rate of events. This module keeps the
//! state; `replaying.rs` sends the steps.

use std::collections::VecDeque;
use std::sync::Arc;

use slab::Slab;
use tokio::sync::oneshot;

use crate::event::{ChannelId, Position, Selector};
use crate::hub::channel_step::{ChannelStep, StepKind};
use crate::hub::inbox_item::{FeedOutcome, ReplayId};

/// The most bytes of a channel's recent live steps.
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
    /// The position up to which the channel was sent.
    pub position: Position,
    /// It is sent the newest event of each subject, and must not become live before the last of them: it would be sent events
    /// between these.
    pub is_listing: bool,
    pub subs: Vec<ReplayedSubscription>,
    /// Set while the replay is ahead of the live channel: the reply to the feed that waits for the channel to catch up.
    pub ahead: Option<oneshot::Sender<FeedOutcome>>,
}

/// A subscription that is replayed.
pub struct ReplayedSubscription {
    /// Its index in the connection's subscriptions.
    pub sub: u32,
    pub selector: Arc<Selector>,
}

impl Replays {
    /// Adds a replay with its first subscription.
    pub fn insert(
        &mut self,
        peer: u32,
        channel: ChannelId,
        position: Position,
        is_listing: bool,
        member: ReplayedSubscription,
    ) -> ReplayId {
        self.serial += 1;
        let (serial, subs) = (self.serial, vec![member]);
        let replay = Replay { serial, peer, channel, position, is_listing, subs, ahead: None };
        ReplayId { slot: self.replays.insert(replay) as u32, serial: self.serial }
    }

    pub fn get(&self, slot: u32) -> Option<&Replay> {
        self.replays.get(slot as usize)
    }

    pub fn get_mut(&mut self, slot: u32) -> Option<&mut Replay> {
        self.replays.get_mut(slot as usize)
    }

    /// The replay of this id, unless it has ended.
    pub fn by_id(&mut self, replay_id: ReplayId) -> Option<&mut Replay> {
        self.get_mut(replay_id.slot).filter(|replay| replay.serial == replay_id.serial)
    }

    pub fn remove(&mut self, slot: u32) -> Option<Replay> {
        self.replays.try_remove(slot as usize)
    }
}

impl Replay {
    /// Moves the replay past the next step, and returns whether the connection is to be sent that step.
    pub fn advance(&mut self, step: &ChannelStep) -> bool {
        self.position = step.position.clone();
        match &step.kind {
            StepKind::Known => {
                self.is_listing = false;
                false
            }
            StepKind::Gap(_) => true,
            StepKind::Event(_) if self.subs.iter().any(|member| member.selector.is_everything()) => true,
            StepKind::Event(event) => {
                let data = event.data_value();
                data.is_some_and(|data| self.subs.iter().any(|member| member.selector.matches(&data)))
            }
        }
    }
}

/// The last live steps of a channel that has replays, up to [`RECENT_BYTES`].
#[derive(Default)]
pub struct RecentSteps {
    steps: VecDeque<Arc<ChannelStep>>,
    bytes: usize,
}

impl RecentSteps {
    /// Adds a live step.
    pub fn push(&mut self, step: &Arc<ChannelStep>) {
        if !matches!(step.kind, StepKind::Event(_)) {
            // The steps after a gap do not continue the steps before it.
            self.clear();
            return;
        }
        self.bytes += step.size();
        self.steps.push_back(step.clone());
        while self.bytes > RECENT_BYTES
            && let Some(oldest) = self.steps.pop_front()
        {
            self.bytes -= oldest.size();
        }
    }

    /// Drops all steps.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The steps after this position and their size in bytes; `None` where some of them are no longer kept.
    pub fn after(&self, position: &Position) -> Option<(usize, impl Iterator<Item = &Arc<ChannelStep>>)> {
        let first = self.steps.front()?;
        let known = position.same_epoch(&first.position) && position.offset + 1 >= first.position.offset;
        let skipped = (position.offset + 1).saturating_sub(first.position.offset) as usize;
        let rest = || self.steps.iter().skip(skipped);
        known.then(|| (rest().map(|step| step.size()).sum(), rest()))
    }
}
