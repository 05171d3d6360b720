//! Lists the connections of a shard, a slice at a time: deliveries go on between two slices.

use super::Shard;
use super::peer::Peer;
use crate::bus::{ConnectionRow, ConnectionTransport, Survey, visit_slice};
use crate::hub::encoding::Encoding;

impl Shard {
    /// Visits the connections from this slot on, for a moment. Returns the slot at which to go on; `None` at the end.
    pub(super) fn survey(&self, survey: &mut Survey, from: usize) -> Option<usize> {
        visit_slice(from, self.peers.capacity(), |slot| {
            if let Some(peer) = self.peers.get(slot) {
                survey.visit(peer.id, || peer.send_buffer.buffered(), || row(peer));
            }
        })
    }
}

fn row(peer: &Peer) -> ConnectionRow {
    // The kernel knows the port: a connection that is not listed needs no memory for it.
    let direct = peer.send_buffer.stream().socket().peer_addr().ok();
    let port = direct.filter(|direct| direct.ip().to_canonical() == peer.address).map(|direct| direct.port());
    ConnectionRow {
        id: peer.id,
        transport: match peer.encoding {
            Encoding::WebSocket { .. } => ConnectionTransport::WebSocket,
            Encoding::Events { .. } => ConnectionTransport::EventStream,
        },
        address: peer.address,
        port,
        principal: peer.credential.as_ref().map(|credential| credential.principal.clone()),
        subscriptions: peer.subs().count(),
        buffered: peer.send_buffer.buffered(),
        delivered: peer.delivered,
    }
}
