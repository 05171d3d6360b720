//! Heartbeats of a shard's connections, and the detection of dead peers.
//!
//! One timer of the shard serves all connections. The heartbeat interval is divided into ticks; at each tick, every
//! `ticks`-th connection is sent a heartbeat. So the heartbeats are spread evenly over the interval, and a connection's
//! first heartbeat comes at any time within it.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;

use super::Shard;
use super::peer::Peer;
use crate::event::{ChannelId, Position};
use crate::hub::encoding::{self, Encoding};
use crate::hub::frame;
use crate::protocol::{CloseCode, ServerFrame};

/// The ticks of an interval, or fewer where it is short.
const MAX_TICKS: u32 = 256;
const MIN_TICK: Duration = Duration::from_millis(5);

/// Which connections are due at a tick.
pub struct HeartbeatSchedule {
    /// Connections whose index modulo `ticks` is this are due at the next tick.
    due: u32,
    ticks: u32,
    /// The step from one `due` to the next. It is coprime to `ticks`, so that every connection is due once in an
    /// interval. It is far from 1: connections that were opened together have neighbouring indexes, and must be spread.
    stride: u32,
}

impl HeartbeatSchedule {
    pub fn new(interval: Duration) -> Self {
        let fitting = (interval.as_millis() / MIN_TICK.as_millis()) as u32;
        let ticks = fitting.clamp(1, MAX_TICKS);
        Self { due: 0, ticks, stride: stride(ticks) }
    }

    /// The number of ticks in an interval.
    pub fn ticks(&self) -> u32 {
        self.ticks
    }

    /// The indexes that are due at this tick, below `peers`.
    fn next(&mut self, peers: usize) -> impl Iterator<Item = usize> + use<> {
        let due = self.due as usize;
        self.due = (self.due + self.stride) % self.ticks;
        (due..peers).step_by(self.ticks as usize)
    }
}

impl Shard {
    /// Sends the heartbeats that are due. A peer that was silent for two intervals is closed with 4009.
    ///
    /// Bytes that wait unread in the socket count as received: an overloaded node must not close healthy peers.
    pub(super) fn send_due_heartbeats(&mut self) {
        let ping = frame::ping();
        // A peer that died right after it answered the heartbeat of two intervals ago was silent for a little less than
        // two.
        let max_silence = self.heartbeat * 7 / 4;
        let due = self.schedule.next(self.peers.capacity());
        for number in due {
            let Some(peer) = self.peers.get(number) else { continue };
            // The client of an event stream sends nothing. TCP reports when it has disconnected.
            let sends_pongs = matches!(peer.encoding, Encoding::WebSocket { .. });
            if sends_pongs && peer.send_buffer.silence() > max_silence && !peer.send_buffer.has_unread() {
                self.metrics.dead_peers.inc();
                peer.send_buffer.close(CloseCode::HeartbeatTimeout, "nothing came for two heartbeats");
                continue;
            }
            let heartbeat = self.heartbeat(number);
            let Some(peer) = self.peers.get(number) else { continue };
            let frames: Vec<_> = sends_pongs.then_some(&ping).into_iter().chain(&heartbeat).collect();
            match sends_pongs {
                true => peer.send_buffer.ping(&frames),
                false => peer.send_buffer.send(&frames),
            }
        }
    }

    /// The heartbeat of a connection. On a WebSocket it is the frame with the position up to which each channel was sent.
    /// On an event stream it is a comment, followed by a cursor block if these positions have moved.
    fn heartbeat(&mut self, number: usize) -> Vec<Bytes> {
        let Some(peer) = self.peers.get(number) else { return Vec::new() };
        if peer.cursor.is_none() {
            let name = |channel| Cow::from(&*self.catalog.get(channel).name);
            let positions = self.positions(peer).map(|(channel, position)| (name(channel), position)).collect();
            return peer.encoding.encode(&ServerFrame::Heartbeat { positions }).into_iter().collect();
        }
        let comment = peer.encoding.framed(encoding::sse_heartbeat());
        [comment].into_iter().chain(self.cursor_block(number)).collect()
    }

    /// Moves an event stream's cursor to where the stream is now, past the events that filters held back. Returns the
    /// block with the new cursor; `None` if the client has it already.
    pub(super) fn cursor_block(&mut self, number: usize) -> Option<Bytes> {
        let peer = self.peers.get(number)?;
        let now: Vec<_> = self.positions(peer).collect();
        let peer = self.peers.get_mut(number)?;
        let cursor = peer.cursor.as_mut()?;
        let moved = now.iter().filter(|(channel, position)| cursor.set(*channel, position, &self.catalog)).count();
        (moved > 0).then(|| peer.encoding.framed(encoding::sse_cursor(&cursor.text(&self.catalog))))
    }

    /// The position up to which each channel of a connection was sent.
    pub(super) fn positions(&self, peer: &Peer) -> impl Iterator<Item = (ChannelId, Position)> {
        peer.subs().filter_map(|sub| Some((sub.channel, sub.position(&self.channels, &self.replays)?)))
    }
}

/// The first number from about 0.618 of `ticks` on that is coprime to it. The golden section spreads neighbours most
/// evenly.
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
    fn every_connection_is_due_once_in_an_interval() {
        for interval in [1, 7, 100, 333, 25_000] {
            let mut schedule = HeartbeatSchedule::new(Duration::from_millis(interval));
            let mut due: Vec<usize> = (0..schedule.ticks()).flat_map(|_| schedule.next(1000)).collect();
            due.sort_unstable();
            assert_eq!(due, (0..1000).collect::<Vec<_>>(), "{interval} ms");
        }
    }
}
