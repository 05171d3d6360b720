//! What a subscriber returns: events, and changes of the connection and of subscriptions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;

use super::syncs::SyncId;
use crate::event::Position;

/// What [`Subscriber::next`](super::Subscriber::next) returns: an event, or a change of the connection or of a subscription.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Update {
    /// A subscription is live: the events after `position` will follow. Sent again after each reconnect.
    Subscribed {
        /// The channel of the subscription.
        channel: Arc<str>,
        /// The subscription has received everything up to here.
        position: Position,
    },
    /// An event. Each event arrives once, in order within its channel.
    Event(Delivery),
    /// The events after `from`, up to and including `position`, are lost: the log no longer has them. It is unknown whether
    /// the subscription's filter would have matched any of them.
    Gap {
        /// The channel of the lost events.
        channel: Arc<str>,
        /// The last position before the gap.
        from: Position,
        /// The last position of the gap.
        position: Position,
    },
    /// A subscription cannot be served yet, because the daemon cannot read the log. The subscriber requests it again after
    /// `retry_in`.
    Delayed {
        /// The channel of the subscription.
        channel: Arc<str>,
        /// The daemon's reason, for people.
        reason: String,
        /// The delay before the next request.
        retry_in: Duration,
    },
    /// The connection was lost or could not be made. The subscriber connects again after `retry_in`.
    Disconnected {
        /// Why, for people.
        reason: String,
        /// The delay before the next attempt.
        retry_in: Duration,
    },
    /// The connection is open, for the first time or after [`Update::Disconnected`].
    Connected {
        /// The id of the node.
        node: String,
    },
    /// The answer to [`Subscriber::sync`](super::Subscriber::sync): everything that the log held of these channels when the daemon got the request was
    /// returned before this, as an event or in a gap.
    Synced {
        /// What [`Subscriber::sync`](super::Subscriber::sync) returned.
        sync: SyncId,
        /// The channels of this connection, and up to where each is complete. A channel whose subscription is
        /// [delayed](Self::Delayed) is missing here, and nothing is proven about it.
        positions: BTreeMap<Arc<str>, Position>,
    },
    /// A [`Subscriber::sync`](super::Subscriber::sync) was not answered: the daemon cannot ask its broker, or the connection was lost.
    NotSynced {
        /// What [`Subscriber::sync`](super::Subscriber::sync) returned.
        sync: SyncId,
        /// Why, for people.
        reason: String,
    },
    /// The token was not renewed: its provider failed, or the daemon does not accept the new one. The connection goes on with
    /// the former token until that expires, and the subscriber tries again before.
    NotRenewed {
        /// Why, for people.
        reason: String,
    },
}

/// An event that a subscriber received.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Delivery {
    /// The channel of the event, which is its type.
    pub channel: Arc<str>,
    /// The position of the event in its channel.
    pub position: Position,
    /// The CloudEvent as JSON.
    pub event: Box<RawValue>,
}
