//! Latest: the newest event of one subject, waiting for a newer one if the caller asks for that, and lists of them.
//!
//! An event that the caller's pin hides is not there for that caller.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout};

use super::history::{broken, matches};
use super::latest_cache::{Found, Subject};
use super::resolve::not_kept;
use super::{Bus, Gap, LatestEvent, Namespace, Selected, unreadable};
use crate::access::Caller;
use crate::broker::{BrokerError, LatestPage};
use crate::event::{ChannelId, JsonText, Position, Selector};
use crate::protocol::{ErrorCode, HISTORY_ENTRY, Problem, event_frame};
use crate::suggest;

/// How long one read of the broker may take, its turn included.
const READ_TIMEOUT: Duration = Duration::from_millis(2_500);
/// Events that one list looks at, if a filter lets few of them through.
const MAX_SCANNED: usize = 20_000;
/// Events in one read of the broker, if there is a filter.
const PAGE: usize = 512;

/// What a caller asks for.
#[derive(Debug)]
pub struct LatestQuery {
    /// The positions that the caller has.
    pub known: Vec<Position>,
    /// The caller has an event, whichever it is.
    pub knows_any: bool,
    /// How long to wait for an event that is newer than those.
    pub wait: Duration,
    /// Where the call comes from.
    pub address: IpAddr,
}

/// The newest event of a subject.
#[derive(Debug)]
pub enum LatestAnswer {
    Event(Arc<LatestEvent>),
    /// The caller has it.
    Unchanged(Position),
}

/// The newest events of several subjects.
#[derive(Debug)]
pub struct LatestList {
    /// Each event as an entry, without the first brace: `"position":…,"event":…}`.
    pub events: Vec<Bytes>,
    /// Where a later call continues. After the last one, the channel's log continues there.
    pub cursor: Position,
    /// There may be further events behind the cursor.
    pub more: bool,
    pub gaps: Vec<Gap>,
}

impl Bus {
    /// The newest event of a subject, at most two seconds old.
    ///
    /// # Errors
    /// `not-found` if the subject has none that the caller may see, `latest-not-kept` if the type keeps none, those of
    /// [`Bus::select`], and `broker-unavailable`. A call that waits is admitted first: see [`Bus::admit`].
    pub async fn latest(
        &self,
        caller: &Caller,
        name: &str,
        subject: &str,
        query: LatestQuery,
    ) -> Result<LatestAnswer, Problem> {
        let Selected { channel, selector, .. } = self.select_latest(caller, name, None)?;
        let permit = if query.wait.is_zero() { None } else { Some(self.admit(caller)?) };
        self.metrics.latest_requests.inc();
        let namespace = self.namespace(caller);
        let asked = namespace.latest().subject(channel, subject);
        let mut changes = asked.changes();
        let mut found = find(namespace, channel, subject, &asked).await?;
        drop(permit);
        let deadline = Instant::now() + query.wait;
        let gauge = &self.metrics.long_polls;
        let _waiting = (!query.wait.is_zero()).then(|| namespace.long_polls().begin(caller, query.address, 1, gauge));
        let mut waits = !query.wait.is_zero();
        loop {
            let old = match visible(&selector, found)? {
                Some(event) if !query.has(&event.position) => return Ok(LatestAnswer::Event(event)),
                old => old.map(|event| event.position.clone()),
            };
            let unchanged = || old.map(LatestAnswer::Unchanged).ok_or_else(|| nothing(name, subject));
            if !waits {
                return unchanged();
            }
            let known = tokio::select! {
                // The subject is held here, so that it does not end before.
                _ = changes.changed() => asked.last(),
                () = tokio::time::sleep_until(deadline) => { waits = false; None },
                () = self.evicted(caller) => { waits = false; None },
                // The answer must not have an event that is published from now on.
                () = self.credential_ended(caller) => return unchanged(),
            };
            found = match known {
                Some(found) => found,
                // Nothing is known any more: the log may have been lost. Or the wait ends: what is known may be older than two
                // seconds, because a signal was lost.
                None => find(namespace, channel, subject, &asked).await?,
            };
        }
    }

    /// The newest events of a type's subjects that a filter lets through, in the order of the log, after a cursor.
    ///
    /// A subject that changes while lists are read comes again, behind the others. Nothing that happens until the last list
    /// ends is missing: what happens later is in the log behind its cursor.
    ///
    /// # Errors
    /// As [`Bus::latest`], but for `not-found`.
    pub async fn latest_list(
        &self,
        caller: &Caller,
        name: &str,
        filter: Option<&JsonText>,
        cursor: Option<Position>,
        limit: usize,
    ) -> Result<LatestList, Problem> {
        let Selected { name, channel, selector, .. } = self.select_latest(caller, name, filter)?;
        let namespace = self.namespace(caller);
        self.metrics.latest_requests.inc();
        let mut list =
            Lister { namespace, channel, selector: &selector, limit, events: Vec::new(), at: cursor.clone() };
        let (mut scanned, mut more) = (0, true);
        while more && list.events.len() < limit && scanned < MAX_SCANNED {
            let wanted = if selector.is_everything() { limit - list.events.len() } else { PAGE };
            let page = list.page(wanted).await?;
            scanned += page.entries.len();
            more = list.take(page)?;
        }
        let Lister { events, at, .. } = list;
        // A page was read, because the limit is above zero.
        let at = at.ok_or_else(|| Problem::new(ErrorCode::Internal, "no page was read"))?;
        let lost = cursor.filter(|cursor| !cursor.same_epoch(&at));
        let gap = |from| Gap { channel: name, from, position: Position { offset: 0, ..at.clone() } };
        Ok(LatestList { events, gaps: lost.map(gap).into_iter().collect(), cursor: at, more })
    }

