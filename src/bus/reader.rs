//! Reading a channel's log on behalf of a subscriber.

use std::sync::Arc;

use super::{Bus, Namespace};
use crate::access::Caller;
use crate::broker::{BrokerError, Page};
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
}
