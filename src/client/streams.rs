//! What a subscriber listens to, and how far each subscription is. No I/O: it says what to ask the daemon for, and takes
//! what that answers.
//!
//! All subscriptions to a channel are one stream of the connection, which cannot go back for a single one of them; and they
//! need not be at one place: one was refused while the log could not be read, or wants what the stream has passed. So each
//! has its own position, and drops what it has. Where one needs what the stream has passed, there is a new connection, on
//! which a backfill subscription brings all of the channel from the earliest place that any of them needs, until all of them stand.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::filter::matches;
use super::subscriber::Subscription;
use crate::event::Position;
use crate::protocol::{ClientFrame, ErrorCode, Subscribe, Unsubscribe};

/// The subscriptions of one subscriber.
pub(super) struct Streams {
    /// Those that the daemon refused are `None`; the index is in the name of the subscription.
    subscriptions: Vec<Option<Stream>>,
    backfills: HashMap<Arc<str>, BackfillSubscription>,
    /// No more, where the daemon would not have them: a connection may have no place for one more.
    anchoring: bool,
    /// The last gap in each channel on this connection.
    gaps: HashMap<Arc<str>, (Position, Position)>,
    /// Those that could not be served yet, and when each is asked for again.
    later: Vec<(Instant, usize)>,
}

/// One subscription.
struct Stream {
    wanted: Subscription,
    /// What it has: all after the first up to the second, from when it first stood.
    has: Option<(Position, Position)>,
    state: State,
    /// It was the first of its channel that was asked for on this connection.
    first: bool,
    /// The channel's stream was past what it needs when it was asked for.
    behind: bool,
    /// How soon it is asked for again that could not be served yet.
    backoff: Backoff,
}

/// What a subscription is on this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not asked for, or not yet again.
    New,
    Asked,
    /// Not answered yet, but a backfill subscription brings it its events.
    Carried,
    Standing,
}

/// Brings all events of a channel from `since` on while its subscriptions are asked for.
struct BackfillSubscription {
    since: String,
    /// For whose sake it was cast.
    late: usize,
}

/// What it means that a subscription stands.
pub(super) enum Answer {
    /// It has everything of the channel up to here; and what is to be said to the daemon now.
    Stands(Arc<str>, Position, Option<ClientFrame>),
    /// It is a backfill subscription, or over.
    Nothing,
    /// All is to be asked for again, on another connection.
    Again,
}

/// What an error of the daemon means.
pub(super) enum Trouble {
    /// All is to be asked for again, on another connection.
    Again,
    /// A subscription is over, to this channel.
    Refused(Arc<str>),
    /// The same, and the others are to be asked for again.
    RefusedAgain(Arc<str>),
    /// A subscription to this channel cannot be served yet; it is asked for again after that long.
    NotYet(Arc<str>, Duration),
    /// It is about no subscription.
    Other,
}

impl Streams {
    pub fn new(subscriptions: Vec<Subscription>) -> Self {
        let stream = |wanted| {
            let backoff = Backoff::default();
            Some(Stream { wanted, has: None, state: State::New, first: false, behind: false, backoff })
        };
        Self {
            subscriptions: subscriptions.into_iter().map(stream).collect(),
            backfills: HashMap::new(),
            anchoring: true,
            gaps: HashMap::new(),
            later: Vec::new(),
        }
    }

    /// What to ask for on a new connection.
    pub fn ask(&mut self) -> Vec<ClientFrame> {
        self.backfills.clear();
        self.gaps.clear();
        self.later.clear();
        let mut frames = Vec::new();
        let mut channels: Vec<Arc<str>> = Vec::new();
        for stream in self.subscriptions.iter_mut().flatten() {
            stream.state = State::New;
            if !channels.contains(&stream.wanted.channel) {
                channels.push(stream.wanted.channel.clone());
            }
        }
        for channel in channels {
            let mut order: Vec<usize> = self.of(&channel).map(|(index, _)| index).collect();
            order.sort_by_key(|index| self.subscriptions[*index].as_ref().map(Stream::turn));
            if let Some(backfill) = self.backfill(&order) {
                frames.push(subscribe(format!("a{}", backfill.late), &channel, None, Some(backfill.since.clone())));
                self.backfills.insert(channel.clone(), backfill);
            }
            frames.extend(order.into_iter().filter_map(|index| self.request(index)));
        }
        frames
    }

    /// When the next one is to be asked for again.
    pub fn next_turn(&self) -> Option<Instant> {
        self.later.iter().map(|(at, _)| *at).min()
    }

    /// What to ask for again by now.
    pub fn ask_again(&mut self, now: Instant) -> Vec<ClientFrame> {
        let due: Vec<_> = self.later.extract_if(.., |(at, _)| *at <= now).collect();
        due.into_iter().filter_map(|(_, index)| self.request(index)).collect()
    }

