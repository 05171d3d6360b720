//! The state of a subscriber's subscriptions: which of them are live, and the position that each has reached.
//!
//! This module does no I/O. It returns the frames to send to the daemon, and takes the frames that the daemon sends.
//!
//! The daemon sends one stream per channel and connection, and that stream cannot go back for one subscription.
//! Nevertheless, the subscriptions to a channel can be at different positions: one was delayed because the daemon could
//! not read the log, or one begins further in the past. So each subscription has its own position, and ignores events
//! that it already has.
//!
//! A subscription lags if the stream has passed the events that it needs; the daemon then answers `invalid-position`. The
//! subscriber opens a new connection, and first sends a [`BackfillSubscription`] there. It is unfiltered and begins at the
//! earliest position that a subscription to the channel needs. It ends when all subscriptions to the channel are live, and its
//! last event comes before the daemon's `unsubscribed`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::filter::matches;
use super::subscription::Subscription;
use super::subscription_state::{Phase, SubscriptionState, reaches};
use crate::event::{Json, JsonText, Position};
use crate::protocol::{ClientFrame, ErrorCode, Subscribe, Unsubscribe};

/// The subscriptions of one subscriber.
pub(super) struct Subscriptions {
    /// The states of the subscriptions. The index of each is the number in its `sub`. `None` after the daemon has
    /// refused the subscription.
    states: Vec<Option<SubscriptionState>>,
    /// By channel: the backfill subscription of this connection.
    backfills: HashMap<Arc<str>, BackfillSubscription>,
    /// False once the daemon has refused a backfill subscription, for example because the connection has too many
    /// subscriptions.
    backfill_allowed: bool,
    /// By channel: the last gap on this connection, as its first and last position.
    gaps: HashMap<Arc<str>, (Position, Position)>,
    /// The delayed subscriptions, and when to request each of them again.
    retries: Vec<(Instant, usize)>,
    /// The subscriptions that this connection has not requested, since they were added after it began.
    added: Vec<usize>,
}

/// An unfiltered subscription from `since` on, which delivers events to the other subscriptions of its channel until the
/// daemon has confirmed all of them.
struct BackfillSubscription {
    /// The position, time or age where it begins.
    since: String,
    /// The index of the lagging subscription that caused this backfill.
    lagging: usize,
    /// Whether all subscriptions of the channel are live. Until the daemon answers `unsubscribed`, it sends events that no other
    /// subscription asked for.
    ended: bool,
}

/// What a `subscribed` frame means.
pub(super) enum SubscribedOutcome {
    /// A subscription to the channel is live and has everything up to the position. The subscriber must send the frame,
    /// if there is one.
    Live(Arc<str>, Position, Option<ClientFrame>),
    /// The frame answers a backfill subscription, or a subscription that no longer exists.
    Ignored,
    /// The subscriber must request everything again, on a new connection.
    Reconnect,
}

/// What an `error` frame means.
pub(super) enum ErrorOutcome {
    /// The subscriber must request everything again, on a new connection.
    Reconnect,
    /// The daemon refused a subscription to this channel. The subscriber must send the frame, if there is one.
    Refused(Arc<str>, Option<ClientFrame>),
    /// Like `Refused`, but the subscriber must also request the other subscriptions again, on a new connection.
    RefusedAndReconnect(Arc<str>),
    /// A subscription to this channel cannot be served yet. It is requested again after this delay.
    Delayed(Arc<str>, Duration),
    /// The error is not about a subscription.
    NotASubscription,
}

/// Which kind of request a `sub` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SubKind {
    Subscription,
    Backfill,
}

impl Subscriptions {
    pub fn new(subscriptions: Vec<Subscription>) -> Self {
        Self {
            states: subscriptions.into_iter().map(|subscription| Some(SubscriptionState::new(subscription))).collect(),
            backfills: HashMap::new(),
            backfill_allowed: true,
            gaps: HashMap::new(),
            retries: Vec::new(),
            added: Vec::new(),
        }
    }

    /// Adds a subscription. [`Subscriptions::added`] or the next connection requests it.
    pub fn add(&mut self, subscription: Subscription) {
        self.added.push(self.states.len());
        self.states.push(Some(SubscriptionState::new(subscription)));
    }

