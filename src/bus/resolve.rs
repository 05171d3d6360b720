//! Resolves a request to subscribe: checks the channel and the filter, and finds the position where the stream begins.
//!
//! This is the only place where a channel's name, a filter and a `since` are resolved, for every transport.

use std::sync::Arc;
use std::time::Duration;

use super::query::parse_since;
use super::{Bus, StreamQuery, unreadable};
use crate::access::{Caller, Rule};
use crate::broker::{BrokerError, Located, Log};
use crate::event::{ChannelId, EventType, Filter, FilterError, Json, JsonText, Moment, Position, Selector, Since};
use crate::protocol::{ErrorCode, Problem};
use crate::suggest::{self, Known};

/// The most time that a request waits for a permit to read the log.
const MAX_PERMIT_WAIT: Duration = Duration::from_secs(5);

/// A channel that the caller may subscribe to, with the filter and the starting point that it requested.
#[derive(Debug)]
pub struct Selected {
    /// The name of the subscription. It is the channel's name, unless the client chose another.
    pub(super) name: String,
    pub(super) channel: ChannelId,
    /// What the client asked for.
    pub(super) asked: Arc<Filter>,
    /// What it gets of that.
    pub(super) selector: Arc<Selector>,
    pub(super) since: Option<Since>,
}

/// The result of selecting one channel, with the channel's name.
pub type NamedSelection = (String, Result<Selected, Problem>);

/// An authorised and resolved subscription. The hub accepts only this type, and only the application layer creates it.
#[derive(Debug)]
pub struct Subscription(SubscriptionParts);

/// What a subscription consists of.
#[derive(Debug)]
pub struct SubscriptionParts {
    /// Its name, unique on its connection.
    pub sub: String,
    pub channel: ChannelId,
    /// What the client asked for. A renewed credential may grant another part of it.
    pub asked: Arc<Filter>,
    /// What it gets of that.
    pub selector: Arc<Selector>,
    pub begin: Begin,
}

/// Where a subscription begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begin {
    /// With the next live event. `recovered` is true if the request had a `since`, such as `now`.
    Live { recovered: bool },
    /// With the newest event of each subject, and then with what follows those in the log. The position is before all of them.
    Latest { position: Position },
    /// After this position in the log. `lost` is the requested position, if the log does not continue there: the client
    /// then gets a gap.
    After { position: Position, lost: Option<Position> },
}

impl Subscription {
    pub fn into_parts(self) -> SubscriptionParts {
        self.0
    }

    /// Whether the subscription begins with a replay of the log.
    pub fn begins_in_log(&self) -> bool {
        matches!(self.0.begin, Begin::After { .. } | Begin::Latest { .. })
    }

    /// A subscription for the hub's own tests.
    #[cfg(test)]
    pub fn for_test(sub: &str, channel: ChannelId, asked: Arc<Filter>, begin: Begin) -> Self {
        let selector = Arc::new(Selector::of(Filter::clone(&asked)));
        Self(SubscriptionParts { sub: sub.to_owned(), channel, asked, selector, begin })
    }
}

impl Bus {
    /// Resolves one subscription, as a `subscribe` frame asks for it.
    ///
    /// # Errors
    /// `unknown-channel`, `unknown-field`, `invalid-filter`, `invalid-position`, `latest-not-kept`, `broker-unavailable`.
    pub async fn subscribe(
        &self,
        caller: &Caller,
        sub: String,
        channel: &str,
        filter: Option<&JsonText>,
        since: Option<&str>,
    ) -> Result<Subscription, Problem> {
        self.granted_channel(caller, channel)?;
        let since = match since {
            Some(since) => Some(self.unpacked(caller, parse_since(since)?).await?),
            None => None,
        };
        let selected = self.select_one(caller, channel, filter, since.as_ref(), false)?;
        self.resolve(caller, Selected { name: sub, ..selected }).await
    }

    /// Selects the channels of a query. If the query names none, selects every channel whose events the filter can match.
    ///
    /// # Errors
    /// The error of the first channel that cannot be selected: `unknown-channel`, `unknown-field`, `invalid-filter`,
    /// `invalid-position`, `latest-not-kept`.
    pub fn select(&self, caller: &Caller, query: &StreamQuery) -> Result<Vec<Selected>, Problem> {
        let all_channels = query.channels.is_empty();
        let (mut selected, mut never_matches) = (Vec::new(), None);
        for (_, found) in self.select_each(caller, query)? {
            match found {
                Err(problem) if all_channels && problem.code == ErrorCode::UnknownField => {}
                // The value may be one of another channel's field of that name.
                Err(problem) if all_channels && problem.code == ErrorCode::InvalidFilter => {
                    never_matches.get_or_insert(problem);
                }
                found => selected.push(found?),
            }
        }
        match (selected.is_empty(), never_matches) {
            (false, _) => Ok(selected),
            (true, Some(problem)) => Err(problem),
            (true, None) => Err(self.no_channel_has(caller, query.filter.as_ref())),
        }
    }

