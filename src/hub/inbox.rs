//! The inbox of a shard: the one ordered queue of its events and of its connections' commands.
//!
//! Waking the shard's thread costs as much as many commands do. While thousands of clients connect, each command would
//! wake it. So commands that are queued in one turn of the runtime are sent to the shard together. Events are sent at
//! once. This module does not know what the items mean.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use super::ShardDied;
use super::inbox_item::InboxItem;

/// The most items that wait for a shard. While the inbox is full the relay waits, and with it the broker's bus.
const CAPACITY: usize = 1024;

/// The sending side of a shard's inbox.
#[derive(Debug)]
pub struct Inbox {
    shard: mpsc::Sender<InboxItem>,
    /// Commands that are not sent to the shard yet. A connection waits for its replies from time to time, so the number
    /// of connections bounds this.
    pending: Mutex<Vec<InboxItem>>,
}

impl Inbox {
    /// An inbox, and the end from which the shard reads.
    pub fn new() -> (Arc<Self>, mpsc::Receiver<InboxItem>) {
        let (shard, inbox) = mpsc::channel(CAPACITY);
        (Arc::new(Self { shard, pending: Mutex::default() }), inbox)
    }

    /// Sends an item at once; waits while the shard is behind.
    ///
    /// # Errors
    /// [`ShardDied`]: the shard's thread has ended.
    pub async fn send(&self, item: InboxItem) -> Result<(), ShardDied> {
        self.shard.send(item).await.map_err(|_| ShardDied)
    }

    /// Waits until the shard's thread has ended.
    pub async fn closed(&self) {
        self.shard.closed().await;
    }

    /// Queues a connection's command. It is sent together with those of other connections in the same turn of the
    /// runtime, in the order of these calls.
    pub fn enqueue(self: &Arc<Self>, item: InboxItem) {
        let is_first = {
            let mut pending = self.pending();
            pending.push(item);
            pending.len() == 1
        };
        if is_first {
            tokio::spawn(self.clone().send_pending());
        }
    }

    async fn send_pending(self: Arc<Self>) {
        // The tasks that are ready now run first and queue their commands. Where none is ready, this returns at once.
        tokio::task::yield_now().await;
        let Ok(permit) = self.shard.reserve().await else {
            // The shard has died, and the relay ends the node. The connections see that their reply channels are
            // closed.
            self.pending().clear();
            return;
        };
        // Sent under the lock, or the next batch might overtake this one.
        let mut pending = self.pending();
        permit.send(InboxItem::Commands(std::mem::take(&mut pending)));
    }

    fn pending(&self) -> MutexGuard<'_, Vec<InboxItem>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
