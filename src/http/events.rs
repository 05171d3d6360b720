//! `POST /v1/events`: takes events, answers when the broker has them.

use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Serialize;

use super::App;
use super::envelope::{self, Documents};
use super::problem::{Code, Problem};
use crate::broker::Appended;
use crate::event::{ChannelId, Defaults, Event, MAX_MISTAKES, Mistake, Position, RefusalKind};
use crate::metrics::TypeLabel;

/// How long a request's body may take to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the rest of a body that is too large is passed over.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the broker may take to answer: then it is not known whether the events were taken.
const APPEND_TIMEOUT: Duration = Duration::from_millis(2_500);
/// How long an answer waits for the fan-out of what it answers.
const CATCH_UP: Duration = Duration::from_millis(20);
/// How long a publisher is held back at the most.
const MAX_PAUSE: Duration = Duration::from_millis(250);
/// Documents that are judged in one go: a megabyte with the largest that the defaults take.
const TURN: usize = 16;
/// The source of events whose publisher names none and is not authenticated.
const ANONYMOUS: &str = "anonymous";

/// The answer to a publish.
#[derive(Serialize)]
struct Published<'a> {
    accepted: Vec<Accepted<'a>>,
    /// Events that the accepted ones caused.
    cascaded: [Accepted<'a>; 0],
}

#[derive(Serialize)]
struct Accepted<'a> {
    id: &'a str,
    r#type: &'a str,
    position: &'a Position,
    duplicate: bool,
}

/// What a request put on one channel.
struct Added {
    channel: ChannelId,
    /// The newest.
    position: Position,
    /// Events that are no duplicates.
    fresh: u64,
}

pub(super) async fn publish(State(app): State<App>, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    if app.draining.is_cancelled() {
        return Err(Problem::new(Code::Draining, "this node is about to stop: publish to another"));
    }
    let body = read_body(&headers, body, app.limits.max_body_bytes).await?;
    let documents = envelope::read(&headers, &body, app.limits.max_event_bytes)?;
    drop(body);
    let events = accept(&app, documents).await?;
    let appended = append(&app, &events).await?;
    let added = added(&events, &appended);
    count(&app, &added, events.len());
    keep_pace(&app, &added).await;
    let accepted = events.iter().zip(&appended).map(|(event, Appended { position, duplicate })| Accepted {
        id: &event.id,
        r#type: &app.catalog.get(event.channel).name,
        position,
        duplicate: *duplicate,
    });
    let published = Published { accepted: accepted.collect(), cascaded: [] };
    // Strings and booleans: there is nothing that could fail.
    let answer = serde_json::to_string(&published).unwrap_or_default();
    Ok((StatusCode::ACCEPTED, [(header::CONTENT_TYPE, "application/json")], answer).into_response())
}

async fn read_body(headers: &HeaderMap, mut body: Body, limit: usize) -> Result<Bytes, Problem> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    // One that asks before it sends (RFC 9110, section 10.1.1) will not send.
    let waits = headers.contains_key(header::EXPECT);
    let too_large = |rest: Body| {
        if !waits {
            tokio::spawn(discard(rest, limit.saturating_mul(4)));
        }
        Problem::new(Code::PayloadTooLarge, format!("a body has at most {limit} bytes"))
    };
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large(body));
    }
    let whole = Limited::new(&mut body, limit).collect();
    match tokio::time::timeout(BODY_TIMEOUT, whole).await {
        Ok(Ok(read)) => Ok(read.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large(body)),
        Ok(Err(error)) => Err(Problem::new(Code::BadRequest, format!("the body could not be read: {error}"))),
        Err(_) => Err(Problem::new(Code::RequestTimeout, "the body did not come in time")),
    }
}

