//! A shard's connections: how each is written to, and what it has subscribed to.

use std::sync::Arc;

use super::Channel;
use super::batch::Chain;
use super::replays::Replays;
use crate::event::{ChannelId, Cursor, PerChannel, Position};
use crate::hub::SendBuffer;
use crate::hub::encoding::Encoding;
use crate::hub::index::Slot;

/// One connection.
pub struct Peer {
    pub send_buffer: Arc<SendBuffer>,
    pub encoding: Encoding,
    /// Where each of its channels stands, for a encoding whose events say it.
    pub cursor: Option<Box<Cursor>>,
    /// Its subscriptions; a place in it is the `sub` of a [`Member`](crate::hub::Member), so that it never moves.
    pub subs: Vec<Option<Sub>>,
    /// What the batch has for it.
    pub chain: Chain,
}

/// One of its subscriptions.
pub struct Sub {
    pub name: Box<str>,
    pub channel: ChannelId,
    pub standing: Standing,
}

/// Where a subscription gets its events from.
#[derive(Clone, Copy)]
pub enum Standing {
    /// From what is live: its place in the channel's index.
    Live(Slot),
    /// From the log: its replay.
    Replayed(u32),
}

impl Peer {
    pub fn new(send_buffer: Arc<SendBuffer>) -> Self {
        let encoding = send_buffer.encoding;
        let cursor = matches!(encoding, Encoding::Events { channels: 2.. }).then(Box::default);
        Self { send_buffer, encoding, cursor, subs: Vec::new(), chain: Chain::default() }
    }

    /// Its subscriptions.
    pub fn subs(&self) -> impl Iterator<Item = &Sub> {
        self.subs.iter().flatten()
    }

    /// How one of its subscriptions to a channel stands: all of them stand alike.
    pub fn standing(&self, channel: ChannelId) -> Option<Standing> {
        self.subs().find(|sub| sub.channel == channel).map(|sub| sub.standing)
    }

    /// The place of a subscription of this name.
    pub fn named(&self, name: &str) -> Option<usize> {
        self.subs.iter().position(|sub| sub.as_ref().is_some_and(|sub| &*sub.name == name))
    }

    /// A free place for a subscription.
    pub fn vacant(&mut self) -> usize {
        self.subs.iter().position(Option::is_none).unwrap_or_else(|| {
            self.subs.reserve_exact(1);
            self.subs.push(None);
            self.subs.len() - 1
        })
    }
}

impl Sub {
    /// All up to here that is for it was sent; `None` until the broker was reached.
    pub fn position(&self, channels: &PerChannel<Channel>, replays: &Replays) -> Option<Position> {
        match self.standing {
            Standing::Live(_) => channels[self.channel].position.clone(),
            Standing::Replayed(replay) => Some(replays.get(replay)?.position.clone()),
        }
    }
}
