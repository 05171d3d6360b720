//! How the credentials of a shard's connections end and are renewed.
//!
//! The shard does it itself, between two batches. So nothing is delivered after the end of a credential, and everything after
//! the answer to a renewal is within the new grants.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::Shard;
use super::peer::{Credential, SubscriptionSource};
use crate::access::Principal;
use crate::bus::Renewal;
use crate::hub::SendBuffer;
use crate::hub::index::Member;
use crate::protocol::{CloseCode, ErrorCode, ServerFrame};

/// Why a connection is closed whose credential is not accepted any more.
const EXPIRED: (CloseCode, &str) = (CloseCode::TokenExpired, "the token has expired: connect again with a new one");
const REVOKED: (CloseCode, &str) = (CloseCode::Revoked, "the credential was revoked");

impl Shard {
    /// Gives a connection its credential. One that has ended meanwhile, or was taken back, ends the connection.
    pub(super) fn set_credential(&mut self, send_buffer: &Arc<SendBuffer>, principal: Arc<Principal>) {
        let Some(peer) = self.peers.get_mut(send_buffer.slot()) else { return };
        let refused = self.guard.refuses(&principal);
        let credential = Credential::new(principal);
        if refused {
            expel(send_buffer, REVOKED);
        }
        self.next_expiry = earlier(self.next_expiry, credential.expires);
        peer.credential = Some(Box::new(credential));
    }

    /// Closes the connections whose credential has been taken back.
    pub(super) fn recheck_credentials(&self) {
        for (_, peer) in &self.peers {
            if peer.credential.as_ref().is_some_and(|credential| self.guard.refuses(&credential.principal)) {
                expel(&peer.send_buffer, REVOKED);
            }
        }
    }

    /// Closes the connections whose credential has ended.
    pub(super) fn expire_credentials(&mut self, now: Instant) {
        if self.next_expiry.is_none_or(|next| now < next) {
            return;
        }
        self.next_expiry = None;
        for (_, peer) in &self.peers {
            match peer.credential.as_ref().and_then(|credential| credential.expires) {
                Some(expires) if expires <= now => expel(&peer.send_buffer, EXPIRED),
                expires => self.next_expiry = earlier(self.next_expiry, expires),
            }
        }
    }

    /// Replaces the credential of a connection, and with it what its subscriptions select. Ends those that are not granted
    /// any more. Returns the frames to send.
    pub(super) fn renew(&mut self, send_buffer: &Arc<SendBuffer>, renewal: &Renewal) -> Vec<Bytes> {
        let number = send_buffer.slot();
        if self.peers.get(number).is_none() {
            return Vec::new();
        }
        self.set_credential(send_buffer, renewal.principal().clone());
        let mut answer = vec![ServerFrame::Authenticated { expires_in_ms: renewal.expires_in_ms() }];
        for slot in 0..self.peers[number].subs.len() {
            let Some(sub) = &self.peers[number].subs[slot] else { continue };
            let Some(selector) = renewal.selector(sub.channel, &sub.asked) else {
                let name = sub.name.clone();
                self.remove(number, slot);
                self.metrics.refused(ErrorCode::Forbidden.as_str());
                let message = "the new credential does not grant this channel";
                let sub = || String::from(name.clone());
                answer.push(ServerFrame::Unsubscribed { sub: sub().into() });
                answer.push(ServerFrame::Error {
                    code: ErrorCode::Forbidden,
                    message: message.into(),
                    sub: Some(sub().into()),
                    id: None,
                });
                continue;
            };
            let channel = sub.channel;
            match &sub.source {
                SubscriptionSource::Replay(replay) => {
                    let subs = self.replays.get_mut(*replay).into_iter().flat_map(|replay| &mut replay.subs);
                    subs.filter(|member| member.sub == slot as u32)
                        .for_each(|member| member.selector = selector.clone());
                }
                SubscriptionSource::Live(slots) => {
                    let slots = slots.clone();
                    self.unlist(channel, &slots);
                    let member = Member { peer: number as u32, sub: slot as u32 };
                    let slots = self.channels[channel].index.insert_all(&selector, member);
                    if let Some(sub) = &mut self.peers[number].subs[slot] {
                        sub.source = SubscriptionSource::Live(slots);
                    }
                }
            }
        }
        answer.iter().filter_map(|frame| send_buffer.encoding.encode(frame)).collect()
    }
}

fn expel(send_buffer: &Arc<SendBuffer>, (code, reason): (CloseCode, &str)) {
    let last = ServerFrame::Error { code: ErrorCode::Unauthenticated, message: reason.into(), sub: None, id: None };
    send_buffer.expel(&last, code, reason);
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}