/// Passes over the rest of a body whose request was answered already, within bounds: a connection that is closed while
/// the client is still sending is reset, and the client never sees the answer.
async fn discard(mut body: Body, bound: usize) {
    let mut passed = 0;
    let rest = async {
        while let Some(Ok(frame)) = body.frame().await {
            passed += frame.data_ref().map_or(0, Bytes::len);
            if passed > bound {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, rest).await;
}

/// Judges all documents before any is published, and lets others have the thread in between: it takes a while for 8 MiB.
async fn accept(app: &App, documents: Documents) -> Result<Vec<Event>, Problem> {
    let time = Defaults::now();
    let defaults = Defaults { source: ANONYMOUS, time: &time };
    let (documents, many, binary) = match documents {
        Documents::One(document) => (vec![document], false, false),
        Documents::Binary(document) => (vec![document], false, true),
        Documents::Many(documents) => (documents, true, false),
    };
    let mut events = Vec::with_capacity(documents.len());
    let mut kind = None;
    let mut mistakes: Vec<Mistake> = Vec::new();
    for (index, document) in documents.into_iter().enumerate() {
        if index % TURN == TURN - 1 {
            tokio::task::yield_now().await;
        }
        let at = if many { format!("/{index}") } else { String::new() };
        match app.catalog.validate(document, &at, MAX_MISTAKES - mistakes.len(), defaults) {
            Ok(event) => events.push(event),
            Err(refusal) => {
                kind.get_or_insert(refusal.kind);
                mistakes.extend(refusal.mistakes);
                if mistakes.len() >= MAX_MISTAKES {
                    break;
                }
            }
        }
    }
    let Some(kind) = kind else { return Ok(events) };
    if binary {
        mistakes.iter_mut().for_each(from_data);
    }
    let (code, what) = match kind {
        RefusalKind::UnknownType => (Code::UnknownType, "there is no such event type here; see errors"),
        RefusalKind::Invalid => {
            (Code::InvalidEvent, "it does not fit its type's schema or CloudEvents 1.0; see errors")
        }
    };
    Err(Problem::new(code, what).with_errors(mistakes))
}

/// In binary mode the body is `data`: pointers start there, and an attribute is a header.
fn from_data(mistake: &mut Mistake) {
    match mistake.pointer.strip_prefix("/data") {
        Some(within) if within.is_empty() || within.starts_with('/') => mistake.pointer = within.to_owned(),
        _ => {
            let attribute = std::mem::take(&mut mistake.pointer);
            mistake.message = format!("header ce-{}: {}", attribute.trim_start_matches('/'), mistake.message);
        }
    }
}

/// Waits for this node's own fan-out: a moment, so that who subscribes here after the answer begins after what was
/// answered; longer where the publisher is far ahead. Otherwise a burst would run out of the log before it was delivered,
/// and become a gap.
async fn keep_pace(app: &App, added: &[Added]) {
    let within = async |lag: u64, pause| {
        let reached = async {
            for Added { channel, position, .. } in added {
                let position = Position { offset: position.offset.saturating_sub(lag), ..position.clone() };
                app.progress.reached(*channel, &position).await;
            }
        };
        tokio::time::timeout(pause, reached).await
    };
    if within(0, CATCH_UP).await.is_err() {
        // Where fan-out stands still, publishing goes on, slowly: the log may outlast it.
        let _ = within(app.max_lag, MAX_PAUSE).await;
    }
}

async fn append(app: &App, events: &[Event]) -> Result<Vec<Appended>, Problem> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let started = Instant::now();
    let unknown = |cause: &str| {
        let detail = "the broker is unavailable; whether the events were taken is not known: \
                      sending the same ids again is safe";
        Problem::new(Code::BrokerUnavailable, detail).with_cause(cause)
    };
    let appended = tokio::time::timeout(APPEND_TIMEOUT, app.broker.append(events))
        .await
        .map_err(|_| unknown("the broker did not answer in time"))?
        .map_err(|error| unknown(&error.to_string()))?;
    app.metrics.appended(started.elapsed());
    Ok(appended)
}

fn added(events: &[Event], appended: &[Appended]) -> Vec<Added> {
    let mut all: Vec<Added> = Vec::new();
    for (event, Appended { position, duplicate }) in events.iter().zip(appended) {
        let fresh = u64::from(!duplicate);
        match all.iter_mut().find(|added| added.channel == event.channel) {
            Some(added) => {
                // A duplicate stands before others; an epoch that began on the way is newer.
                if !position.same_epoch(&added.position) || position.offset > added.position.offset {
                    added.position = position.clone();
                }
                added.fresh += fresh;
            }
            None => all.push(Added { channel: event.channel, position: position.clone(), fresh }),
        }
    }
    all
}

fn count(app: &App, added: &[Added], events: usize) {
    for Added { channel, fresh, .. } in added.iter().filter(|added| added.fresh > 0) {
        let label = TypeLabel { r#type: app.catalog.get(*channel).name.clone() };
        app.metrics.published.get_or_create(&label).inc_by(*fresh);
    }
    let fresh: u64 = added.iter().map(|added| added.fresh).sum();
    app.metrics.duplicates.inc_by(events as u64 - fresh);
}
