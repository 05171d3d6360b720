//! The pub/sub channels on which nodes talk to each other and to themselves: [announcements](super::announcements) and
//! the [probe](super::probe).
//!
//! Somebody who watches the bus with a pattern such as `tidings:*` must see events only, so these channels are sharded
//! ones, which no pattern matches. Redis has them since 7.0. An older or compatible server without them gets plain channels
//! whose names do not begin with the prefix. So does a user without the right to SSUBSCRIBE who may use those.

use std::sync::atomic::{AtomicBool, Ordering};

/// What a plain channel's name begins with.
const PLAIN: &str = "internal:";

/// Whether the server has sharded channels, as the listener found when it subscribed.
pub(super) struct InternalChannels {
    sharded: AtomicBool,
}

impl Default for InternalChannels {
    fn default() -> Self {
        Self { sharded: AtomicBool::new(true) }
    }
}

impl InternalChannels {
    pub fn set_sharded(&self, sharded: bool) {
        self.sharded.store(sharded, Ordering::Relaxed);
    }

    /// The name of the plain channel. `None` if the channel is sharded, under its own name.
    pub fn plain_name(&self, channel: &str) -> Option<String> {
        (!self.sharded.load(Ordering::Relaxed)).then(|| plain_name(channel))
    }
}

/// The name of the plain channel that replaces a sharded one.
pub(super) fn plain_name(channel: &str) -> String {
    format!("{PLAIN}{channel}")
}

/// The channel of a message that came under this name.
pub(super) fn channel_of(name: &str) -> &str {
    name.strip_prefix(PLAIN).unwrap_or(name)
}
