//! `GET /v1/events`: what the log has, and long-poll with `wait`.

use std::time::Duration;

use axum::Json;
use axum::extract::{RawQuery, State};
use serde::Serialize;

use super::App;
use crate::access::Caller;
use crate::bus::{Gap, HistoryEntry, HistoryQuery, StreamQuery};
use crate::protocol::{ErrorCode, Problem};
use crate::suggest;

/// Events of a response: by default, and at most.
const LIMIT: u64 = 100;
const MAX_LIMIT: u64 = 1_000;
/// How long a call may wait for something new, in seconds.
const MAX_WAIT: u64 = 30;

#[derive(Serialize)]
pub(super) struct Response {
    events: Vec<HistoryEntry>,
    /// Where a later call continues.
    cursor: String,
    gap: Gaps,
}

/// `false`, or what is missing.
#[derive(Serialize)]
#[serde(untagged)]
enum Gaps {
    None(bool),
    Some(Vec<Gap>),
}

pub(super) async fn read(
    State(app): State<App>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Response>, Problem> {
    let (stream, own) = StreamQuery::parse(query.as_deref().unwrap_or_default(), &["limit", "wait"])?;
    let number = |name: &str, default: u64, max: u64| match own.get(name) {
        None => Ok(default),
        Some(text) => text.parse().ok().filter(|number| *number <= max).ok_or_else(|| {
            Problem::new(
                ErrorCode::BadRequest,
                format!("`{name}` must be a whole number from 0 to {max}, not {}", suggest::quoted(text)),
            )
        }),
    };
    let limit = number("limit", LIMIT, MAX_LIMIT)?.max(1) as usize;
    let wait = Duration::from_secs(number("wait", 0, MAX_WAIT)?);
    let history = app.bus.history(&caller, HistoryQuery { stream, limit, wait }).await?;
    let gap = if history.gaps.is_empty() { Gaps::None(false) } else { Gaps::Some(history.gaps) };
    Ok(Json(Response { events: history.events, cursor: history.cursor, gap }))
}
