//! The samples of one shard: Pings behind events, whose answers tell how far the subscribers have read.
//!
//! [`Pace`] says when a sample is wanted and what the answers mean. This module chooses the subscribers.

use std::sync::Arc;
use std::time::Instant;

use slab::Slab;
use smallvec::SmallVec;

use super::ChannelState;
use super::peer::{ChannelSource, Peer};
use crate::event::{Catalog, ChannelId, PerChannel};
use crate::hub::encoding::Encoding;
use crate::hub::frame;
use crate::pace::{Pace, SAMPLE_SIZE};

/// Random connections that are looked at for a sample.
const TRIES: usize = 4 * SAMPLE_SIZE;
/// Connections that are searched if none of these is subscribed to the channel.
const MAX_SEARCH: usize = 2_048;

/// What a shard has written since it last told its pace.
pub struct Sampler {
    pace: Arc<Pace>,
    /// The number of the shard.
    shard: u16,
    /// When the first step came that was not written yet.
    since: PerChannel<Option<Instant>>,
    /// The channels that have one.
    channels: Vec<ChannelId>,
}

impl Sampler {
    pub fn new(shard: u16, catalog: &Catalog, pace: Arc<Pace>) -> Self {
        Self { pace, shard, since: PerChannel::new(catalog, |_| None), channels: Vec::new() }
    }

    /// A step of a channel is in the batch. The relay handed it over at this time.
    pub fn noted(&mut self, channel: ChannelId, handed_over: Instant) {
        if self.since[channel].is_none() {
            self.since[channel] = Some(handed_over);
            self.channels.push(channel);
        }
    }

    /// The batch was written to the connections `touched`.
    pub fn written(&mut self, channels: &PerChannel<ChannelState>, peers: &Slab<Peer>, touched: &[u32]) {
        if self.channels.is_empty() {
            return;
        }
        let now = Instant::now();
        for id in self.channels.drain(..) {
            let (Some(since), Some(position)) = (self.since[id].take(), &channels[id].position) else { continue };
            if self.pace.written(self.shard, id, position, since, now) {
                let chosen = choose(peers, touched, id);
                let pings = self.pace.sample(self.shard, id, chosen.len(), now);
                for (peer, payload) in chosen.iter().zip(pings) {
                    peer.send_buffer.ping(&[&frame::ping_with(&payload)]);
                }
            }
        }
    }
}

/// Random WebSockets among those that were sent something, and that are subscribed to the channel.
fn choose<'a>(peers: &'a Slab<Peer>, touched: &[u32], channel: ChannelId) -> SmallVec<[&'a Peer; SAMPLE_SIZE]> {
    let mut slots: SmallVec<[u32; SAMPLE_SIZE]> = SmallVec::new();
    if touched.is_empty() {
        return SmallVec::new();
    }
    let random = (0..TRIES).map(|_| rand::random_range(0..touched.len()));
    // If these miss the few subscribers of a small channel, the next ones in order find them.
    let first = rand::random_range(0..touched.len());
    let in_order = (first..touched.len()).chain(0..first).take(MAX_SEARCH);
    for (tried, at) in random.chain(in_order).enumerate() {
        if tried >= TRIES && !slots.is_empty() {
            break;
        }
        let slot = touched[at];
        let fits = peers.get(slot as usize).is_some_and(|peer| {
            matches!(peer.encoding, Encoding::WebSocket { .. })
                && matches!(peer.source_of(channel), Some(ChannelSource::Live))
        });
        if fits && !slots.contains(&slot) {
            slots.push(slot);
            if slots.len() == SAMPLE_SIZE {
                break;
            }
        }
    }
    slots.iter().filter_map(|slot| peers.get(*slot as usize)).collect()
}
