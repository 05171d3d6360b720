//! Fuzz targets: the body and the headers of `POST /v1/events`.

use std::pin::pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use super::content_coding::{self, Coding};
use super::envelope::{self, Envelope, MAX_EVENTS};
use crate::bus::Documents;
use crate::event::{Catalog, Defaults, Event, Json, MAX_MISTAKES};

/// The setting `max_event_bytes`.
const MAX_EVENT_BYTES: usize = 2048;
/// The setting `max_body_bytes`.
const MAX_BODY_BYTES: usize = 64 << 10;

static CATALOG: LazyLock<Catalog> = LazyLock::new(Catalog::builtin);

/// A line with the `Content-Type`, and the body.
pub fn publish_body(bytes: &[u8]) {
    let (media_type, body) = line(bytes);
    let mut headers = HeaderMap::new();
    if let Ok(media_type) = HeaderValue::from_bytes(media_type) {
        headers.insert(header::CONTENT_TYPE, media_type);
    }
    publish(&headers, body);
}

/// Lines with headers, an empty line, and the body: CloudEvents' binary mode. It must come to the same as the event as JSON.
pub fn cloudevents_headers(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    let mut rest = bytes;
    let body = loop {
        let (line, more) = line(rest);
        rest = more;
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { break rest };
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(&line[..colon]), value) {
            headers.append(name, value);
        }
    };
    let Some(Envelope { documents: Documents::One(event), binary: true }) = publish(&headers, body) else { return };
    let attributes = event.as_object().unwrap_or_default();
    assert!(attributes.iter().all(|(name, value)| name == "data" || value.as_str().is_some()), "{event}");
    let structured = HeaderValue::from_static("application/cloudevents+json");
    let text = event.to_string();
    let read = envelope::read(&[(header::CONTENT_TYPE, structured)].into_iter().collect(), text.as_bytes(), text.len());
    assert_eq!(read, Ok(Envelope { documents: Documents::One(event), binary: false }));
}

/// A compressed body, whose first byte names the coding. What is inflated never exceeds the limit.
pub fn content_codings(bytes: &[u8]) {
    let Some((coding, body)) = bytes.split_first() else { return };
    let coding = match coding {
        b'g' => Coding::Gzip,
        b'd' => Coding::Deflate,
        _ => Coding::Zstd,
    };
    let mut inflating = pin!(content_coding::inflate(coding, body, MAX_BODY_BYTES));
    let inflated = loop {
        // It waits for nothing, and only lets others run.
        if let Poll::Ready(inflated) = inflating.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            break inflated;
        }
    };
    assert!(inflated.map_or(0, |body| body.len()) <= MAX_BODY_BYTES);
}

/// Reads and validates the events of a request. What was read is within the bounds, and is read again from its text. A valid
/// event is valid as subscribers get it, and does not change if one of them publishes it.
fn publish<'a>(headers: &HeaderMap, body: &'a [u8]) -> Option<Envelope<'a>> {
    let envelope = envelope::read(headers, body, MAX_EVENT_BYTES).ok()?;
    assert!(envelope.documents.len() <= MAX_EVENTS);
    let documents = match &envelope.documents {
        Documents::One(document) => std::slice::from_ref(document),
        Documents::Many(documents) => documents,
    };
    for document in documents {
        let text = document.to_string();
        assert!(text.len() <= MAX_EVENT_BYTES);
        assert_eq!(Json::parse(&text).as_ref(), Ok(document));
        if let Some(event) = validate(document.clone()) {
            assert_eq!(Json::parse(&event.json).ok().and_then(validate), Some(event));
        }
    }
    Some(envelope)
}

fn validate(document: Json<'_>) -> Option<Event> {
    let defaults = Defaults { source: "/fuzz", time: "2026-11-21T10:00:00.000Z" };
    match CATALOG.validate(document, "", MAX_MISTAKES, defaults) {
        Ok(event) => Some(event),
        Err(refusal) => {
            assert!(refusal.unknown_type.is_some() || !refusal.mistakes.is_empty());
            assert!(refusal.mistakes.len() <= MAX_MISTAKES);
            None
        }
    }
}

/// The first line, and what follows it.
fn line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    (&bytes[..end], bytes.get(end + 1..).unwrap_or_default())
}
