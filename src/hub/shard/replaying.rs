//! Sends replayed steps to a connection, and moves the replay to the live channel once it has caught up.
//!
//! A reader of the log feeds steps to the shard. The shard sends them if the connection's send buffer is empty, and
//! then compares the replay's position with the live position of the channel. Where they meet, the subscriptions move
//! to the channel's filter index. The shard does both in one call, so no step is lost or sent twice between them. This
//! module does not read the log.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::peer::SubscriptionSource;
use super::replays::ReplayedSubscription;
use super::step_encoder::StepEncoder;
use super::{ChannelState, Shard};
use crate::hub::channel_step::ChannelStep;
use crate::hub::inbox_item::{FeedOutcome, ReplayId};
use crate::hub::index;

impl Shard {
    /// Sends steps from the log, and moves the replay to the live channel if it has caught up.
    ///
    /// A connection whose send buffer is not empty is sent nothing, and the reply is [`FeedOutcome::Full`]. Several
    /// replays of one connection would otherwise overrun its send buffer together.
    pub(super) fn feed(&mut self, replay_id: ReplayId, steps: &[ChannelStep], done: oneshot::Sender<FeedOutcome>) {
        let Some(replay) = self.replays.by_id(replay_id) else {
            let _ = done.send(FeedOutcome::Gone);
            return;
        };
        let peer = &mut self.peers[replay.peer as usize];
        let send_buffer = peer.send_buffer.clone();
        if !send_buffer.has_room(0) {
            let _ = done.send(if send_buffer.is_closing() { FeedOutcome::Gone } else { FeedOutcome::Full });
            return;
        }
        let mut encoder = StepEncoder::new(&self.catalog, &mut self.deflater, &self.metrics);
        let delivered = &mut peer.delivered;
        let sent = steps.iter().filter(|step| replay.advance(step));
        let sent = sent.inspect(|step| *delivered += u64::from(step.is_event()));
        let frames = encoder.replayed_bytes(peer.encoding, &mut peer.cursor, sent);
        send_buffer.replay(&frames.iter().collect::<Vec<_>>());
        if replay.is_listing {
            let _ = done.send(if send_buffer.is_closing() { FeedOutcome::Gone } else { FeedOutcome::On });
            return;
        }
        let channel = &self.channels[replay.channel];
        let Some(live) = &channel.position else { return };
        if replay.position.same_epoch(live) && replay.position.offset > live.offset {
            // The log has events that the relay has not delivered to this shard yet. `pass_replays` replies when it
            // has.
            replay.ahead = Some(done);
            return;
        }
        if replay.position != *live {
            let position = replay.position.clone();
            let rest = channel.recent.after(&position).filter(|(bytes, _)| send_buffer.has_room(*bytes));
            let Some((_, rest)) = rest else {
                let _ = done.send(if send_buffer.is_closing() { FeedOutcome::Gone } else { FeedOutcome::On });
                return;
            };
            let delivered = &mut peer.delivered;
            let rest = rest.map(|step| &**step).filter(|step| replay.advance(step));
            let rest = rest.inspect(|step| *delivered += u64::from(step.is_event()));
            let frames = encoder.replayed_bytes(peer.encoding, &mut peer.cursor, rest);
            send_buffer.replay(&frames.iter().collect::<Vec<_>>());
        }
        self.go_live(replay_id.slot);
        let _ = done.send(FeedOutcome::Live);
    }

    /// Called after a live step of a channel: keeps the step for the channel's replays, and replies to those that were
    /// ahead.
    pub(super) fn pass_replays(&mut self, step: &Arc<ChannelStep>) {
        let channel = &mut self.channels[step.channel];
        channel.recent.push(step);
        let mut reached = Vec::new();
        for slot in channel.replays.iter().copied() {
            let Some(replay) = self.replays.get_mut(slot) else { continue };
            let (position, live) = (&replay.position, &step.position);
            if position.same_epoch(live) && live.offset < position.offset {
                continue;
            }
            let Some(done) = replay.ahead.take() else { continue };
            if *position == *live {
                reached.push((slot, done));
            } else {
                // The channel skipped events, or the log was lost. The reader goes on: the log tells it what is
                // missing.
                let _ = done.send(FeedOutcome::On);
            }
        }
        for (slot, done) in reached {
            self.go_live(slot);
            let _ = done.send(FeedOutcome::Live);
        }
    }

    /// Ends a replay at the channel's live position: its subscriptions move to the channel's index.
    fn go_live(&mut self, slot: u32) {
        let Some(replay) = self.replays.remove(slot) else { return };
        let channel = &mut self.channels[replay.channel];
        channel.remove_replay(slot);
        for ReplayedSubscription { sub, selector } in replay.subs {
            let places = channel.index.insert_all(&selector, index::Member { peer: replay.peer, sub });
            if let Some(sub) = &mut self.peers[replay.peer as usize].subs[sub as usize] {
                sub.source = SubscriptionSource::Live(places);
            }
        }
    }
}

impl ChannelState {
    /// Removes a replay that has ended.
    pub(super) fn remove_replay(&mut self, replay: u32) {
        self.replays.retain(|other| *other != replay);
        if self.replays.is_empty() {
            self.recent.clear();
        }
    }
}
