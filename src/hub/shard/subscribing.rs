//! How a shard makes and ends the subscriptions of its connections.
//!
//! A connection has one position in each channel, whatever its subscriptions there are. So a subscription that joins others
//! begins at their position, and one that asks for an earlier position is refused.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::Shard;
use super::peer::{ChannelSource, Peer, Sub, SubscriptionSource};
use super::replays;
use crate::bus::{Begin, Subscription, SubscriptionParts as Parts};
use crate::event::{ChannelId, Filter, Position, Selector};
use crate::hub::SendBuffer;
use crate::hub::encoding::Encoding;
use crate::hub::inbox_item::{Begun, ReplayId};
use crate::hub::index::{IndexSlot, Member, Moved};
use crate::incidents::IncidentKind;
use crate::protocol::{ErrorCode, ServerFrame};
use crate::suggest::{self, Known};

/// Why a subscription is refused.
type Refusal = (ErrorCode, String);

impl Shard {
    /// Makes a subscription. Returns the frames to send, and the replay if one begins. The frames are `subscribed`, followed
    /// by `gap` if events are lost, or `error`.
    pub(super) fn subscribe(
        &mut self,
        send_buffer: &SendBuffer,
        subscription: Subscription,
    ) -> (Vec<Bytes>, Option<Begun>) {
        let Parts { sub, channel, asked, selector, begin } = subscription.into_parts();
        let (recovered, lost) = match &begin {
            Begin::Live { recovered } => (recovered.then_some(true), None),
            Begin::Latest { .. } => (Some(true), None),
            Begin::After { lost, .. } => (Some(lost.is_none()), lost.clone()),
        };
        let latest = matches!(begin, Begin::Latest { .. });
        let (position, replay_id) = match self.try_subscribe(send_buffer, &sub, channel, asked, selector, begin) {
            Ok(made) => made,
            Err((code, message)) => return (self.refused(send_buffer, code, message, sub), None),
        };
        let name = self.catalog.get(channel).name.as_ref();
        let subscribed =
            ServerFrame::Subscribed { sub: sub.into(), channel: name.into(), position: position.clone(), recovered };
        let mut answer: Vec<Bytes> = send_buffer.encoding.encode(&subscribed).into_iter().collect();
        if let Some(from) = lost {
            self.metrics.gaps.inc();
            let detail =
                format!("a client resumed after {from}, where the log does not continue: it was told of a gap");
            send_buffer.incidents().note(IncidentKind::Gap, Some(&self.catalog.get(channel).name), detail);
            let gap = ServerFrame::Gap { channel: name.into(), from, position: position.clone() };
            answer.extend(send_buffer.encoding.encode(&gap));
        }
        (answer, replay_id.map(|replay_id| Begun { replay_id, channel, position, latest }))
    }

    /// Makes a subscription. Returns its position, and the replay that it begins.
    fn try_subscribe(
        &mut self,
        send_buffer: &SendBuffer,
        name: &str,
        id: ChannelId,
        asked: Arc<Filter>,
        selector: Arc<Selector>,
        begin: Begin,
    ) -> Result<(Position, Option<ReplayId>), Refusal> {
        let number = send_buffer.slot();
        let channel = &mut self.channels[id];
        let peer = self
            .peers
            .get_mut(number)
            .ok_or_else(|| (ErrorCode::UnknownSubscription, "this connection has ended".to_owned()))?;
        check_limits(peer, name, self.max_subscriptions)?;
        let Some(live) = channel.position.clone() else {
            let message = "this node has not reached its broker yet: try again".to_owned();
            return Err((ErrorCode::BrokerUnavailable, message));
        };
        let others = peer.source_of(id);
        let current = match others {
            Some(ChannelSource::Replay(replay)) => {
                self.replays.get(replay).map_or(live, |replay| replay.position.clone())
            }
            Some(ChannelSource::Live) | None => live,
        };
        let (is_listing, is_live) = (matches!(begin, Begin::Latest { .. }), matches!(begin, Begin::Live { .. }));
        let from_log = match begin {
            Begin::Live { .. } => None,
            // An empty log has no newest events.
            Begin::Latest { position } => (position != current).then_some(position),
            Begin::After { position, lost } => {
                let reached = position.same_epoch(&current) && position.offset >= current.offset;
                (!reached || (others.is_none() && position != current) || lost.is_some()).then_some(position)
            }
        };
        if let (Some(position), Some(_)) = (&from_log, others)
            && *position != current
        {
            let message = format!(
                "`since`: this connection's stream of the channel is at {current} and cannot go back: subscribe on another connection"
            );
            return Err((ErrorCode::InvalidPosition, message));
        }
        // A replay sends its subscriptions the same events.
        let joined = others.and_then(|source| match source {
            ChannelSource::Replay(replay) => self.replays.get(replay),
            ChannelSource::Live => None,
        });
        if !is_live && joined.is_some_and(|replay| replay.is_listing != is_listing) {
            let message = "`since`: another subscription of this connection to the channel has begun elsewhere: subscribe on \
                           another connection";
            return Err((ErrorCode::InvalidPosition, message.to_owned()));
        }
        let slot = peer.free_index();
        let (peer_number, sub) = (number as u32, slot as u32);
        let mut replay_id = None;
        let (position, source) = match (others, from_log) {
            (Some(ChannelSource::Replay(replay)), _) => {
                if let Some(replay) = self.replays.get_mut(replay) {
                    replay.subs.push(replays::ReplayedSubscription { sub, selector });
                }
                (current, SubscriptionSource::Replay(replay))
            }
            (None, Some(position)) => {
                let begun = self.replays.insert(
                    peer_number,
                    id,
                    position.clone(),
                    is_listing,
                    replays::ReplayedSubscription { sub, selector },
                );
                channel.replays.push(begun.slot);
                replay_id = Some(begun);
                (position, SubscriptionSource::Replay(begun.slot))
            }
            (Some(ChannelSource::Live) | None, _) => {
                let slots = channel.index.insert_all(&selector, Member { peer: peer_number, sub });
                (current, SubscriptionSource::Live(slots))
            }
        };
        if others.is_none() {
            self.subscribers[id].fetch_add(1, Ordering::Relaxed);
        }
        peer.subs[slot] = Some(Sub { name: name.into(), channel: id, asked, source });
        self.metrics.subscriptions.inc();
        Ok((position, replay_id))
    }

