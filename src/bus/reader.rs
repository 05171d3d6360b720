//! Reading a channel's log on behalf of a subscriber or a flow.

use std::sync::Arc;

use super::{Bus, Namespace};
use crate::access::Caller;
use crate::broker::{BrokerError, LatestPage, Page};
use crate::event::{ChannelId, Position};

/// Reads one channel's log for one caller. Made by [`Bus::reader`] only.
pub struct LogReader {
    namespace: Arc<Namespace>,
    channel: ChannelId,
}

impl Bus {
    /// A reader of a channel's log.
    pub fn reader(&self, caller: &Caller, channel: ChannelId) -> LogReader {
        LogReader { namespace: self.namespace(caller).clone(), channel }
    }
}

impl LogReader {
    /// Reads up to `limit` events after a position, when it is this reader's turn.
    ///
    /// # Errors
    /// If the log cannot be read; trying again may help.
    pub async fn read(&self, after: &Position, limit: usize) -> Result<Page, BrokerError> {
        let _permit = self.namespace.reads().permit().await;
        self.namespace.log().read(self.channel, Some(after), limit).await
    }

    /// Waits until this node's relay has come past a position, or the position's epoch is over. The log is then worth another
    /// read.
    ///
    /// Call it with a position of the epoch that the last page named: the relay never gets to one that is older than this
    /// process.
    pub async fn grown(&self, after: &Position) {
        let next = Position { offset: after.offset + 1, ..after.clone() };
        self.namespace.progress().reached(self.channel, &next).await;
    }

    /// The newest position that this node's relay has delivered. `None` until it has read the log.
    pub fn head(&self) -> Option<Position> {
        self.namespace.progress().position(self.channel)
    }

    /// Where the channel was when this node's relay read its log for the first time.
    pub fn first(&self) -> Option<Position> {
        self.namespace.progress().first(self.channel)
    }

    /// Reads up to `limit` newest events of subjects above an offset, when it is this reader's turn.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn latest_page(&self, after: u64, limit: usize) -> Result<LatestPage, BrokerError> {
        let _permit = self.namespace.reads().permit().await;
        self.namespace.backend().latest().latest_page(self.channel, after, limit).await
    }
}
