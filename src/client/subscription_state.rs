//! One subscription of a subscriber, and how far it is: what `subscriptions.rs` works on.

use super::backoff::Backoff;
use super::subscription::Subscription;
use crate::event::{Json, Position};

/// One subscription, and its state on the current connection.
pub(super) struct SubscriptionState {
    pub subscription: Subscription,
    /// Its filter, parsed once for all events.
    pub filter: Option<Json<'static>>,
    /// The range that it has received: all its events after the first position, up to and including the second. `None`
    /// until the daemon first confirms it.
    pub received_range: Option<(Position, Position)>,
    pub phase: Phase,
    /// Whether it was the first request for its channel on this connection. If so, no other subscription can have moved
    /// the stream past its position.
    pub requested_first: bool,
    /// Whether the daemon has refused its position, because the stream had already passed it.
    pub lagging: bool,
    /// The delays between requests while the daemon cannot read the log.
    pub backoff: Backoff,
}

/// How far the request for a subscription is on this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not requested, or waiting for a retry.
    NotRequested,
    /// Requested; the daemon has not answered.
    Requested,
    /// Requested and not confirmed, but a backfill subscription already delivers its events.
    Backfilled,
    /// Confirmed by the daemon.
    Live,
}

impl SubscriptionState {
    pub fn new(subscription: Subscription) -> Self {
        Self {
            filter: subscription.filter.as_ref().map(|filter| filter.read().into_owned()),
            subscription,
            received_range: None,
            phase: Phase::NotRequested,
            requested_first: false,
            lagging: false,
            backoff: Backoff::default(),
        }
    }

    /// The position up to which it has everything, once the daemon has confirmed it.
    pub fn position(&self) -> Option<&Position> {
        self.received_range.as_ref().map(|(_, last)| last)
    }

    /// Where the next request begins.
    pub fn since(&self) -> Option<String> {
        let asked = self.subscription.since.clone();
        // Before the first event, the newest event of each subject is still to come.
        let position = self.position().filter(|at| at.offset > 0 || asked.as_deref() != Some("latest"));
        position.map(Position::to_string).or(asked)
    }

    /// The order of the requests for a channel on a new connection. First come the subscriptions that resume, in the
    /// order of their positions. Then come those that begin now: after a subscription that begins in the past, they
    /// would also receive its replay. Subscriptions that begin in the past come last.
    pub fn request_order(&self) -> (u8, u64) {
        match (self.position(), &self.subscription.since) {
            (Some(position), _) => (0, position.offset),
            (None, None) => (1, 0),
            (None, Some(_)) => (2, 0),
        }
    }

    /// Whether a backfill subscription from `since` delivers the events that this subscription needs.
    pub fn is_covered_by(&self, since: &str) -> bool {
        self.received_range.is_some() || self.subscription.since.as_deref() == Some(since)
    }

    /// Records that the stream begins after `start`. Another subscription can make the stream begin earlier than this
    /// one needs. This one then keeps its position.
    pub fn begin_at(&mut self, start: &Position, recovered: Option<bool>) {
        let requested = || self.subscription.since.as_ref().and_then(|since| since.parse().ok());
        let received_range = self.received_range.clone().or_else(|| requested().map(|at: Position| (at.clone(), at)));
        let kept = received_range.filter(|(_, last)| recovered != Some(false) && reaches(last, start));
        self.received_range = Some(kept.unwrap_or_else(|| (start.clone(), start.clone())));
    }

    /// Whether the event at `position` is in its stream and is later than all that it has received.
    pub fn expects(&self, position: &Position) -> bool {
        matches!(self.phase, Phase::Backfilled | Phase::Live)
            && self.position().is_none_or(|last| !reaches(last, position))
    }

    /// Whether it has received the event at `position`, if that event matches the filter.
    pub fn has_received(&self, position: &Position) -> bool {
        self.received_range.as_ref().is_some_and(|(first, last)| !reaches(first, position) && reaches(last, position))
    }
}

/// Whether `position` is equal to `other` or after it. False if their epochs differ, since they cannot be compared then.
pub(super) fn reaches(position: &Position, other: &Position) -> bool {
    position.same_epoch(other) && position.offset >= other.offset
}