    /// The frames that request the subscriptions which were added since the connection began.
    pub fn added(&mut self) -> Vec<ClientFrame> {
        let added = std::mem::take(&mut self.added);
        added.into_iter().filter_map(|index| self.request(index)).collect()
    }

    /// Resets the state for a new connection, and returns the frames to send on it.
    pub fn begin_connection(&mut self) -> Vec<ClientFrame> {
        self.backfills.clear();
        self.gaps.clear();
        self.retries.clear();
        self.added.clear();
        let mut frames = Vec::new();
        let mut channels: Vec<Arc<str>> = Vec::new();
        for state in self.states.iter_mut().flatten() {
            state.phase = Phase::NotRequested;
            if !channels.contains(&state.subscription.channel) {
                channels.push(state.subscription.channel.clone());
            }
        }
        for channel in channels {
            let mut order: Vec<usize> = self.of_channel(&channel).map(|(index, _)| index).collect();
            order.sort_by_key(|index| self.states[*index].as_ref().map(SubscriptionState::request_order));
            if let Some(backfill) = self.plan_backfill(&order) {
                frames.push(backfill.subscribe(&channel));
                self.backfills.insert(channel.clone(), backfill);
            }
            frames.extend(order.into_iter().filter_map(|index| self.request(index)));
        }
        frames
    }

    /// When the next delayed subscription is to be requested again.
    pub fn next_retry_at(&self) -> Option<Instant> {
        self.retries.iter().map(|(at, _)| *at).min()
    }

    /// The frames that request the delayed subscriptions which are due by `now`.
    pub fn due_retries(&mut self, now: Instant) -> Vec<ClientFrame> {
        let due: Vec<_> = self.retries.extract_if(.., |(at, _)| *at <= now).collect();
        due.into_iter().filter_map(|(_, index)| self.request(index)).collect()
    }

    /// The `subscribe` frame for a subscription, from the position that it has reached.
    fn request(&mut self, index: usize) -> Option<ClientFrame> {
        let channel = self.states[index].as_ref()?.subscription.channel.clone();
        let first = self.of_channel(&channel).all(|(_, state)| state.phase == Phase::NotRequested);
        let backfill = self.backfills.get(&channel).filter(|backfill| !backfill.ended);
        let state = self.states[index].as_mut()?;
        state.requested_first = first && backfill.is_none();
        if state.phase == Phase::NotRequested {
            state.phase = Phase::Requested;
        }
        let since = match backfill {
            // The backfill subscription delivers the events that it needs.
            Some(backfill) if state.is_covered_by(&backfill.since) => None,
            _ => state.since(),
        };
        let sub = SubKind::Subscription.sub(index);
        Some(subscribe_frame(sub, &channel, state.subscription.filter.clone(), since))
    }

    /// Handles a `subscribed` frame: the stream of this subscription begins after `start`. `recovered` is false if the
    /// log no longer has everything after the requested position.
    pub fn subscribed(
        &mut self,
        sub: &str,
        channel: &str,
        start: Position,
        recovered: Option<bool>,
    ) -> SubscribedOutcome {
        let Some((kind, index)) = parse_sub(sub) else { return SubscribedOutcome::Ignored };
        if kind == SubKind::Backfill {
            return self.backfill_subscribed(channel, &start, recovered);
        }
        let Some(Some(state)) = self.states.get_mut(index) else { return SubscribedOutcome::Ignored };
        if state.phase != Phase::Backfilled {
            state.begin_at(&start, recovered);
        }
        (state.phase, state.lagging) = (Phase::Live, false);
        state.backoff.reset();
        let channel = state.subscription.channel.clone();
        let position = state.position().cloned().unwrap_or(start);
        let unsubscribe = self.end_unneeded_backfill(&channel);
        SubscribedOutcome::Live(channel, position, unsubscribe)
    }

