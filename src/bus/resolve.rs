//! From what a client asks for to a subscription: the channel, the filter, and where the stream begins.
//!
//! This is the only place where a channel's name, a filter and a `since` are resolved, whichever transport they came by.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::query::parse_since;
use super::{Bus, StreamQuery, unreadable};
use crate::access::Caller;
use crate::broker::BrokerError;
use crate::event::{ChannelId, Filter, FilterError, Position, Since};
use crate::protocol::{ErrorCode, Problem};

/// How long a client waits for its turn to be told where its stream begins.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// A channel that the caller may subscribe to, with the filter and the starting point that were asked for.
#[derive(Debug)]
pub struct Selected {
    pub(super) name: String,
    pub(super) channel: ChannelId,
    pub(super) filter: Arc<Filter>,
    pub(super) since: Option<Since>,
}

/// What came of selecting one channel, by the channel's name.
pub type NamedSelection = (String, Result<Selected, Problem>);

/// A subscription that may be made. Only the application layer makes one, so that the hub takes no other.
#[derive(Debug)]
pub struct Subscription {
    sub: String,
    channel: ChannelId,
    filter: Arc<Filter>,
    begin: Begin,
}

/// Where a subscription begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begin {
    /// With the next live event. `recovered`: the client asked with `since`.
    Live { recovered: bool },
    /// After this position in the log. `lost` is the position that was asked for, if the log does not continue there.
    After { position: Position, lost: Option<Position> },
}

impl Subscription {
    /// The name that the client gave it, unique on its connection; the channel; the filter; where it begins.
    pub fn into_parts(self) -> (String, ChannelId, Arc<Filter>, Begin) {
        (self.sub, self.channel, self.filter, self.begin)
    }

    /// Whether the log has to be read for it.
    pub fn begins_in_log(&self) -> bool {
        matches!(self.begin, Begin::After { .. })
    }

    /// A subscription for the hub's own tests.
    #[cfg(test)]
    pub fn for_test(sub: &str, channel: ChannelId, filter: Arc<Filter>, begin: Begin) -> Self {
        Self { sub: sub.to_owned(), channel, filter, begin }
    }
}

impl Bus {
    /// Resolves one subscription, as a `subscribe` frame asks for it.
    ///
    /// # Errors
    /// `unknown-channel`, `unknown-field`, `invalid-filter`, `invalid-position`, `broker-unavailable`.
    pub async fn subscribe(
        &self,
        caller: &Caller,
        sub: String,
        channel: &str,
        filter: Option<&Value>,
        since: Option<&str>,
    ) -> Result<Subscription, Problem> {
        let since = since.map(parse_since).transpose()?;
        let selected = self.find(caller, channel, filter, since.as_ref(), false)?;
        self.resolve(caller, Selected { name: sub, ..selected }).await
    }

    /// Selects the channels of a query: those that it names, or all that have the fields of its filter.
    ///
    /// # Errors
    /// The first channel that cannot be selected decides: `unknown-channel`, `unknown-field`, `invalid-filter`,
    /// `invalid-position`.
    pub fn select(&self, caller: &Caller, query: &StreamQuery) -> Result<Vec<Selected>, Problem> {
        let all = query.channels.is_empty();
        let mut selected = Vec::new();
        for (_, found) in self.select_each(caller, query)? {
            match found {
                Err(problem) if all && problem.code == ErrorCode::UnknownField => {}
                found => selected.push(found?),
            }
        }
        if selected.is_empty() {
            return Err(Problem::new(ErrorCode::UnknownField, "no channel has the fields that `where` names"));
        }
        Ok(selected)
    }

    /// Selects each channel of a query by itself, for a transport that can refuse one and take the others.
    ///
    /// # Errors
    /// `invalid-position`: a position is of one channel, and the query has several.
    pub fn select_each(&self, caller: &Caller, query: &StreamQuery) -> Result<Vec<NamedSelection>, Problem> {
        let all = query.channels.is_empty();
        let names = match all {
            true => self.catalog.types().iter().map(|known| known.name.to_string()).collect(),
            false => query.channels.clone(),
        };
        let each = names.into_iter().map(|name| {
            let found = self.find(caller, &name, query.filter.as_ref(), query.since.as_ref(), all);
            (name, found)
        });
        let each: Vec<_> = each.collect();
        // If the client named no channel, its filter may select one.
        let selected = each.iter().filter(|(_, found)| !all || found.is_ok()).count();
        if selected > 1 && matches!(query.since, Some(Since::After(_))) {
            let detail = "a position is of one channel: give a cursor, or one channel";
            return Err(Problem::new(ErrorCode::InvalidPosition, detail));
        }
        Ok(each)
    }

