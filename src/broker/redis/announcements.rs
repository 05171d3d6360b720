//! Announcements: short texts of a node to the relays of the others, about one channel.
//!
//! Each channel of events has an [internal pub/sub channel](super::internal) for them beside it, in a cluster in the same
//! slot. Redis keeps nothing of an announcement, and nobody repeats one that was lost.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::channels::Channels;
use super::commands::{Commands, timed_out};
use super::internal::InternalChannels;
use super::{BrokerError, CALL_TIMEOUT};
use crate::broker::MAX_ANNOUNCEMENT_BYTES;
use crate::event::ChannelId;

/// Announcements that wait for their reply. Further ones fail, because an old one is worth less than a new one.
const MAX_IN_FLIGHT: usize = 64;

/// Sends announcements.
pub(super) struct Announcements {
    channels: Arc<Channels>,
    commands: Arc<Commands>,
    internal: Arc<InternalChannels>,
    permits: Semaphore,
}

impl Announcements {
    pub fn new(channels: Arc<Channels>, commands: Arc<Commands>, internal: Arc<InternalChannels>) -> Self {
        Self { channels, commands, internal, permits: Semaphore::new(MAX_IN_FLIGHT) }
    }

    /// Publishes `text` on the announcements of a channel.
    ///
    /// # Errors
    /// As [`Notifier::announce`](crate::broker::Notifier::announce).
    pub async fn send(&self, id: ChannelId, text: &str) -> Result<(), BrokerError> {
        if text.len() > MAX_ANNOUNCEMENT_BYTES {
            return Err(BrokerError::Rejected(format!("an announcement has at most {MAX_ANNOUNCEMENT_BYTES} bytes")));
        }
        let Ok(_permit) = self.permits.try_acquire() else {
            return Err(BrokerError::Unavailable("Redis has not answered to earlier announcements".into()));
        };
        let name = self.channels.get(id).announcements.as_str();
        let publish = async {
            let transport = self.commands.server_of(name)?.connection().await?.transport;
            let publish = match self.internal.plain_name(name) {
                None => ("SPUBLISH", vec![name.into(), text.into()]),
                Some(plain) => ("PUBLISH", vec![plain.into(), text.into()]),
            };
            transport.call(publish).await.map(drop).map_err(|error| {
                self.commands.handle_redirect(&error.text);
                error.cause
            })
        };
        timeout(CALL_TIMEOUT, publish).await.unwrap_or_else(|_| Err(timed_out()))
    }
}

/// The text of a message on the channel of announcements. `None` if no node sent it: it is too long, or no text.
pub(super) fn announced_text(message: &[u8]) -> Option<Arc<str>> {
    let text = std::str::from_utf8(message).ok()?;
    (text.len() <= MAX_ANNOUNCEMENT_BYTES).then(|| text.into())
}
