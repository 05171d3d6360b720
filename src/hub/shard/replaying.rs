//! Replays: what the log brings to a connection, and the seam at which it comes to what is live.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::peer::Standing;
use super::replays::Member;
use super::writer::Writer;
use super::{Channel, Shard};
use crate::hub::delivery::Delivery;
use crate::hub::feed::{FeedOutcome, ReplayId};
use crate::hub::index;

impl Shard {
    /// Sends what the log has, and brings the replay to what is live where it can be. A peer that still has to take something
    /// is sent nothing: several replays of one connection, none of which knows of the others, would overrun it.
    pub(super) fn feed(&mut self, replay_id: ReplayId, steps: &[Delivery], done: oneshot::Sender<FeedOutcome>) {
        let Some(replay) = self.replays.of(replay_id) else {
            let _ = done.send(FeedOutcome::Gone);
            return;
        };
        let peer = &mut self.peers[replay.peer as usize];
        let send_buffer = peer.send_buffer.clone();
        if !send_buffer.takes(0) {
            let _ = done.send(if send_buffer.is_closing() { FeedOutcome::Gone } else { FeedOutcome::Full });
            return;
        }
        let mut writer = Writer { catalog: &self.catalog, deflater: &mut self.deflater, metrics: &self.metrics };
        let sent = writer.replayed(peer.encoding, &mut peer.cursor, steps.iter().filter(|step| replay.takes(step)));
        send_buffer.replay(&sent.iter().collect::<Vec<_>>());
        let channel = &self.channels[replay.channel];
        let Some(live) = &channel.position else { return };
        if replay.position.same_epoch(live) && replay.position.offset > live.offset {
            // The log was read before what is live came here: it will.
            replay.ahead = Some(done);
            return;
        }
        if replay.position != *live {
            let position = replay.position.clone();
            let rest = channel.recent.after(&position).filter(|(bytes, _)| send_buffer.takes(*bytes));
            let Some((_, rest)) = rest else {
                let _ = done.send(if send_buffer.is_closing() { FeedOutcome::Gone } else { FeedOutcome::On });
                return;
            };
            let rest = rest.map(|step| &**step).filter(|step| replay.takes(step));
            let sent = writer.replayed(peer.encoding, &mut peer.cursor, rest);
            send_buffer.replay(&sent.iter().collect::<Vec<_>>());
        }
        self.go_live(replay_id.slot);
        let _ = done.send(FeedOutcome::Live);
    }

    /// What is live has made a step: replays that are waiting for it join it.
    pub(super) fn pass_replays(&mut self, delivery: &Arc<Delivery>) {
        let channel = &mut self.channels[delivery.channel];
        channel.recent.push(delivery);
        let mut reached = Vec::new();
        for slot in channel.replays.iter().copied() {
            let Some(replay) = self.replays.get_mut(slot) else { continue };
            let (stands, live) = (&replay.position, &delivery.position);
            if stands.same_epoch(live) && live.offset < stands.offset {
                continue;
            }
            let Some(done) = replay.ahead.take() else { continue };
            if *stands == *live {
                reached.push((slot, done));
            } else {
                // The log was lost, or what is live has passed over a part of it: it will say what is missing.
                let _ = done.send(FeedOutcome::On);
            }
        }
        for (slot, done) in reached {
            self.go_live(slot);
            let _ = done.send(FeedOutcome::Live);
        }
    }

    /// The replay stands where the channel stands.
    fn go_live(&mut self, slot: u32) {
        let Some(replay) = self.replays.remove(slot) else { return };
        let channel = &mut self.channels[replay.channel];
        channel.forget(slot);
        for Member { sub, filter } in replay.subs {
            let place = channel.index.insert(&filter, index::Member { peer: replay.peer, sub });
            if let Some(sub) = &mut self.peers[replay.peer as usize].subs[sub as usize] {
                sub.standing = Standing::Live(place);
            }
        }
    }
}

impl Channel {
    /// A replay has ended.
    pub(super) fn forget(&mut self, replay: u32) {
        self.replays.retain(|other| *other != replay);
        if self.replays.is_empty() {
            self.recent.clear();
        }
    }
}