    /// Handles the `subscribed` frame of a backfill subscription: from here on, it delivers events to the subscriptions
    /// that it covers.
    fn backfill_subscribed(&mut self, channel: &str, start: &Position, recovered: Option<bool>) -> SubscribedOutcome {
        let Some(BackfillSubscription { since, lagging, .. }) = self.backfills.get(channel) else {
            return SubscribedOutcome::Ignored;
        };
        let mut uncovered = None;
        for (index, state) in self.states.iter_mut().enumerate() {
            let Some(state) = state.as_mut().filter(|state| *state.subscription.channel == *channel) else { continue };
            if !state.is_covered_by(since) {
                continue;
            }
            // Whether the backfill begins exactly where this subscription needs it.
            let exact = state.position().is_none_or(|position| position.to_string() == *since);
            if !exact && recovered != Some(false) && state.position().is_some_and(|last| !reaches(last, start)) {
                // The backfill begins after the position of this subscription, for example because that position is of
                // an older epoch. The subscription needs its own backfill.
                uncovered = Some(index);
                break;
            }
            state.begin_at(start, if exact { recovered } else { None });
            state.phase = Phase::Backfilled;
        }
        let Some(uncovered) = uncovered else { return SubscribedOutcome::Ignored };
        // The next connection backfills for the uncovered subscription instead.
        for (index, lagging) in [(*lagging, false), (uncovered, true)] {
            if let Some(state) = &mut self.states[index] {
                state.lagging = lagging;
            }
        }
        SubscribedOutcome::Reconnect
    }

    /// Handles an `unsubscribed` frame: the daemon sends no more events of an ended backfill subscription.
    pub fn unsubscribed(&mut self, sub: &str) {
        self.backfills.retain(|_, backfill| backfill.sub() != sub);
    }

