//! The way of a `sync` into its shard, and the way of a look at the log to the `sync`.
//!
//! The shard gets the `sync` at once, in order with the subscriptions of the connection. What the look finds does not wait
//! in the inbox, where thousands of later events may stand before it: it is left in a mailbox, which the shard opens after
//! each batch. An item in the inbox wakes a shard that has nothing else to do.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::SendBuffer;
use super::inbox::Inbox;
use super::inbox_item::InboxItem;
use super::mailbox::{Looked, Mailbox};

/// A `sync` that waits for its answer. A look at the log is to be [given](Self::looked) to it.
#[derive(Debug)]
pub struct SyncTicket {
    shard: Arc<Inbox>,
    mailbox: Arc<Mailbox>,
    ended: oneshot::Receiver<()>,
}

impl SyncTicket {
    pub(super) fn new(shard: Arc<Inbox>, send_buffer: Arc<SendBuffer>, id: String) -> Self {
        let (done, ended) = oneshot::channel();
        let mailbox = Arc::new(Mailbox::new());
        shard.enqueue(InboxItem::Sync { send_buffer, id, mailbox: mailbox.clone(), done });
        Self { shard, mailbox, ended }
    }

    /// Hands the shard a look that began after the `sync` came.
    pub fn looked(&self, looked: Looked) {
        self.mailbox.put(looked);
        self.shard.enqueue(InboxItem::Looked);
    }

    /// Waits until the `sync` was answered, or its connection has ended.
    pub async fn ended(&mut self) {
        // The shard drops its end.
        let _ = (&mut self.ended).await;
    }

    /// Waits until the shard needs another look, at the latest after `age`. False if the `sync` needs none any more.
    pub async fn needs_another(&mut self, age: Duration) -> bool {
        tokio::select! {
            biased;
            _ = &mut self.ended => false,
            () = self.mailbox.asked_again() => true,
            () = tokio::time::sleep(age) => true,
        }
    }
}
