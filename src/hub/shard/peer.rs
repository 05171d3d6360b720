//! The state of one connection in its shard: its send buffer, its encoding and its subscriptions.
//!
//! A subscription is either live, and then has an entry in its channel's filter index, or it is replayed from the log.
//! This module keeps that state; `subscribing.rs` and `replaying.rs` change it.

use std::sync::Arc;

use super::ChannelState;
use super::chain::Chain;
use super::replays::Replays;
use crate::bus::CursorBases;
use crate::event::{ChannelId, Cursor, PerChannel, Position};
use crate::hub::SendBuffer;
use crate::hub::encoding::Encoding;
use crate::hub::index::IndexSlot;

/// One connection.
pub struct Peer {
    pub send_buffer: Arc<SendBuffer>,
    pub encoding: Encoding,
    /// The last `id` that the connection was sent: the position of each of its channels. Only event streams have one.
    pub cursor: Option<Box<StreamCursor>>,
    /// The subscriptions. An index into them is the `sub` of a [`Member`](crate::hub::Member), so an entry never moves.
    pub subs: Vec<Option<Sub>>,
    /// The steps of the current batch that go to this connection.
    pub chain: Chain,
}

/// The cursor of an event stream.
pub struct StreamCursor {
    pub positions: Cursor,
    bases: Arc<CursorBases>,
}

/// One subscription of a connection.
pub struct Sub {
    /// The id that the client gave it.
    pub name: Box<str>,
    pub channel: ChannelId,
    pub source: SubscriptionSource,
}

/// The source of a subscription's events.
#[derive(Clone, Copy)]
pub enum SubscriptionSource {
    /// The live events of the channel; the subscription's slot in the channel's index.
    Live(IndexSlot),
    /// The log; the slot of the replay.
    Replay(u32),
}

impl Peer {
    pub fn new(send_buffer: Arc<SendBuffer>, bases: Arc<CursorBases>) -> Self {
        let encoding = send_buffer.encoding;
        let cursor = matches!(encoding, Encoding::Events { .. })
            .then(|| Box::new(StreamCursor { positions: Cursor::default(), bases }));
        Self { send_buffer, encoding, cursor, subs: Vec::new(), chain: Chain::default() }
    }

    /// All subscriptions.
    pub fn subs(&self) -> impl Iterator<Item = &Sub> {
        self.subs.iter().flatten()
    }

    /// The source of the connection's subscriptions to a channel. All of them have the same one.
    pub fn source_of(&self, channel: ChannelId) -> Option<SubscriptionSource> {
        self.subs().find(|sub| sub.channel == channel).map(|sub| sub.source)
    }

    /// The index of the subscription of this name.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.subs.iter().position(|sub| sub.as_ref().is_some_and(|sub| &*sub.name == name))
    }

    /// The index of a free entry for a subscription.
    pub fn free_index(&mut self) -> usize {
        self.subs.iter().position(Option::is_none).unwrap_or_else(|| {
            self.subs.reserve_exact(1);
            self.subs.push(None);
            self.subs.len() - 1
        })
    }
}

impl StreamCursor {
    /// The cursor as it is sent.
    pub fn text(&self) -> String {
        self.bases.write(&self.positions)
    }
}

impl Sub {
    /// The position up to which the channel was sent; `None` until the node has read the log.
    pub fn position(&self, channels: &PerChannel<ChannelState>, replays: &Replays) -> Option<Position> {
        match self.source {
            SubscriptionSource::Live(_) => channels[self.channel].position.clone(),
            SubscriptionSource::Replay(replay) => Some(replays.get(replay)?.position.clone()),
        }
    }
}
