//! Answers the `sync` frames of a shard's connections.
//!
//! A `sync` is answered once its connection was sent everything up to the positions that a look at the log found, on each
//! channel that it had when the `sync` came. The shard compares after each batch, when the events of the batch are in the
//! send buffers. So the answer follows the last event that it speaks of, and no later one holds it up.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use smallvec::SmallVec;
use tokio::sync::oneshot;

use super::Shard;
use crate::event::{ChannelId, Position};
use crate::hub::SendBuffer;
use crate::hub::mailbox::Mailbox;
use crate::metrics::Outstanding;
use crate::protocol::{ErrorCode, MAX_SYNCS, ServerFrame};
use crate::suggest;

/// The `sync` frames without an answer, by the index of their connection.
pub type Syncs = HashMap<usize, SmallVec<[PendingSync; 1]>>;

/// A `sync` that is not answered yet.
pub struct PendingSync {
    id: String,
    /// The channels that the connection had when the `sync` came, each with the position that it must reach. `None` until a
    /// look has found it.
    targets: SmallVec<[(ChannelId, Option<Position>); 2]>,
    /// A look has come.
    looked: bool,
    mailbox: Arc<Mailbox>,
    _outstanding: Outstanding,
    /// Dropped with this, which ends the task that looks.
    _done: oneshot::Sender<()>,
}

/// The answer to a `sync`.
enum Answer {
    Synced,
    Failed(ErrorCode, String),
}

impl Shard {
    /// Takes a `sync` in. [`answer_syncs`](Self::answer_syncs) answers it.
    pub(super) fn sync(
        &mut self,
        send_buffer: &Arc<SendBuffer>,
        id: String,
        mailbox: Arc<Mailbox>,
        done: oneshot::Sender<()>,
    ) {
        let number = send_buffer.slot();
        let Some(peer) = self.peers.get_mut(number) else { return };
        if !std::mem::replace(&mut peer.has_synced, true) {
            self.metrics.sync_connections.inc();
        }
        let pending = self.syncs.entry(number).or_default();
        let refusal = if pending.iter().any(|sync| sync.id == id) {
            let id = suggest::quoted(&id);
            Some((ErrorCode::InvalidFrame, format!("/id: the sync {id} has no answer yet: give each its own id")))
        } else if pending.len() >= MAX_SYNCS {
            let message = format!("{MAX_SYNCS} syncs of this connection have no answer yet: wait for one");
            Some((ErrorCode::RateLimited, message))
        } else {
            None
        };
        if let Some((code, message)) = refusal {
            self.sync_failed(send_buffer, id, code, message);
            return;
        }
        let mut targets: SmallVec<[(ChannelId, Option<Position>); 2]> = SmallVec::new();
        for sub in peer.subs() {
            if targets.iter().all(|(channel, _)| *channel != sub.channel) {
                targets.push((sub.channel, None));
            }
        }
        let outstanding = self.metrics.sync_outstanding();
        pending.push(PendingSync { id, targets, looked: false, mailbox, _outstanding: outstanding, _done: done });
    }

    /// Answers each `sync` whose connection was sent what a look has found. To be called when nothing waits in the batch.
    pub(super) fn answer_syncs(&mut self) {
        if self.syncs.is_empty() {
            return;
        }
        let mut syncs = std::mem::take(&mut self.syncs);
        syncs.retain(|number, pending| {
            pending.retain(|sync| match self.answer_to(*number, sync) {
                None => true,
                Some(answer) => {
                    self.answer_sync(*number, sync, answer);
                    false
                }
            });
            !pending.is_empty()
        });
        self.syncs = syncs;
    }

    /// The answer to a `sync`; `None` if it has to wait.
    fn answer_to(&self, number: usize, sync: &mut PendingSync) -> Option<Answer> {
        match sync.mailbox.take() {
            None => {}
            Some(Err(problem)) => return Some(Answer::Failed(problem.code, problem.detail)),
            Some(Ok(look)) => {
                sync.looked = true;
                let mut unseen = false;
                for (channel, target) in &mut sync.targets {
                    match look.head(*channel) {
                        // A later look must not move the aim, or a slow replay would never come there.
                        Some(Ok(head)) if target.as_ref().is_none_or(|target| !target.same_epoch(head)) => {
                            *target = Some(head.clone());
                        }
                        Some(Ok(_)) => {}
                        Some(Err(problem)) => {
                            return Some(Answer::Failed(problem.code, problem.detail.clone()));
                        }
                        // The look began before the shard counted the subscription.
                        None => unseen |= target.is_none(),
                    }
                }
                if unseen {
                    sync.mailbox.ask_again();
                }
            }
        }
        let peer = self.peers.get(number)?;
        let has_all = |(channel, target): &(ChannelId, Option<Position>)| {
            let at =
                peer.subs().find(|sub| sub.channel == *channel).map(|sub| sub.position(&self.channels, &self.replays));
            match (at, target) {
                // The subscription has ended.
                (None, _) => true,
                (Some(Some(at)), Some(target)) => at.same_epoch(target) && at.offset >= target.offset,
                _ => false,
            }
        };
        (sync.looked && sync.targets.iter().all(has_all)).then_some(Answer::Synced)
    }

    fn answer_sync(&self, number: usize, sync: &mut PendingSync, answer: Answer) {
        let Some(peer) = self.peers.get(number) else { return };
        let id = std::mem::take(&mut sync.id);
        if let Answer::Failed(code, message) = answer {
            return self.sync_failed(&peer.send_buffer, id, code, message);
        }
        let name = |channel| Cow::from(&*self.catalog.get(channel).name);
        let had = |channel| sync.targets.iter().any(|(had, _)| *had == channel);
        let positions = self.positions(peer).filter(|(channel, _)| had(*channel));
        let positions = positions.map(|(channel, position)| (name(channel), position)).collect();
        let synced = peer.encoding.encode(&ServerFrame::Synced { id: id.into(), positions });
        self.metrics.syncs.inc();
        self.metrics.sync_seconds.observe(sync.mailbox.begun.elapsed().as_secs_f64());
        peer.send_buffer.send(&synced.iter().collect::<Vec<_>>());
    }

    fn sync_failed(&self, send_buffer: &Arc<SendBuffer>, id: String, code: ErrorCode, message: String) {
        self.metrics.refused(code.as_str());
        self.metrics.sync_failed(code.as_str());
        let error = ServerFrame::Error { code, message: message.into(), sub: None, id: Some(id.into()) };
        send_buffer.send(&send_buffer.encoding.encode(&error).iter().collect::<Vec<_>>());
    }
}