    /// Checks that a type keeps the newest event of each subject, for a caller who may receive some.
    ///
    /// # Errors
    /// `latest-not-kept`, and those of [`Bus::select`].
    pub fn keeps_latest(&self, caller: &Caller, name: &str) -> Result<(), Problem> {
        self.select_latest(caller, name, None).map(drop)
    }

    /// The channel of a type that keeps the newest event of each subject, and what the caller may see of it.
    pub(super) fn select_latest(
        &self,
        caller: &Caller,
        name: &str,
        filter: Option<&JsonText>,
    ) -> Result<Selected, Problem> {
        let (channel, _) = self.granted_channel(caller, name)?;
        if !self.namespace(caller).backend().latest().keeps_latest(channel) {
            return Err(not_kept(name));
        }
        self.select_one(caller, name, filter, None, false)
    }
}

impl LatestQuery {
    /// Whether the caller has this event. A position ahead of it in the same epoch says so, too: this node may be two seconds
    /// behind another one that has answered.
    fn has(&self, position: &Position) -> bool {
        self.knows_any || self.known.iter().any(|known| known.same_epoch(position) && known.offset >= position.offset)
    }
}

/// Collects the events of a list.
struct Lister<'a> {
    namespace: &'a Namespace,
    channel: ChannelId,
    selector: &'a Selector,
    limit: usize,
    events: Vec<Bytes>,
    /// How far the list has come.
    at: Option<Position>,
}

impl Lister<'_> {
    /// Reads a page when it is this call's turn, within the time for an answer.
    async fn page(&self, limit: usize) -> Result<LatestPage, Problem> {
        let after = self.at.as_ref().map_or(0, |at| at.offset);
        let read = async {
            let _permit = self.namespace.reads().permit().await;
            let latest = self.namespace.backend().latest();
            let page = latest.latest_page(self.channel, after, limit).await?;
            match &self.at {
                // The cursor belongs to another log: this one is listed from its beginning.
                Some(at) if !at.same_epoch(&page.head) => latest.latest_page(self.channel, 0, limit).await,
                _ => Ok(page),
            }
        };
        in_time(self.namespace, read).await
    }

    /// Takes a page into the list; whether there is more behind it.
    fn take(&mut self, page: LatestPage) -> Result<bool, Problem> {
        let LatestPage { head, entries, more } = page;
        if self.at.as_ref().is_some_and(|at| !at.same_epoch(&head)) {
            self.events.clear();
        }
        for entry in entries {
            let position = Position { offset: entry.offset, ..head.clone() };
            if matches(self.selector, &entry.json).map_err(broken)? {
                self.events.push(Bytes::from(event_frame(&position, &entry.json)).slice(HISTORY_ENTRY..));
            }
            self.at = Some(position);
            if self.events.len() >= self.limit {
                return Ok(true);
            }
        }
        if !more {
            self.at = Some(head);
        } else if self.at.as_ref().is_none_or(|at| !at.same_epoch(&head)) {
            self.at = Some(Position { offset: 0, ..head });
        }
        Ok(more)
    }
}

/// What is known of a subject, or the reason why nothing is.
async fn find(namespace: &Namespace, channel: ChannelId, name: &str, subject: &Subject) -> Result<Found, Problem> {
    in_time(namespace, namespace.latest().find(channel, name, subject)).await
}

/// Waits for the broker, as long as it may answer.
async fn in_time<T>(namespace: &Namespace, read: impl Future<Output = Result<T, BrokerError>>) -> Result<T, Problem> {
    let late = |_| Err(BrokerError::Unavailable("the read did not end in time".into()));
    let read = async { timeout(READ_TIMEOUT, read).await.unwrap_or_else(late) };
    tokio::select! {
        biased;
        found = read => found,
        reason = namespace.unanswered() => Err(BrokerError::Unavailable(reason)),
    }
    .map_err(unreadable)
}

/// The event that was found, if the caller may see it.
fn visible(selector: &Selector, found: Found) -> Result<Option<Arc<LatestEvent>>, Problem> {
    match found.event {
        Some(event) if matches(selector, event.json()).map_err(broken)? => Ok(Some(event)),
        _ => Ok(None),
    }
}

fn nothing(name: &str, subject: &str) -> Problem {
    let detail = format!("the subject {} has no event of type {name} here", suggest::quoted(subject));
    Problem::new(ErrorCode::NotFound, detail)
}
