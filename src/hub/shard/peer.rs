//! The state of one connection in its shard: its send buffer, its encoding and its subscriptions.
//!
//! A subscription is either live, and then has an entry in its channel's filter index, or it is replayed from the log.
//! This module keeps that state; `subscribing.rs` and `replaying.rs` change it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use smallvec::SmallVec;
use tokio::time::Instant;
use uuid::Uuid;

use super::ChannelState;
use super::chain::Chain;
use super::replays::Replays;
use crate::access::Principal;
use crate::bus::CursorBases;
use crate::event::{Catalog, ChannelId, Filter, PerChannel, Position};
use crate::hub::SendBuffer;
use crate::hub::encoding::Encoding;
use crate::hub::index::{IndexSlot, IndexSlots};

/// One connection.
pub struct Peer {
    /// Names it in `welcome` and in lists; has the time at which it joined.
    pub id: Uuid,
    /// Its client's, which a proxy may have named.
    pub address: IpAddr,
    /// Events that it was sent, or that wait in its send buffer.
    pub delivered: u64,
    pub send_buffer: Arc<SendBuffer>,
    pub encoding: Encoding,
    /// The last `id` that the connection was sent: the position of each of its channels. Only event streams have one.
    pub cursor: Option<Box<StreamCursor>>,
    /// The subscriptions. An index into them is the `sub` of a [`Member`](crate::hub::Member), so an entry never moves.
    pub subs: Vec<Option<Sub>>,
    /// The steps of the current batch that go to this connection.
    pub chain: Chain,
    /// It has sent a `sync`, as caches do.
    pub has_synced: bool,
    /// `None` without authentication.
    pub credential: Option<Box<Credential>>,
}

/// The credential of a connection.
pub struct Credential {
    pub principal: Arc<Principal>,
    /// When it ends, by a clock that nobody sets.
    pub expires: Option<Instant>,
}

/// The cursor of an event stream.
pub struct StreamCursor {
    /// In the order of the channels' names.
    positions: CursorPositions,
    bases: Arc<CursorBases>,
}

/// The position of each channel of a stream. Nearly every stream has one channel, which needs no allocation.
pub type CursorPositions = SmallVec<[(ChannelId, Position); 1]>;

/// One subscription of a connection.
pub struct Sub {
    /// The id that the client gave it.
    pub name: Box<str>,
    pub channel: ChannelId,
    /// What the client asked for. A renewed credential may grant another part of it.
    pub asked: Arc<Filter>,
    pub source: SubscriptionSource,
}

/// The source of a subscription's events.
pub enum SubscriptionSource {
    /// The live events of the channel; the subscription's slots in the channel's index.
    Live(IndexSlots),
    /// The log; the slot of the replay.
    Replay(u32),
}

/// The source of a connection's events of a channel.
#[derive(Clone, Copy)]
pub enum ChannelSource {
    Live,
    /// The slot of the replay.
    Replay(u32),
}

impl Peer {
    pub fn new(id: Uuid, address: IpAddr, send_buffer: Arc<SendBuffer>, bases: Arc<CursorBases>) -> Self {
        let encoding = send_buffer.encoding;
        let cursor = matches!(encoding, Encoding::Events { .. })
            .then(|| Box::new(StreamCursor { positions: SmallVec::new(), bases }));
        Self {
            id,
            address,
            delivered: 0,
            send_buffer,
            encoding,
            cursor,
            subs: Vec::new(),
            chain: Chain::default(),
            has_synced: false,
            credential: None,
        }
    }

    /// All subscriptions.
    pub fn subs(&self) -> impl Iterator<Item = &Sub> {
        self.subs.iter().flatten()
    }

    /// The source of the connection's subscriptions to a channel. All of them have the same one.
    pub fn source_of(&self, channel: ChannelId) -> Option<ChannelSource> {
        self.subs().find(|sub| sub.channel == channel).map(|sub| match sub.source {
            SubscriptionSource::Live(_) => ChannelSource::Live,
            SubscriptionSource::Replay(replay) => ChannelSource::Replay(replay),
        })
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
    /// The position of each channel that has one, in the order of the channels' names.
    pub fn positions(&self) -> &CursorPositions {
        &self.positions
    }

    /// Sets the position of a channel; returns whether it was another.
    pub fn set(&mut self, channel: ChannelId, position: &Position, catalog: &Catalog) -> bool {
        match self.positions.iter_mut().find(|(known, _)| *known == channel) {
            // The epoch stays: a clone of it would be one more count that all shards write.
            Some((_, at)) if at.same_epoch(position) => {
                std::mem::replace(&mut at.offset, position.offset) != position.offset
            }
            Some((_, at)) => {
                *at = position.clone();
                true
            }
            None => {
                let name = |channel: ChannelId| &*catalog.get(channel).name;
                let place = self.positions.partition_point(|(other, _)| name(*other) < name(channel));
                self.positions.insert(place, (channel, position.clone()));
                true
            }
        }
    }

    /// The cursor as it is sent.
    pub fn text(&self, catalog: &Catalog) -> String {
        self.bases.write(self.positions.iter().map(|(channel, position)| (&*catalog.get(*channel).name, position)))
    }
}

impl Credential {
    pub fn new(principal: Arc<Principal>) -> Self {
        let remaining = principal.remaining(SystemTime::now());
        // A credential that ends in thousands of years has no end.
        let expires = remaining.and_then(|remaining| Instant::now().checked_add(remaining));
        Self { principal, expires }
    }
}

impl SubscriptionSource {
    /// Follows a move in the channel's index.
    pub fn moved(&mut self, from: IndexSlot, to: IndexSlot) {
        if let Self::Live(slots) = self {
            slots.iter_mut().filter(|slot| **slot == from).for_each(|slot| *slot = to);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Every idle connection has one.
    #[test]
    fn a_peer_is_small() {
        assert!(size_of::<Peer>() <= 112, "{} bytes", size_of::<Peer>());
    }
}
