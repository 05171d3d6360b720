//! `GET /v1/incidents`: what went wrong lately at this node: gaps, new epochs, connections that it closed, readiness.

use axum::Json;
use axum::extract::{RawQuery, State};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::App;
use crate::access::{AdminRight, Caller};
use crate::bus::parameters;
use crate::event::{Moment, Since};
use crate::incidents;
use crate::protocol::{ErrorCode, Problem};
use crate::suggest;

/// The incidents of the node that answers, the oldest first.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Incidents")]
pub(super) struct Response {
    incidents: Vec<Incident>,
}

/// What happened. An incident that repeats within a minute is one entry, which says how often it happened.
#[derive(Serialize, JsonSchema)]
struct Incident {
    /// The last time, in RFC 3339, by the node's clock.
    time: String,
    node: String,
    /// `gap`, `epoch-change`, `close-1013`, `close-4008`, `not-ready`, or `ready`.
    kind: &'static str,
    /// The channel that it is about, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    channel: Option<String>,
    /// A sentence for operators.
    detail: String,
}

pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Response>, Problem> {
    // Before the parameters are looked at.
    app.bus.require(&caller, AdminRight::Nodes)?;
    let mut since = None;
    for (_, value) in parameters(&query.unwrap_or_default(), &["since"])? {
        since = Some(moment(&value)?);
    }
    let node = &app.connections.node;
    let incidents = app.bus.incidents(&caller, since)?.into_iter().map(|one| Incident::new(one, node)).collect();
    Ok(Json(Response { incidents }))
}

fn moment(text: &str) -> Result<Moment, Problem> {
    match text.parse() {
        Ok(Since::AcceptedFrom(moment)) => Ok(moment),
        _ => {
            let detail = format!(
                "`since` must be a time or an age, such as 2026-11-21T10:00:00Z or 15m, not {}",
                suggest::quoted(text)
            );
            Err(Problem::new(ErrorCode::BadRequest, detail))
        }
    }
}

impl Incident {
    fn new(incident: incidents::Incident, node: &str) -> Self {
        let incidents::Incident { kind, channel, time, first, count, mut detail } = incident;
        let written = |time| format!("{:.3}", Timestamp::try_from(time).unwrap_or_default());
        if count > 1 {
            detail.push_str(&format!(" ({count} times since {})", written(first)));
        }
        let channel = channel.as_deref().map(str::to_owned);
        Self { time: written(time), node: node.to_owned(), kind: kind.name(), channel, detail }
    }
}