    fn request(&mut self, index: usize) -> Option<ClientFrame> {
        let channel = self.subscriptions[index].as_ref()?.wanted.channel.clone();
        let first = self.of(&channel).all(|(_, stream)| stream.state == State::New);
        let backfill = self.backfills.get(&channel);
        let stream = self.subscriptions[index].as_mut()?;
        stream.first = first && backfill.is_none();
        if stream.state == State::New {
            stream.state = State::Asked;
        }
        let since = match backfill {
            Some(backfill) if stream.is_held(&backfill.since) => None,
            _ => stream.position().map(Position::to_string).or_else(|| stream.wanted.since.clone()),
        };
        Some(subscribe(format!("s{index}"), &channel, stream.wanted.filter.clone(), since))
    }

    /// A subscription stands.
    pub fn subscribed(&mut self, sub: &str, channel: &str, begins: Position, recovered: Option<bool>) -> Answer {
        let Some((kind, index)) = named(sub) else { return Answer::Nothing };
        if kind == 'a' {
            return self.anchored(channel, &begins, recovered);
        }
        let Some(Some(stream)) = self.subscriptions.get_mut(index) else { return Answer::Nothing };
        if stream.state != State::Carried {
            stream.begin(&begins, recovered);
        }
        (stream.state, stream.behind) = (State::Standing, false);
        stream.backoff.reset();
        let channel = stream.wanted.channel.clone();
        let position = stream.position().cloned().unwrap_or(begins);
        let released = self.release(&channel);
        Answer::Stands(channel, position, released)
    }

    /// A backfill subscription stands: from here on, those that it holds have their events.
    fn anchored(&mut self, channel: &str, begins: &Position, recovered: Option<bool>) -> Answer {
        let Some(BackfillSubscription { since, late }) = self.backfills.get(channel) else { return Answer::Nothing };
        let mut left = None;
        for (index, stream) in self.subscriptions.iter_mut().enumerate() {
            let Some(stream) = stream.as_mut().filter(|stream| *stream.wanted.channel == *channel) else { continue };
            if !stream.is_held(since) {
                continue;
            }
            // Whether it is this one's own place from which the backfill subscription begins.
            let own = stream.position().is_none_or(|position| position.to_string() == *since);
            if !own && recovered != Some(false) && stream.position().is_some_and(|last| !reaches(last, begins)) {
                // It is of an older epoch, perhaps, and needs a backfill subscription of its own.
                left = Some(index);
                break;
            }
            stream.begin(begins, if own { recovered } else { None });
            stream.state = State::Carried;
        }
        let Some(left) = left else { return Answer::Nothing };
        for (index, behind) in [(*late, false), (left, true)] {
            if let Some(stream) = &mut self.subscriptions[index] {
                stream.behind = behind;
            }
        }
        Answer::Again
    }

