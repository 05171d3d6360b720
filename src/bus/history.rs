//! History: what the log has of the selected channels, waiting for something new if the caller asks for that.

use std::fmt::Display;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::select_all;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};

use super::{Bus, Namespace, Selected, StreamQuery, unreadable};
use crate::access::Caller;
use crate::broker::{BrokerError, Page};
use crate::event::{ChannelId, Cursor, Json, Position, Selector, Since};
use crate::protocol::{ErrorCode, HISTORY_ENTRY, Problem, event_frame};

/// Events that one call looks at, if a filter lets few of them through.
const MAX_SCANNED: usize = 20_000;
/// How long one read of the log may take, its turn included.
const READ_TIMEOUT: Duration = Duration::from_millis(2_500);
/// Pause before the log is read again if it gave nothing although the relay has moved.
const RETRY: Duration = Duration::from_millis(100);
/// Events in one read of the log.
const PAGE: usize = 512;

/// What a history call asks for.
#[derive(Debug)]
pub struct HistoryQuery {
    pub stream: StreamQuery,
    /// The most events in the answer.
    pub limit: usize,
    /// How long to wait for an event if there is none yet.
    pub wait: Duration,
    /// Where the call comes from.
    pub address: IpAddr,
}

/// The answer to a history call.
#[derive(Debug)]
pub struct History {
    /// Each event as an entry, without the first brace: `"position":…,"event":…}`. Long-polls share it.
    pub events: Vec<Bytes>,
    /// Where a later call continues.
    pub cursor: String,
    pub gaps: Vec<Gap>,
}

/// A lost range: the events after `from` up to and including `position`.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct Gap {
    #[schemars(example = &"order-status")]
    pub channel: String,
    pub from: Position,
    pub position: Position,
}

impl Bus {
    /// Reads the log after the query's `since`, from its start if there is none.
    ///
    /// # Errors
    /// Those of [`Bus::select`], and `broker-unavailable`. A call that waits is admitted first: see [`Bus::admit`].
    pub async fn history(&self, caller: &Caller, query: HistoryQuery) -> Result<History, Problem> {
        let HistoryQuery { mut stream, limit, wait, address } = query;
        self.may_subscribe(caller, &stream.channels)?;
        self.unpack(caller, &mut stream).await?;
        if matches!(stream.since, Some(Since::Latest)) {
            let detail = "`since`: a history does not begin at latest: open a stream, or read GET /v1/latest/{type}";
            return Err(Problem::new(ErrorCode::InvalidPosition, detail));
        }
        stream.since.get_or_insert(Since::Start);
        let selected = self.select(caller, &stream)?;
        let permit = if wait.is_zero() { None } else { Some(self.admit(caller)?) };
        let namespace = self.namespace(caller);
        // A call that does not wait reads the log, which may have events that the relay has not delivered yet. If the node
        // is not ready, the log tells why.
        let from_recent = !wait.is_zero() && namespace.health().borrow().ready.is_ok();
        let mut reader = Reader { namespace, limit, from_recent, scanned: 0, events: Vec::new(), gaps: Vec::new() };
        let mut streams = Vec::with_capacity(selected.len());
        for Selected { name, channel, selector, since, .. } in selected {
            let since = since.unwrap_or(Since::Start);
            let known = |position: &Position| from_recent && namespace.recent().after(channel, position, 0).is_some();
            let (at, lost) = match since {
                Since::After(position) if known(&position) => (position, None),
                since => self.locate(caller, channel, &since).await?,
            };
            if !wait.is_zero() {
                namespace.recent().polled(channel);
            }
            let stream = Stream { name, channel, selector, at };
            if let Some(from) = lost {
                reader.gap(&stream, from);
            }
            streams.push(stream);
        }
        reader.fill(&mut streams).await?;
        // A call that only waits costs nothing, so it is not pending any more.
        drop(permit);
        let gauge = &self.metrics.long_polls;
        let _waiting = (!wait.is_zero()).then(|| namespace.long_polls().begin(caller, address, streams.len(), gauge));
        let mut deadline = Instant::now() + wait;
        while reader.is_empty() && Instant::now() < deadline {
            let next = |stream: &Stream| Position { offset: stream.at.offset + 1, ..stream.at.clone() };
            let nexts: Vec<_> = streams.iter().map(|stream| (stream.channel, next(stream))).collect();
            let reached =
                async |(channel, next): &(ChannelId, Position)| namespace.progress().reached(*channel, next).await;
            let moved = async {
                match &*nexts {
                    [only] => reached(only).await,
                    all => drop(select_all(all.iter().map(|one| Box::pin(reached(one)))).await),
                }
            };
            let moved = tokio::select! {
                moved = timeout_at(deadline, moved) => moved.is_ok(),
                () = self.evicted(caller) => {
                    deadline = Instant::now();
                    false
                }
                // The credential has ended: the answer must not have events that are published from now on.
                () = self.credential_ended(caller) => break,
            };
            // If nothing has moved, the log is read once more: it may have been lost meanwhile.
            reader.from_recent = from_recent && moved;
            reader.scanned = 0;
            reader.fill(&mut streams).await?;
            if reader.scanned == 0 {
                tokio::time::sleep_until(deadline.min(Instant::now() + RETRY)).await;
            }
        }
        let cursor = Cursor(streams.into_iter().map(|stream| (stream.name, stream.at)).collect());
        let cursor = self.cursor_text(caller, &cursor).await;
        Ok(History { events: reader.events, cursor, gaps: reader.gaps })
    }
}

