//! `GET /v1/events`: what the log has, and long-poll where `wait` says so.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::{RawQuery, State};
use futures_util::future::select_all;
use prometheus_client::metrics::gauge::Gauge;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};

use super::App;
use super::admission::{admit, sent_away};
use super::problem::{Code, Problem};
use super::selection::{Selected, Selection};
use crate::broker::{BrokerError, Page};
use crate::event::{ChannelId, Cursor, Position, Since};
use crate::hub::Begin;
use crate::replay;

/// Events of an answer: by default, and at most.
const LIMIT: usize = 100;
const MAX_LIMIT: usize = 1_000;
/// How long a call may wait for something new, in seconds.
const MAX_WAIT: u64 = 30;
/// Events that one call looks at, where a filter lets few of them through.
const MAX_SCANNED: usize = 20_000;
/// How long it may take until the log was read.
const READ_TIMEOUT: Duration = Duration::from_millis(2_500);
/// Before the log is read again where it gave nothing though something had come.
const RETRY: Duration = Duration::from_millis(100);
/// Events in one read of the log.
const PAGE: usize = 512;

#[derive(Serialize)]
pub(super) struct History {
    events: Vec<Entry>,
    /// Where a later call goes on.
    cursor: String,
    gap: Gaps,
}

#[derive(Serialize)]
struct Entry {
    position: Position,
    event: Box<RawValue>,
}

/// `false`, or what is missing.
#[derive(Serialize)]
#[serde(untagged)]
enum Gaps {
    None(bool),
    Some(Vec<Gap>),
}

/// The events after `from` up to and including `position` are gone.
#[derive(Serialize)]
struct Gap {
    channel: String,
    from: Position,
    position: Position,
}

pub(super) async fn read(State(app): State<App>, RawQuery(query): RawQuery) -> Result<Json<History>, Problem> {
    let mut selection = Selection::read(&app, query.as_deref().unwrap_or_default(), &["limit", "wait"])?;
    let number = |name: &str, default: u64, max: u64| match selection.rest.get(name) {
        None => Ok(default),
        Some(text) => text.parse().ok().filter(|number| *number <= max).ok_or_else(|| {
            Problem::new(Code::BadRequest, format!("{name} is a whole number up to {max}, not {text:?}"))
        }),
    };
    let limit = number("limit", LIMIT as u64, MAX_LIMIT as u64)?.max(1) as usize;
    let wait = Duration::from_secs(number("wait", 0, MAX_WAIT)?);
    let permit = if wait.is_zero() { None } else { Some(admit(&app)?) };
    let mut reader = Reader { app: &app, limit, scanned: 0, events: Vec::new(), gaps: Vec::new() };
    let mut streams = Vec::new();
    for selected in std::mem::take(&mut selection.channels) {
        let since = selection.since(&selected.name).unwrap_or(Since::Start);
        let at = reader.begin(&selected, &since).await?;
        streams.push((selected, at));
    }
    reader.fill(&mut streams).await?;
    // Who waits costs nothing.
    drop(permit);
    let _waiting = Waiting::new(&app.metrics.long_polls);
    let mut deadline = Instant::now() + wait;
    while reader.is_empty() && Instant::now() < deadline {
        let nexts: Vec<_> = streams.iter().map(|(_, at)| Position { offset: at.offset + 1, ..at.clone() }).collect();
        let moved = streams.iter().zip(&nexts);
        let moved = moved.map(|((selected, _), next)| Box::pin(app.progress.reached(selected.channel, next)));
        // Where nothing comes, it is read once more: the logs may have been lost meanwhile.
        tokio::select! {
            _ = timeout_at(deadline, select_all(moved)) => {}
            () = sent_away(&app) => deadline = Instant::now(),
        }
        reader.scanned = 0;
        reader.fill(&mut streams).await?;
        if reader.scanned == 0 {
            // What the relay has reached the log did not give: not to be asked for in a hurry.
            tokio::time::sleep_until(deadline.min(Instant::now() + RETRY)).await;
        }
    }
    let cursor: BTreeMap<_, _> = streams.into_iter().map(|(selected, at)| (selected.name, at)).collect();
    let gap = if reader.gaps.is_empty() { Gaps::None(false) } else { Gaps::Some(reader.gaps) };
    Ok(Json(History { events: reader.events, cursor: Cursor(cursor).to_string(), gap }))
}