    /// The refusal of a filter for all channels, none of which has its fields.
    fn no_channel_has(&self, caller: &Caller, filter: Option<&JsonText>) -> Problem {
        let mut fields: Vec<&str> = self.granted_types(caller).flat_map(EventType::fields).collect();
        fields.sort_unstable();
        fields.dedup();
        let filter = filter.map(JsonText::read);
        let members = filter.as_ref().and_then(Json::as_object).unwrap_or_default();
        let names: Vec<&str> = members.iter().map(|(name, _)| name.as_ref()).collect();
        let given = names.iter().find(|name| !fields.contains(*name)).copied().unwrap_or_default();
        let shown: Vec<_> = names.iter().map(|name| suggest::quoted(name)).collect();
        let refusal = match shown.len() {
            1 => format!("/where: no channel has the field {}", shown[0]),
            _ => format!("/where: no channel has all of the fields {}", shown.join(", ")),
        };
        let known = Known { listed: "GET /v1/schemas", ..Known::new("fields", fields) };
        Problem::new(ErrorCode::UnknownField, known.refuse(&refusal, given))
    }

    /// Selects each channel of a query by itself, for a transport that can refuse one channel and accept the others.
    ///
    /// # Errors
    /// `invalid-position`: the query has several channels, but a position belongs to one.
    pub fn select_each(&self, caller: &Caller, query: &StreamQuery) -> Result<Vec<NamedSelection>, Problem> {
        let all_channels = query.channels.is_empty();
        let names = match all_channels {
            true => self.granted_types(caller).map(|known| known.name.to_string()).collect(),
            false => query.channels.clone(),
        };
        let each = names.into_iter().map(|name| {
            let found = self.select_one(caller, &name, query.filter.as_ref(), query.since.as_ref(), all_channels);
            (name, found)
        });
        let each: Vec<_> = each.collect();
        // If the client named no channel, its filter may select one.
        let selected = each.iter().filter(|(_, found)| !all_channels || found.is_ok()).count();
        if selected > 1 && matches!(query.since, Some(Since::After(_))) {
            let detail = "`since`: a position belongs to one channel: give a cursor, or name one channel";
            return Err(Problem::new(ErrorCode::InvalidPosition, detail));
        }
        Ok(each)
    }

    /// Finds where a selected channel's stream begins.
    ///
    /// # Errors
    /// `broker-unavailable`, `rate-limited`.
    pub async fn resolve(&self, caller: &Caller, selected: Selected) -> Result<Subscription, Problem> {
        let Selected { name, channel, asked, selector, since } = selected;
        if self.namespace(caller).progress().position(channel).is_none() {
            let detail = "this node has not reached its broker yet: try again";
            return Err(Problem::new(ErrorCode::BrokerUnavailable, detail));
        }
        let begin = match since {
            None => Begin::Live { recovered: false },
            Some(since) => self.begin(caller, channel, &since).await?,
        };
        Ok(Subscription(SubscriptionParts { sub: name, channel, asked, selector, begin }))
    }

