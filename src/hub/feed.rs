//! The log's way into a subscription that begins in the past: from whoever reads the log to the shard.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::inbox::Inbox;
use super::shard::Item;
use super::{Delivery, SendBuffer};
use crate::event::{ChannelId, Position};

/// A connection's replay of one channel. What it is fed must go on where it stands.
#[derive(Debug)]
pub struct Feed {
    pub(super) shard: Arc<Inbox>,
    pub(super) send_buffer: Arc<SendBuffer>,
    pub(super) replay_id: ReplayId,
    /// The channel.
    pub channel: ChannelId,
    /// Where the replay stands: the next step is after this.
    pub position: Position,
}

/// A replay that a shard has begun.
#[derive(Debug)]
pub struct Begun {
    pub(super) replay_id: ReplayId,
    pub(super) channel: ChannelId,
    pub(super) position: Position,
}

/// Names a replay of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayId {
    pub(super) slot: u32,
    /// Slots are used again.
    pub(super) serial: u64,
}

/// What became of a replay that was fed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedOutcome {
    /// It stands behind what is live: more is needed.
    On,
    /// Nothing was taken: the peer still has to take what it was sent before. [`Feed::feed`] waits for that itself.
    Full,
    /// It has come to what is live, and goes on by itself.
    Live,
    /// Nobody wants it any more.
    Gone,
}

impl Feed {
    /// Waits until the peer has taken what it was sent; false where it has gone.
    pub async fn room(&self) -> bool {
        self.send_buffer.drained().await
    }

    /// Brings the next steps of the channel: events one after the other, or a gap. Where they are ahead of what is live,
    /// waits until that has come there; where the peer has to take something else first, until it has.
    pub async fn feed(&mut self, steps: Vec<Delivery>) -> FeedOutcome {
        if let Some(last) = steps.last() {
            self.position = last.position.clone();
        }
        let steps: Arc<[Delivery]> = steps.into();
        while self.room().await {
            let (done, fed) = oneshot::channel();
            // A shard that has died feeds nobody.
            let _ = self.shard.send(Item::Feed { replay_id: self.replay_id, steps: steps.clone(), done }).await;
            match fed.await.unwrap_or(FeedOutcome::Gone) {
                FeedOutcome::Full => {}
                fed => return fed,
            }
        }
        FeedOutcome::Gone
    }
}