    /// Handles an event. Returns its channel, and whether the event is new to the application. `None` if `event` is not
    /// a CloudEvent.
    pub fn event(&mut self, position: &Position, event: &RawValue) -> Option<(Arc<str>, bool)> {
        #[derive(Deserialize)]
        struct Envelope<'a> {
            #[serde(rename = "type")]
            channel: std::borrow::Cow<'a, str>,
            #[serde(borrow)]
            data: Option<&'a RawValue>,
        }
        let envelope: Envelope<'_> = serde_json::from_str(event.get()).ok()?;
        let channel = self.of_channel(&envelope.channel).next().map(|(_, state)| state.subscription.channel.clone());
        let channel = channel.unwrap_or_else(|| envelope.channel.as_ref().into());
        let (expecting, not_expecting): (Vec<_>, Vec<_>) =
            self.of_channel(&channel).partition(|(_, state)| state.expects(position));
        // The usual case: every subscription expects the event, and the daemon has already applied their filters.
        let unambiguous = not_expecting.is_empty() && !self.backfills.contains_key(&channel);
        let is_new = unambiguous || {
            let data = envelope.data.and_then(|data| Json::parse_logged(data.get()).ok()).unwrap_or_default();
            let wants = |state: &SubscriptionState| state.filter.as_ref().is_none_or(|filter| matches(filter, &data));
            expecting.iter().any(|(_, state)| wants(state))
                && !not_expecting.iter().any(|(_, state)| state.has_received(position) && wants(state))
        };
        self.advance(&channel, position);
        Some((channel, is_new))
    }

    /// Handles a gap. Returns whether it is new: the daemon sends the same gap for each subscription that it affects.
    pub fn gap(&mut self, channel: &str, from: &Position, position: &Position) -> bool {
        self.advance(channel, position);
        let gap = (from.clone(), position.clone());
        self.gaps.insert(channel.into(), gap.clone()) != Some(gap)
    }

    /// Advances the subscriptions to a channel to `position`, which the channel's stream has reached.
    pub fn advance(&mut self, channel: &str, position: &Position) {
        for state in self.states.iter_mut().flatten() {
            if *state.subscription.channel == *channel && state.expects(position) {
                let first = match state.received_range.take() {
                    Some((first, last)) if last.same_epoch(position) => first,
                    // The received range belongs to a log that was lost.
                    _ => position.clone(),
                };
                state.received_range = Some((first, position.clone()));
            }
        }
    }

    /// Handles an `error` frame.
    pub fn error(&mut self, code: ErrorCode, sub: Option<&str>) -> ErrorOutcome {
        let Some((kind, index)) = sub.and_then(parse_sub) else { return ErrorOutcome::NotASubscription };
        let Some(Some(state)) = self.states.get_mut(index) else { return ErrorOutcome::NotASubscription };
        let channel = state.subscription.channel.clone();
        match (kind, code) {
            // A temporary error. The other subscriptions to the channel depend on the backfill, so the subscriber
            // requests all of them again.
            (SubKind::Backfill, ErrorCode::BrokerUnavailable | ErrorCode::RateLimited) => ErrorOutcome::Reconnect,
            (SubKind::Subscription, ErrorCode::BrokerUnavailable | ErrorCode::RateLimited) => {
                let delay = state.backoff.next();
                if state.phase == Phase::Requested {
                    state.phase = Phase::NotRequested;
                }
                self.retries.push((Instant::now() + delay, index));
                ErrorOutcome::Delayed(channel, delay)
            }
            // The backfill began at the `since` of this subscription, which the daemon refuses.
            (SubKind::Backfill, ErrorCode::InvalidPosition) if state.received_range.is_none() => {
                self.states[index] = None;
                ErrorOutcome::RefusedAndReconnect(channel)
            }
            (SubKind::Backfill, _) => {
                self.backfill_allowed = false;
                ErrorOutcome::Reconnect
            }
            // Another subscription to the channel has moved the stream past the position that this one needs.
            (SubKind::Subscription, ErrorCode::InvalidPosition) if !state.requested_first => {
                state.lagging = true;
                ErrorOutcome::Reconnect
            }
            // Without the backfill subscription, this one may be within the limit.
            (SubKind::Subscription, ErrorCode::TooManySubscriptions) if !self.backfills.is_empty() => {
                self.backfill_allowed = false;
                ErrorOutcome::Reconnect
            }
            (SubKind::Subscription, _) => {
                self.states[index] = None;
                let unsubscribe = self.end_unneeded_backfill(&channel);
                ErrorOutcome::Refused(channel, unsubscribe)
            }
        }
    }

    /// The backfill subscription that a channel needs, if one of its subscriptions is lagging. `order` holds the indexes of
    /// all subscriptions to the channel.
    fn plan_backfill(&self, order: &[usize]) -> Option<BackfillSubscription> {
        let state = |index: usize| self.states[index].as_ref();
        let lagging = *order.iter().find(|index| state(**index).is_some_and(|state| state.lagging))?;
        let since = match state(lagging)?.position() {
            Some(position) => {
                let positions = order.iter().filter_map(|index| state(*index)?.position());
                let comparable = positions.filter(|other| other.same_epoch(position));
                comparable.min_by_key(|other| other.offset)?.to_string()
            }
            None => state(lagging)?.subscription.since.clone()?,
        };
        self.backfill_allowed.then_some(BackfillSubscription { since, lagging, ended: false })
    }

    /// Ends the backfill subscription of a channel once all subscriptions to the channel are live. Returns the frame to
    /// send.
    fn end_unneeded_backfill(&mut self, channel: &str) -> Option<ClientFrame> {
        if self.of_channel(channel).any(|(_, state)| state.phase != Phase::Live) {
            return None;
        }
        let backfill = self.backfills.get_mut(channel).filter(|backfill| !backfill.ended)?;
        backfill.ended = true;
        Some(ClientFrame::Unsubscribe(Unsubscribe { sub: backfill.sub() }))
    }

    /// The subscriptions to a channel, with their indexes.
    fn of_channel(&self, channel: &str) -> impl Iterator<Item = (usize, &SubscriptionState)> {
        let states = self.states.iter().enumerate();
        states
            .filter_map(|(index, state)| Some((index, state.as_ref()?)))
            .filter(move |(_, state)| *state.subscription.channel == *channel)
    }
}

impl BackfillSubscription {
    fn sub(&self) -> String {
        SubKind::Backfill.sub(self.lagging)
    }

    fn subscribe(&self, channel: &str) -> ClientFrame {
        subscribe_frame(self.sub(), channel, None, Some(self.since.clone()))
    }
}

impl SubKind {
    /// The `sub` of a request: `s` for a subscription or `a` for a backfill, then the index of the subscription.
    fn sub(self, index: usize) -> String {
        match self {
            Self::Subscription => format!("s{index}"),
            Self::Backfill => format!("a{index}"),
        }
    }
}

/// Parses a `sub` that [`SubKind::sub`] made.
fn parse_sub(sub: &str) -> Option<(SubKind, usize)> {
    let kind = match sub.chars().next()? {
        's' => SubKind::Subscription,
        'a' => SubKind::Backfill,
        _ => return None,
    };
    Some((kind, sub[1..].parse().ok()?))
}

fn subscribe_frame(sub: String, channel: &str, filter: Option<JsonText>, since: Option<String>) -> ClientFrame {
    ClientFrame::Subscribe(Subscribe { sub, channel: channel.to_owned(), filter, since })
}