    /// Selects one channel: compiles the filter for its type, and takes the channel's position out of a cursor.
    /// `all_channels` is true if the client named no channel.
    pub(super) fn select_one(
        &self,
        caller: &Caller,
        name: &str,
        filter: Option<&JsonText>,
        since: Option<&Since>,
        all_channels: bool,
    ) -> Result<Selected, Problem> {
        let (channel, rule) = self.granted_channel(caller, name)?;
        let asked = match filter {
            None => self.no_filter.clone(),
            Some(filter) => {
                Filter::parse(&filter.read(), self.catalog.get(channel)).map(Arc::new).map_err(|error| {
                    let code = match error {
                        FilterError::UnknownField(_) => ErrorCode::UnknownField,
                        FilterError::Invalid(_) => ErrorCode::InvalidFilter,
                    };
                    Problem::new(code, error.to_string()).with_errors(error.into_mistakes())
                })?
            }
        };
        let since = match since {
            None => None,
            Some(Since::Latest) => match self.namespace(caller).backend().latest().keeps_latest(channel) {
                true => Some(Since::Latest),
                false if all_channels => Some(Since::Now),
                false => return Err(not_kept(name)),
            },
            Some(since) => match since.of(name) {
                Some(since) => Some(since),
                // The client subscribed to all channels, and its cursor is older than this channel: every event that the
                // channel ever had is new.
                None if all_channels => Some(Since::AcceptedFrom(Moment::At(i64::MIN))),
                None => {
                    let detail = format!(
                        "`since`: this cursor has no position in the channel {name}: name only channels of the cursor, or begin at `start`, `now`, a time or an age"
                    );
                    return Err(Problem::new(ErrorCode::InvalidPosition, detail));
                }
            },
        };
        let selector = match rule {
            None | Some(Rule::All) if asked.is_empty() => self.everything.clone(),
            None => Arc::new(Selector::of(Filter::clone(&asked))),
            Some(rule) => Arc::new(rule.selector(&asked)),
        };
        Ok(Selected { name: name.to_owned(), channel, asked, selector, since })
    }

    /// Finds where a stream with this `since` begins.
    async fn begin(&self, caller: &Caller, channel: ChannelId, since: &Since) -> Result<Begin, Problem> {
        match since {
            // The hub knows where new events begin, so that this needs no read of the log and no permit for it.
            Since::Now => Ok(Begin::Live { recovered: true }),
            Since::Latest => {
                let (start, _) = self.locate(caller, channel, &Since::Start).await?;
                Ok(Begin::Latest { position: Position { offset: 0, ..start } })
            }
            since => {
                let (position, lost) = self.locate(caller, channel, since).await?;
                Ok(Begin::After { position, lost })
            }
        }
    }

    /// Finds the position in the log after which a stream with this `since` begins, and the requested position if the log
    /// does not continue there. Fails as soon as the broker is known not to answer.
    ///
    /// # Errors
    /// `broker-unavailable`, `rate-limited`.
    pub async fn locate(
        &self,
        caller: &Caller,
        channel: ChannelId,
        since: &Since,
    ) -> Result<(Position, Option<Position>), Problem> {
        tokio::select! {
            biased;
            found = self.find(caller, channel, since) => found,
            reason = self.namespace(caller).unanswered() => Err(unreadable(BrokerError::Unavailable(reason))),
        }
    }

    /// Waits for a permit, and reads the log.
    async fn find(
        &self,
        caller: &Caller,
        channel: ChannelId,
        since: &Since,
    ) -> Result<(Position, Option<Position>), Problem> {
        let namespace = self.namespace(caller);
        let permit = tokio::time::timeout(MAX_PERMIT_WAIT, namespace.reads().permit());
        let _permit = permit.await.map_err(|_| {
            unreadable(BrokerError::Unavailable("too many requests read the log at the same time".into()))
        })?;
        let Located { position, bounds } = requested(namespace.log(), channel, since).await.map_err(unreadable)?;
        Ok(match bounds.gap_after(&position) {
            Some(start) => (start, Some(position)),
            // The position is ahead of the log. A client can make up a position, so this does not prove that the log
            // lost events. Only this client gets a gap.
            None if position.offset > bounds.head => (bounds.head(), Some(position)),
            None => (position, None),
        })
    }
}

/// The position that a `since` asks for, and the bounds of the log for it.
async fn requested(log: &dyn Log, channel: ChannelId, since: &Since) -> Result<Located, BrokerError> {
    let mut bounds = match since {
        Since::AcceptedFrom(moment) => return log.position_at(channel, *moment).await,
        _ => log.bounds(channel, None).await?,
    };
    let position = match since {
        Since::After(position) => position.clone(),
        Since::Now | Since::Latest => bounds.head(),
        // A cursor is unpacked, and its channel selected, before this. The start loses nothing.
        Since::Start | Since::Cursor(_) | Since::Packed(_) | Since::AcceptedFrom(_) => bounds.start(),
    };
    if position.epoch != bounds.epoch {
        // The new epoch may contain events that the client already has.
        bounds = log.bounds(channel, Some(&position)).await?;
    }
    Ok(Located { position, bounds })
}

/// The refusal of what a type has only if it keeps the newest event of each subject.
pub(super) fn not_kept(name: &str) -> Problem {
    let detail = format!(
        "the type {name} does not keep the newest event of each subject: its operator sets `latest` in [types.{name}], or \
         `x-tidings-latest` in its schema"
    );
    Problem::new(ErrorCode::LatestNotKept, detail)
}
