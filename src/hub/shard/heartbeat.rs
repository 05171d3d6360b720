//! Heartbeats: a tick of the shard over its slab of connections, so that none of them has a timer of its own.
//!
//! A tick takes each `ticks`-th connection, so that they are spread evenly over the interval, and a connection's first
//! comes after a part of it that it cannot know.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::Shard;
use crate::event::Position;
use crate::hub::encoding::Encoding;
use crate::hub::frame;
use crate::protocol::{CloseCode, ServerFrame};

/// The heartbeats of a shard's connections are spread over so many ticks of an interval, or fewer where it is short.
const MAX_TICKS: u32 = 256;
const MIN_TICK: Duration = Duration::from_millis(5);

/// Whose turn it is.
pub struct HeartbeatSchedule {
    /// Connections with this number modulo `ticks` are due at the next tick.
    due: u32,
    ticks: u32,
    /// From one `due` to the next. Coprime to `ticks`, so that all get their turn, and far from 1, so that connections
    /// that came together, and thus have neighbouring numbers, are spread over the whole interval.
    stride: u32,
}

impl HeartbeatSchedule {
    pub fn new(interval: Duration) -> Self {
        let fitting = (interval.as_millis() / MIN_TICK.as_millis()) as u32;
        let ticks = fitting.clamp(1, MAX_TICKS);
        Self { due: 0, ticks, stride: stride(ticks) }
    }

    /// The ticks in an interval.
    pub fn ticks(&self) -> u32 {
        self.ticks
    }

    /// Those of so many connections that are due.
    fn next(&mut self, peers: usize) -> impl Iterator<Item = usize> + use<> {
        let due = self.due as usize;
        self.due = (self.due + self.stride) % self.ticks;
        (due..peers).step_by(self.ticks as usize)
    }
}

impl Shard {
    /// Sends the heartbeats that are due; who has answered neither of the last two is closed. What has come counts, though
    /// this node has not read it yet: one that is overloaded must not send its healthy peers away.
    pub(super) fn beat(&mut self) {
        let ping = frame::ping();
        // The answer to the last heartbeat but one came a little after that.
        let patience = self.heartbeat * 7 / 4;
        let due = self.schedule.next(self.peers.capacity());
        for number in due {
            let Some(peer) = self.peers.get(number) else { continue };
            // An event stream's peer has nothing to say: TCP tells when it has gone.
            let speaks = matches!(peer.encoding, Encoding::WebSocket { .. });
            if speaks && peer.send_buffer.silence() > patience && !peer.send_buffer.has_unread() {
                self.metrics.dead_peers.inc();
                peer.send_buffer.close(CloseCode::HeartbeatTimeout, "nothing came for two heartbeats");
                continue;
            }
            let heartbeat = self.heartbeat_of(number);
            let Some(peer) = self.peers.get(number) else { continue };
            let frames = speaks.then_some(&ping).into_iter().chain(&heartbeat);
            peer.send_buffer.send(&frames.collect::<Vec<_>>());
        }
    }

    /// Says up to where everything was sent. An event stream of several channels does not fall back behind it.
    pub(super) fn heartbeat_of(&mut self, number: usize) -> Option<Bytes> {
        let peer = self.peers.get_mut(number)?;
        let positions: BTreeMap<Cow<'_, str>, Position> = peer
            .subs()
            .filter_map(|sub| {
                let position = sub.position(&self.channels, &self.replays)?;
                Some((Cow::from(&*self.catalog.get(sub.channel).name), position))
            })
            .collect();
        if let Some(cursor) = &mut peer.cursor {
            cursor.0 = positions.iter().map(|(name, position)| (name.to_string(), position.clone())).collect();
        }
        peer.encoding.said(&ServerFrame::Heartbeat { positions })
    }
}

/// The first number from about 0.6 of `ticks` on (the golden section spreads neighbours most evenly) that has no divisor
/// in common with it.
fn stride(ticks: u32) -> u32 {
    let coprime = |candidate: &u32| {
        let (mut a, mut b) = (*candidate, ticks);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a == 1
    };
    (ticks * 618 / 1000 + 1..).find(coprime).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyone_has_a_turn_in_an_interval() {
        for interval in [1, 7, 100, 333, 25_000] {
            let mut schedule = HeartbeatSchedule::new(Duration::from_millis(interval));
            let mut turns: Vec<usize> = (0..schedule.ticks()).flat_map(|_| schedule.next(1000)).collect();
            turns.sort_unstable();
            assert_eq!(turns, (0..1000).collect::<Vec<_>>(), "{interval} ms");
        }
    }
}