    /// Ends a subscription by its name. Returns the frame to send: `unsubscribed` or `error`.
    pub(super) fn unsubscribe(&mut self, send_buffer: &SendBuffer, name: &str) -> Vec<Bytes> {
        let number = send_buffer.slot();
        match self.peers.get(number).and_then(|peer| peer.find(name)) {
            Some(slot) => {
                self.remove(number, slot);
                send_buffer.encoding.encode(&ServerFrame::Unsubscribed { sub: name.into() }).into_iter().collect()
            }
            None => {
                let names = self.peers.get(number).into_iter().flat_map(Peer::subs).map(|sub| &*sub.name);
                let refusal = format!("this connection has no subscription {}", suggest::quoted(name));
                let message = Known::new("subscriptions", names).refuse(&refusal, name);
                self.refused(send_buffer, ErrorCode::UnknownSubscription, message, name.into())
            }
        }
    }

    /// Ends a connection's subscription.
    pub(super) fn remove(&mut self, number: usize, slot: usize) {
        let peer = &mut self.peers[number];
        let Some(sub) = peer.subs[slot].take() else { return };
        if peer.source_of(sub.channel).is_none() {
            self.subscribers[sub.channel].fetch_sub(1, Ordering::Relaxed);
        }
        self.metrics.subscriptions.dec();
        let channel = &mut self.channels[sub.channel];
        match sub.source {
            SubscriptionSource::Live(slots) => self.unlist(sub.channel, &slots),
            SubscriptionSource::Replay(replay) => {
                let Some(replayed) = self.replays.get_mut(replay) else { return };
                replayed.subs.retain(|member| member.sub != slot as u32);
                if replayed.subs.is_empty() {
                    channel.remove_replay(replay);
                    // The next feed of this replay is answered with `Gone`.
                    self.replays.remove(replay);
                }
            }
        }
    }

    /// Removes a subscription from its channel's index.
    pub(super) fn unlist(&mut self, channel: ChannelId, slots: &[IndexSlot]) {
        for slot in slots {
            if let Some(Moved { member, from }) = self.channels[channel].index.remove(*slot)
                && let Some(other) = &mut self.peers[member.peer as usize].subs[member.sub as usize]
            {
                other.source.moved(from, *slot);
            }
        }
    }

    fn refused(&self, send_buffer: &SendBuffer, code: ErrorCode, message: String, sub: String) -> Vec<Bytes> {
        self.metrics.refused(code.as_str());
        let error = ServerFrame::Error { code, message: message.into(), sub: Some(sub.into()), id: None };
        send_buffer.encoding.encode(&error).into_iter().collect()
    }
}

/// Checks whether the connection may have one more subscription, with this name.
fn check_limits(peer: &Peer, name: &str, max: usize) -> Result<(), Refusal> {
    if peer.find(name).is_some() {
        let message = format!(
            "this connection already has a subscription {}: choose another `sub`, or unsubscribe that one first",
            suggest::quoted(name)
        );
        return Err((ErrorCode::DuplicateSubscription, message));
    }
    // An event stream asks for all its channels at once, in one URL.
    if peer.subs().count() >= max && matches!(peer.encoding, Encoding::WebSocket { .. }) {
        return Err((
            ErrorCode::TooManySubscriptions,
            format!(
                "a connection has at most {max} subscriptions (the setting max_subscriptions): unsubscribe one, or open \
             another connection"
            ),
        ));
    }
    Ok(())
}