    /// Whether an event is news for any subscription, and the name of its channel. `None` for what is no event.
    pub fn event(&mut self, position: &Position, event: &RawValue) -> Option<(Arc<str>, bool)> {
        #[derive(Deserialize)]
        struct Head<'a> {
            #[serde(rename = "type")]
            channel: std::borrow::Cow<'a, str>,
            #[serde(borrow)]
            data: Option<&'a RawValue>,
        }
        let head: Head<'_> = serde_json::from_str(event.get()).ok()?;
        let channel = self.of(&head.channel).next().map(|(_, stream)| stream.wanted.channel.clone());
        let channel = channel.unwrap_or_else(|| head.channel.as_ref().into());
        let (due, others): (Vec<_>, Vec<_>) = self.of(&channel).partition(|(_, stream)| stream.is_due(position));
        // What the daemon sends fits one of those that stand.
        let plain = others.is_empty() && !self.backfills.contains_key(&channel);
        let news = plain || {
            let data = head.data.and_then(|data| serde_json::from_str(data.get()).ok()).unwrap_or(Value::Null);
            let fits = |stream: &Stream| stream.wanted.filter.as_ref().is_none_or(|filter| matches(filter, &data));
            due.iter().any(|(_, stream)| fits(stream))
                && !others.iter().any(|(_, stream)| stream.had(position) && fits(stream))
        };
        self.advance(&channel, position);
        Some((channel, news))
    }

    /// Whether this is the first time on this connection that the gap is told; it is, for each subscription.
    pub fn gap(&mut self, channel: &str, from: &Position, position: &Position) -> bool {
        self.advance(channel, position);
        let gap = (from.clone(), position.clone());
        self.gaps.insert(channel.into(), gap.clone()) != Some(gap)
    }

    /// The stream of a channel has come here, and with it those that follow it and were behind.
    pub fn advance(&mut self, channel: &str, position: &Position) {
        for stream in self.subscriptions.iter_mut().flatten() {
            if *stream.wanted.channel == *channel && stream.is_due(position) {
                let first = match stream.has.take() {
                    Some((first, last)) if last.same_epoch(position) => first,
                    // What came before is of another log.
                    _ => position.clone(),
                };
                stream.has = Some((first, position.clone()));
            }
        }
    }

    /// Something was refused.
    pub fn error(&mut self, code: ErrorCode, sub: Option<&str>) -> (Trouble, Option<ClientFrame>) {
        let again = (Trouble::Again, None);
        let Some((kind, index)) = sub.and_then(named) else { return (Trouble::Other, None) };
        let Some(Some(stream)) = self.subscriptions.get_mut(index) else { return (Trouble::Other, None) };
        let channel = stream.wanted.channel.clone();
        match (kind, code) {
            // Not refused, just not now: a backfill subscription has the others wait for it.
            ('a', ErrorCode::BrokerUnavailable) => again,
            (_, ErrorCode::BrokerUnavailable) => {
                let pause = stream.backoff.next();
                if stream.state == State::Asked {
                    stream.state = State::New;
                }
                self.later.push((Instant::now() + pause, index));
                (Trouble::NotYet(channel, pause), None)
            }
            ('a', ErrorCode::InvalidPosition) if stream.has.is_none() => {
                self.subscriptions[index] = None;
                (Trouble::RefusedAgain(channel), None)
            }
            ('a', _) => {
                self.anchoring = false;
                again
            }
            // Another subscription to the channel was faster.
            (_, ErrorCode::InvalidPosition) if !stream.first => {
                stream.behind = true;
                again
            }
            (_, ErrorCode::TooManySubscriptions) if !self.backfills.is_empty() => {
                self.anchoring = false;
                again
            }
            _ => {
                self.subscriptions[index] = None;
                let released = self.release(&channel);
                (Trouble::Refused(channel), released)
            }
        }
    }

    /// A backfill subscription where one of these, which are all of a channel, would else be too late again.
    fn backfill(&self, order: &[usize]) -> Option<BackfillSubscription> {
        let stream = |index: usize| self.subscriptions[index].as_ref();
        let late = *order.iter().find(|index| stream(**index).is_some_and(|stream| stream.behind))?;
        let since = match stream(late)?.position() {
            Some(position) => {
                let all = order.iter().filter_map(|index| stream(*index)?.position());
                all.filter(|other| other.same_epoch(position)).min_by_key(|other| other.offset)?.to_string()
            }
            None => stream(late)?.wanted.since.clone()?,
        };
        self.anchoring.then_some(BackfillSubscription { since, late })
    }

    /// Lets the backfill subscription of a channel go, once nobody needs it.
    fn release(&mut self, channel: &str) -> Option<ClientFrame> {
        if self.of(channel).any(|(_, stream)| stream.state != State::Standing) {
            return None;
        }
        let backfill = self.backfills.remove(channel)?;
        Some(ClientFrame::Unsubscribe(Unsubscribe { sub: format!("a{}", backfill.late) }))
    }

    fn of(&self, channel: &str) -> impl Iterator<Item = (usize, &Stream)> {
        let streams = self.subscriptions.iter().enumerate();
        streams
            .filter_map(|(index, stream)| Some((index, stream.as_ref()?)))
            .filter(move |(_, stream)| *stream.wanted.channel == *channel)
    }
}

impl Stream {
    /// Up to here it has everything, once it has stood.
    fn position(&self) -> Option<&Position> {
        self.has.as_ref().map(|(_, last)| last)
    }

    /// When it is asked for, among those of its channel: those that go on, the earliest first, then those that begin. Those
    /// that begin now come before those that begin in the past, which they would hear too.
    fn turn(&self) -> (u8, u64) {
        match (self.position(), &self.wanted.since) {
            (Some(position), _) => (0, position.offset),
            (None, None) => (1, 0),
            (None, Some(_)) => (2, 0),
        }
    }

    /// Whether a backfill subscription from there brings this one what it needs.
    fn is_held(&self, since: &str) -> bool {
        self.has.is_some() || self.wanted.since.as_deref() == Some(since)
    }

    /// The stream that it is in begins here, which may be earlier than this one needs, for another one's sake.
    fn begin(&mut self, begins: &Position, recovered: Option<bool>) {
        let wanted = || self.wanted.since.as_ref().and_then(|since| since.parse().ok());
        let had = self.has.clone().or_else(|| wanted().map(|at: Position| (at.clone(), at)));
        let kept = had.filter(|(_, last)| recovered != Some(false) && reaches(last, begins));
        self.has = Some(kept.unwrap_or_else(|| (begins.clone(), begins.clone())));
    }

    /// Whether what stands here is still to come for it.
    fn is_due(&self, position: &Position) -> bool {
        matches!(self.state, State::Carried | State::Standing)
            && self.position().is_none_or(|last| !reaches(last, position))
    }

    /// Whether what stands here came to it, if it fits.
    fn had(&self, position: &Position) -> bool {
        self.has.as_ref().is_some_and(|(first, last)| !reaches(first, position) && reaches(last, position))
    }
}

/// Whether a position is another one or after it; never where they cannot be compared.
fn reaches(position: &Position, other: &Position) -> bool {
    position.same_epoch(other) && position.offset >= other.offset
}

fn subscribe(sub: String, channel: &str, filter: Option<Value>, since: Option<String>) -> ClientFrame {
    ClientFrame::Subscribe(Subscribe { sub, channel: channel.to_owned(), filter, since })
}

/// `s` for a subscription or `a` for a backfill subscription, and the index.
fn named(sub: &str) -> Option<(char, usize)> {
    let kind = sub.chars().next().filter(|kind| matches!(kind, 's' | 'a'))?;
    Some((kind, sub[1..].parse().ok()?))
}
