//! Tells the other nodes of a namespace how far this node's subscribers have come, so that publishers there are paced, too.
//!
//! A node whose subscribers keep up says nothing. An announcement may be lost: while the subscribers are behind, the next
//! one follows soon.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::Backend;
use crate::pace::Pace;

/// Between two rounds of announcements: about the delay that publishers are kept at.
const INTERVAL: Duration = Duration::from_millis(20);

/// Announces what the pace of this node's publishers has to say, until it is dropped.
pub async fn run(backend: Arc<dyn Backend>, pace: Arc<Pace>) {
    loop {
        pace.to_announce().await;
        for (channel, text) in pace.announcements() {
            // Without the broker nobody publishes.
            let _ = backend.announce(channel, &text).await;
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