    /// Finds where a selected channel's stream begins.
    ///
    /// # Errors
    /// `broker-unavailable`, `rate-limited`.
    pub async fn resolve(&self, caller: &Caller, selected: Selected) -> Result<Subscription, Problem> {
        let Selected { name, channel, filter, since } = selected;
        if self.namespace(caller).progress().position(channel).is_none() {
            let detail = "the broker has not been reached yet: try again";
            return Err(Problem::new(ErrorCode::BrokerUnavailable, detail));
        }
        let begin = match since {
            None => Begin::Live { recovered: false },
            Some(since) => self.begin(caller, channel, &since).await?,
        };
        Ok(Subscription { sub: name, channel, filter, begin })
    }

    /// Finds a channel, compiles the filter for it, and picks its part of `since`. `all`: the client named no channel.
    fn find(
        &self,
        _caller: &Caller,
        name: &str,
        filter: Option<&Value>,
        since: Option<&Since>,
        all: bool,
    ) -> Result<Selected, Problem> {
        let Some(channel) = self.catalog.channel(name) else {
            let near = self.catalog.nearest(name).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            return Err(Problem::new(ErrorCode::UnknownChannel, format!("there is no channel {name:?} here{near}")));
        };
        let filter = match filter {
            None => Filter::default(),
            Some(filter) => Filter::parse(filter, self.catalog.get(channel)).map_err(|error| match error {
                FilterError::UnknownField(message) => Problem::new(ErrorCode::UnknownField, message),
                FilterError::Invalid(message) => Problem::new(ErrorCode::InvalidFilter, message),
            })?,
        };
        let since = match since {
            None => None,
            Some(since) => match since.of(name) {
                Some(since) => Some(since),
                // A cursor of all channels that does not name one is older than that channel: all of it is new.
                None if all => Some(Since::Start),
                None => {
                    let detail = format!("this cursor does not name the channel {name}");
                    return Err(Problem::new(ErrorCode::InvalidPosition, detail));
                }
            },
        };
        Ok(Selected { name: name.to_owned(), channel, filter: Arc::new(filter), since })
    }

    /// Where a stream with this `since` begins, asked of the log when it is this caller's turn.
    pub(super) async fn begin(&self, caller: &Caller, channel: ChannelId, since: &Since) -> Result<Begin, Problem> {
        let namespace = self.namespace(caller);
        let permit = tokio::time::timeout(MAX_WAIT, namespace.reads().permit());
        let _permit = permit.await.map_err(|_| unreadable(BrokerError::Unavailable("too many read the log".into())))?;
        let log = namespace.log();
        let after = |position| Begin::After { position, lost: None };
        Ok(match since {
            Since::Now | Since::Cursor(_) => Begin::Live { recovered: true },
            Since::Start => after(log.bounds(channel, None).await.map_err(unreadable)?.start()),
            Since::AcceptedFrom(moment) => after(log.position_at(channel, *moment).await.map_err(unreadable)?),
            Since::After(position) => {
                let mut bounds = log.bounds(channel, None).await.map_err(unreadable)?;
                if position.epoch != bounds.epoch {
                    // Part of what the client has may have survived into the new epoch.
                    bounds = log.bounds(channel, Some(position)).await.map_err(unreadable)?;
                }
                match bounds.gap_after(position) {
                    Some(start) => Begin::After { position: start, lost: Some(position.clone()) },
                    // A position ahead of the log. That proves nothing, since anybody can write one: it is told as lost.
                    None if position.offset > bounds.head => {
                        Begin::After { position: bounds.head(), lost: Some(position.clone()) }
                    }
                    None => after(position.clone()),
                }
            }
        })
    }
}
