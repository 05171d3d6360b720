//! What an operator asks of a daemon's bridges and sinks.

use serde::{Deserialize, Serialize};

use super::{Client, Error};

/// Something that a flow has given up, as [`Client::dead_messages`] lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeadMessage {
    /// Its id: a digest of a message, or the key of a value.
    pub id: String,
    /// Why it was given up.
    pub reason: String,
    /// When that was, in RFC 3339.
    pub at: String,
    /// Where the event was in its channel, if it came from one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    /// What came, up to 64 KiB of it.
    pub message: String,
}

impl Client {
    /// Lists what a flow has given up, the oldest first. `kind` is `bridges` or `sinks`. Needs the right `flows`.
    ///
    /// # Errors
    /// As [`Client::channels`].
    pub async fn dead_messages(&self, kind: &str, name: &str) -> Result<Vec<DeadMessage>, Error> {
        #[derive(Deserialize)]
        struct Dead {
            dead: Vec<DeadMessage>,
        }
        let response: Dead = self.get(&["v1", kind, name, "dead"], &[]).await?;
        Ok(response.dead)
    }
}
