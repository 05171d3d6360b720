//! `POST /v1/events`: reads events from a request, and answers when the broker has them.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::App;
use super::content_coding::{self, Coding};
use super::edge::ClientAddress;
use super::envelope::{self, Envelope};
use crate::access::Caller;
use crate::bus::Publisher;
use crate::event::Mistake;
use crate::protocol::{ErrorCode, Problem};

/// How long a request's body may take to arrive, and then how long it may wait to be parsed.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the rest of a body that is too large is read and dropped.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) async fn publish(
    State(app): State<App>,
    caller: Caller,
    Extension(ClientAddress(address)): Extension<ClientAddress>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let publisher = app.bus.publisher(&caller)?;
    let limit = app.limits.max_body_bytes;
    let body = read_body(&headers, body, limit, " (the setting max_body_bytes): send fewer events at a time").await?;
    let coding = match content_coding::coding(&headers) {
        Ok(coding) => coding,
        Err(unknown) => return Ok(unknown.into_response()),
    };
    let begun = Instant::now();
    let answered = answer(&app, publisher, address, &headers, coding, body).await;
    // A request that is refused waits for nothing, and would make the others look quick.
    let has_waited = match &answered {
        Ok(_) => true,
        Err(problem) => problem.code == ErrorCode::BrokerUnavailable,
    };
    if has_waited {
        app.metrics.publish_seconds.observe(begun.elapsed().as_secs_f64());
    }
    answered
}

/// Reads the events of a body, publishes them, and answers.
async fn answer(
    app: &App,
    publisher: Publisher<'_>,
    address: IpAddr,
    headers: &HeaderMap,
    coding: Option<Coding>,
    body: Bytes,
) -> Result<Response, Problem> {
    let room = app.parse_limit.acquire(coding.is_none().then_some(body.len()), BODY_TIMEOUT).await?;
    let body = match coding {
        Some(coding) => content_coding::inflate(coding, &body, app.limits.max_body_bytes).await?,
        None => body,
    };
    let Envelope { documents, binary } = envelope::read(headers, &body, app.limits.max_event_bytes)?;
    publisher.charge(documents.len(), address)?;
    let events = publisher.validate(documents).await.map_err(|mut problem| {
        if binary {
            problem.errors.iter_mut().for_each(for_binary);
            if !problem.errors.is_empty() {
                problem.detail = Mistake::summary(&problem.errors);
            }
        }
        problem
    })?;
    drop(body);
    // Not held while the broker appends: a slow broker must not hold other bodies back.
    drop(room);
    let published = publisher.publish(events).await?;
    // Strings and booleans: serialization cannot fail.
    let answer = serde_json::to_string(&published).unwrap_or_default();
    Ok((StatusCode::ACCEPTED, [(header::CONTENT_TYPE, "application/json")], answer).into_response())
}

/// Reads a body of at most `limit` bytes. `advice` ends the sentence about a longer one.
pub(super) async fn read_body(
    headers: &HeaderMap,
    mut body: Body,
    limit: usize,
    advice: &'static str,
) -> Result<Bytes, Problem> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    // A client that asks before it sends (RFC 9110, section 10.1.1) does not send the body.
    let asks_first = headers.contains_key(header::EXPECT);
    let too_large = |rest: Body| {
        if !asks_first {
            tokio::spawn(discard(rest, limit.saturating_mul(4)));
        }
        Problem::new(ErrorCode::PayloadTooLarge, format!("the body has more than {limit} bytes{advice}"))
    };
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large(body));
    }
    let whole = Limited::new(&mut body, limit).collect();
    match tokio::time::timeout(BODY_TIMEOUT, whole).await {
        Ok(Ok(read)) => Ok(read.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large(body)),
        Ok(Err(error)) => Err(Problem::new(ErrorCode::BadRequest, format!("the body could not be read: {error}"))),
        Err(_) => {
            Err(Problem::new(ErrorCode::RequestTimeout, "the body did not arrive within 30 s: send the request again"))
        }
    }
}

/// Reads and drops the rest of a body, within bounds, after its request was answered. If the connection were closed while
/// the client still sends, it would be reset, and the client would never see the answer.
async fn discard(mut body: Body, bound: usize) {
    let mut dropped = 0;
    let rest = async {
        while let Some(Ok(frame)) = body.frame().await {
            dropped += frame.data_ref().map_or(0, Bytes::len);
            if dropped > bound {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, rest).await;
}

/// Rewrites a mistake for binary mode: the body is `data`, so that pointers start there, and an attribute is a header.
fn for_binary(mistake: &mut Mistake) {
    match mistake.pointer.strip_prefix("/data") {
        Some(within) if within.is_empty() || within.starts_with('/') => mistake.pointer = within.to_owned(),
        _ => {
            let attribute = std::mem::take(&mut mistake.pointer);
            mistake.message = format!("header ce-{}: {}", attribute.trim_start_matches('/'), mistake.message);
        }
    }
}