/// One channel of the answer, and how far it was read.
struct Stream {
    name: String,
    channel: ChannelId,
    selector: std::sync::Arc<Selector>,
    at: Position,
}

/// Whether an event of the log matches.
pub(super) fn matches(selector: &Selector, event: &str) -> Result<bool, Box<dyn std::error::Error>> {
    #[derive(Deserialize)]
    struct Event<'a> {
        #[serde(borrow)]
        data: &'a RawValue,
    }
    if selector.is_everything() {
        return Ok(true);
    }
    let event: Event<'_> = serde_json::from_str(event)?;
    Ok(selector.matches(&Json::parse_logged(event.data.get())?))
}

/// Collects the events of one answer.
struct Reader<'a> {
    namespace: &'a Namespace,
    limit: usize,
    /// Whether events are taken from those that the relay has delivered, where these have them.
    from_recent: bool,
    scanned: usize,
    events: Vec<Bytes>,
    gaps: Vec<Gap>,
}

impl Reader<'_> {
    fn is_empty(&self) -> bool {
        self.events.is_empty() && self.gaps.is_empty()
    }

    /// Reads on in every channel: first each channel's share of the answer, so that a busy one does not crowd out the
    /// others, then what is left of it.
    async fn fill(&mut self, streams: &mut [Stream]) -> Result<(), Problem> {
        let share = self.limit.div_ceil(streams.len().max(1));
        for stream in streams.iter_mut() {
            let most = (self.events.len() + share).min(self.limit);
            self.read_on(stream, most).await?;
        }
        if streams.len() > 1 {
            for stream in streams {
                self.read_on(stream, self.limit).await?;
            }
        }
        Ok(())
    }

    /// Reads on in a channel until the answer has `most` events, or the log has no more.
    async fn read_on(&mut self, stream: &mut Stream, most: usize) -> Result<(), Problem> {
        while self.events.len() < most && self.scanned < MAX_SCANNED {
            let wanted = if stream.selector.is_everything() { most - self.events.len() } else { PAGE };
            let recent = || self.namespace.recent().after(stream.channel, &stream.at, wanted);
            if let Some(recent) = self.from_recent.then(recent).flatten() {
                let is_last = recent.len() < wanted;
                for event in recent {
                    if self.events.len() >= most {
                        return Ok(());
                    }
                    self.take(stream, event.offset, event.json(), || event.entry.clone())?;
                }
                if is_last {
                    return Ok(());
                }
                continue;
            }
            let page = self.page(stream, wanted).await.map_err(unreadable)?;
            if let Some(lost) = page.bounds.gap_after(&stream.at) {
                let from = std::mem::replace(&mut stream.at, lost);
                self.gap(stream, from);
            }
            if page.entries.is_empty() {
                return Ok(());
            }
            for entry in page.entries {
                if self.events.len() >= most {
                    return Ok(());
                }
                // Another program may have written it.
                serde_json::from_str::<&RawValue>(&entry.json).map_err(broken)?;
                let position = Position { offset: entry.offset, ..stream.at.clone() };
                self.take(stream, entry.offset, &entry.json, || {
                    Bytes::from(event_frame(&position, &entry.json)).slice(HISTORY_ENTRY..)
                })?;
            }
            if stream.at.offset >= page.bounds.head {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Takes the next event of a channel into the answer, if it matches.
    fn take(
        &mut self,
        stream: &mut Stream,
        offset: u64,
        json: &str,
        entry: impl FnOnce() -> Bytes,
    ) -> Result<(), Problem> {
        self.scanned += 1;
        stream.at.offset = offset;
        if matches(&stream.selector, json).map_err(broken)? {
            self.events.push(entry());
        }
        Ok(())
    }

    /// Reads a page of the log when it is this call's turn, within the time for an answer.
    async fn page(&self, stream: &Stream, limit: usize) -> Result<Page, BrokerError> {
        let read = async {
            let _permit = self.namespace.reads().permit().await;
            self.namespace.log().read(stream.channel, Some(&stream.at), limit).await
        };
        let late = |_| Err(BrokerError::Unavailable("the read did not end in time".into()));
        tokio::time::timeout(READ_TIMEOUT, read).await.unwrap_or_else(late)
    }

    /// Notes that the events after `from`, up to where the stream stands now, are lost.
    fn gap(&mut self, stream: &Stream, from: Position) {
        self.gaps.push(Gap { channel: stream.name.clone(), from, position: stream.at.clone() });
    }
}

pub(super) fn broken(error: impl Display) -> Problem {
    Problem::new(ErrorCode::Internal, "an event in the log cannot be read: the reason is in this node's log")
        .with_cause(error)
}