/// Counts a request that waits, until it is answered or its client has gone.
struct Waiting<'a>(&'a Gauge);

impl<'a> Waiting<'a> {
    fn new(gauge: &'a Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Gathers what one answer brings.
struct Reader<'a> {
    app: &'a App,
    limit: usize,
    scanned: usize,
    events: Vec<Entry>,
    gaps: Vec<Gap>,
}

impl Reader<'_> {
    fn is_empty(&self) -> bool {
        self.events.is_empty() && self.gaps.is_empty()
    }

    /// Where reading a channel begins.
    async fn begin(&mut self, selected: &Selected, since: &Since) -> Result<Position, Problem> {
        let begin = replay::begin(&*self.app.broker, &self.app.admission, selected.channel, since)
            .await
            .map_err(unavailable)?;
        match begin {
            Begin::After { position, lost } => {
                if let Some(from) = lost {
                    self.gap(selected, from, &position);
                }
                Ok(position)
            }
            Begin::Live { .. } => {
                let log = self.app.broker.bounds(selected.channel, None).await.map_err(unavailable)?;
                Ok(log.head())
            }
        }
    }

    /// Reads on in every channel: each its share of the answer first, so that a busy one does not keep out the others, then
    /// what is left of it.
    async fn fill(&mut self, streams: &mut [(Selected, Position)]) -> Result<(), Problem> {
        let share = self.limit.div_ceil(streams.len().max(1));
        for (selected, at) in streams.iter_mut() {
            let most = (self.events.len() + share).min(self.limit);
            self.read_on(selected, at, most).await?;
        }
        for (selected, at) in streams {
            self.read_on(selected, at, self.limit).await?;
        }
        Ok(())
    }

    /// Reads on in a channel until there are `most` events in all, or no more in the log.
    async fn read_on(&mut self, selected: &Selected, at: &mut Position, most: usize) -> Result<(), Problem> {
        while self.events.len() < most && self.scanned < MAX_SCANNED {
            let wanted = if selected.filter.is_empty() { most - self.events.len() } else { PAGE };
            let page = self.page(selected.channel, at, wanted).await.map_err(unavailable)?;
            if let Some(lost) = page.bounds.gap_after(at) {
                self.gap(selected, std::mem::replace(at, lost.clone()), &lost);
            }
            if page.entries.is_empty() {
                return Ok(());
            }
            for entry in page.entries {
                if self.events.len() >= most {
                    return Ok(());
                }
                self.scanned += 1;
                at.offset = entry.offset;
                let event = RawValue::from_string(entry.json.to_string()).map_err(broken)?;
                if selected.lets(&event).map_err(broken)? {
                    self.events.push(Entry { position: at.clone(), event });
                }
            }
        }
        Ok(())
    }

    /// Reads a page of the log when it is this one's turn, within the time for an answer.
    async fn page(&self, channel: ChannelId, at: &Position, limit: usize) -> Result<Page, BrokerError> {
        let read = async {
            let _turn = self.app.admission.read_permit().await;
            self.app.broker.read(channel, Some(at), limit).await
        };
        let late = |_| Err(BrokerError::Unavailable("too many read the log".into()));
        tokio::time::timeout(READ_TIMEOUT, read).await.unwrap_or_else(late)
    }

    fn gap(&mut self, selected: &Selected, from: Position, position: &Position) {
        self.gaps.push(Gap { channel: selected.name.clone(), from, position: position.clone() });
    }
}

fn unavailable(error: BrokerError) -> Problem {
    Problem::new(Code::BrokerUnavailable, "the broker is unavailable").with_cause(error)
}

fn broken(error: serde_json::Error) -> Problem {
    Problem::new(Code::Internal, "an event in the log cannot be read").with_cause(error.to_string())
}
