//! The way of a replay into its shard: a feed takes what the log has and hands it to the shard, at the pace of the peer.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::inbox::Inbox;
use super::inbox_item::{Begun, FeedOutcome, InboxItem, ReplayId};
use super::{ChannelStep, SendBuffer};
use crate::event::{ChannelId, Position};
use crate::protocol::CloseCode;

/// A connection's replay of one channel. What is fed to it must continue at [`position`](Self::position),
/// unless it begins with newest events.
///
/// A feed that is dropped before its replay has ended closes the connection with 1011: the client resumes on a new one.
#[derive(Debug)]
pub struct Feed {
    shard: Arc<Inbox>,
    send_buffer: Arc<SendBuffer>,
    replay_id: ReplayId,
    /// The replay has become live, or its connection has ended.
    ended: bool,
    /// The channel.
    pub channel: ChannelId,
    /// Where the replay stands: the next step is the one after this.
    pub position: Position,
    /// The replay begins with the newest event of each subject, in the order of the log. A [`known`](ChannelStep::known) step ends
    /// them; until then the replay does not become live.
    pub latest: bool,
}

impl Feed {
    pub(super) fn new(
        shard: Arc<Inbox>,
        send_buffer: Arc<SendBuffer>,
        Begun { replay_id, channel, position, latest }: Begun,
    ) -> Self {
        Self { shard, send_buffer, replay_id, ended: false, channel, position, latest }
    }

    /// Waits until the peer has taken what it was sent; false if it has gone.
    pub async fn ready(&mut self) -> bool {
        let ready = self.send_buffer.drained().await;
        self.ended |= !ready;
        ready
    }

    /// Hands over the next steps of the channel: consecutive events, or a gap. If they are ahead of the live events, waits
    /// until those have come there.
    pub async fn feed(&mut self, steps: Vec<ChannelStep>) -> FeedOutcome {
        if let Some(last) = steps.last() {
            self.position = last.position.clone();
        }
        let steps: Arc<[ChannelStep]> = steps.into();
        while self.ready().await {
            let (done, outcome) = oneshot::channel();
            // A shard that has died drops `done`.
            let _ = self.shard.send(InboxItem::Feed { replay_id: self.replay_id, steps: steps.clone(), done }).await;
            match outcome.await.unwrap_or(FeedOutcome::Gone) {
                FeedOutcome::Full => {}
                outcome => {
                    self.ended = outcome != FeedOutcome::On;
                    return outcome;
                }
            }
        }
        FeedOutcome::Gone
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        if !self.ended {
            self.send_buffer.close(CloseCode::Internal, "the replay failed: connect again to resume");
        }
    }
}
