//! The forms in which events arrive over HTTP (CloudEvents 1.0, HTTP protocol binding, section 3), read as documents.
//!
//! This module sees a document's size and its place in the body. The application layer judges what it means.

use std::borrow::Cow;
use std::fmt::Display;

use axum::http::{HeaderMap, header};
use percent_encoding::percent_decode;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::bus::Documents;
use crate::event::Mistake;
use crate::protocol::{ErrorCode, Problem};

/// The most events in one request.
pub const MAX_EVENTS: usize = 1_000;

/// The events of a request.
#[derive(Debug, PartialEq)]
pub struct Envelope {
    pub documents: Documents,
    /// The attributes were headers, and the body was `data`.
    pub binary: bool,
}

/// Reads a request's events.
pub fn read(headers: &HeaderMap, body: &[u8], max_event_bytes: usize) -> Result<Envelope, Problem> {
    let given = headers.get(header::CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let given = given.as_deref();
    let essence = given.map(|text| text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    let is_array = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let wrong = |message: &str| {
        let mistake = Mistake::new("", message);
        Err(Problem::new(ErrorCode::InvalidEvent, message).with_errors(vec![mistake]))
    };
    match essence.as_deref() {
        Some("application/cloudevents-batch+json") if !is_array => {
            json::<&RawValue>(body)?;
            wrong("a batch is an array of events; one event is sent as application/cloudevents+json")
        }
        Some("application/cloudevents+json") if is_array => {
            json::<&RawValue>(body)?;
            wrong("one event is an object; an array is sent as application/cloudevents-batch+json")
        }
        Some("application/cloudevents-batch+json") => many(body, max_event_bytes).map(Envelope::from),
        Some("application/cloudevents+json") => one(body, max_event_bytes).map(Envelope::from),
        essence if headers.keys().any(|name| name.as_str().starts_with("ce-")) => {
            if essence.is_some_and(|essence| !is_json(essence)) {
                return Err(unsupported(given));
            }
            let document = binary(headers, given, one(body, max_event_bytes)?)?;
            // The attributes count too, and they are in no body: this is the event as JSON.
            check_size(document.to_string().len(), max_event_bytes, "the event")?;
            Ok(Envelope { documents: Documents::One(document), binary: true })
        }
        Some("application/json") if is_array => many(body, max_event_bytes).map(Envelope::from),
        Some("application/json") => one(body, max_event_bytes).map(Envelope::from),
        _ => Err(unsupported(given)),
    }
}

impl From<Value> for Envelope {
    fn from(document: Value) -> Self {
        Self { documents: Documents::One(document), binary: false }
    }
}

impl From<Vec<Value>> for Envelope {
    fn from(documents: Vec<Value>) -> Self {
        Self { documents: Documents::Many(documents), binary: false }
    }
}

/// JSON, or JSON with a name of its own (RFC 6839, section 3.1).
fn is_json(essence: &str) -> bool {
    essence == "application/json" || essence.starts_with("application/") && essence.ends_with("+json")
}

fn unsupported(given: Option<&str>) -> Problem {
    let given = given.map_or("none was given".to_owned(), |given| format!("not {given:?}"));
    Problem::new(
        ErrorCode::UnsupportedMediaType,
        format!(
            "the Content-Type is application/json, application/cloudevents+json or application/cloudevents-batch+json; \
             {given}"
        ),
    )
}

fn json<'a, T: serde::Deserialize<'a>>(body: &'a [u8]) -> Result<T, Problem> {
    let read = match std::str::from_utf8(body) {
        // Text is read faster than bytes, of which each string is looked at by itself.
        Ok(text) => serde_json::from_str(text),
        Err(_) => serde_json::from_slice(body),
    };
    read.map_err(|error| Problem::new(ErrorCode::MalformedJson, error.to_string()))
}

fn one(body: &[u8], max: usize) -> Result<Value, Problem> {
    check_size(body.trim_ascii().len(), max, "the event")?;
    json(body)
}

fn many(body: &[u8], max: usize) -> Result<Vec<Value>, Problem> {
    // If no event can be too large, one pass is enough. Mistakes are found below.
    if body.len() <= max
        && let Ok(documents) = json::<Vec<Value>>(body)
        && documents.len() <= MAX_EVENTS
    {
        return Ok(documents);
    }
    let raw: Vec<&RawValue> = json(body)?;
    if raw.len() > MAX_EVENTS {
        let detail = format!("a request has at most {MAX_EVENTS} events, not {}", raw.len());
        return Err(Problem::new(ErrorCode::PayloadTooLarge, detail));
    }
    for (index, event) in raw.iter().enumerate() {
        check_size(event.get().len(), max, format_args!("the event at /{index}"))?;
    }
    raw.into_iter().map(|event| json(event.get().as_bytes())).collect()
}

fn check_size(len: usize, max: usize, what: impl Display) -> Result<(), Problem> {
    match len > max {
        true => {
            Err(Problem::new(ErrorCode::PayloadTooLarge, format!("{what} has {len} bytes, at most {max} are taken")))
        }
        false => Ok(()),
    }
}

/// Binary mode: attributes are `ce-` headers, their values percent-encoded (section 3.1.3); the body is `data`.
fn binary(headers: &HeaderMap, content_type: Option<&str>, data: Value) -> Result<Value, Problem> {
    let mut event = Map::new();
    for (name, value) in headers {
        let Some(attribute) = name.as_str().strip_prefix("ce-") else { continue };
        let Some(value) = percent_decoded(value.as_bytes()) else {
            let message = format!("the header {name} is not UTF-8, percent-encoded");
            return Err(Problem::new(ErrorCode::InvalidEvent, &message).with_errors(vec![Mistake::new("", message)]));
        };
        if attribute == "data" || event.insert(attribute.to_owned(), value.into()).is_some() {
            let message = format!("the header {name} is not allowed, or occurs twice");
            return Err(Problem::new(ErrorCode::InvalidEvent, &message).with_errors(vec![Mistake::new("", message)]));
        }
    }
    if let Some(content_type) = content_type {
        let (essence, parameters) = content_type.split_at(content_type.find(';').unwrap_or(content_type.len()));
        let media_type = format!("{}{parameters}", essence.trim().to_ascii_lowercase());
        event.entry("datacontenttype").or_insert(media_type.into());
    }
    event.insert("data".to_owned(), data);
    Ok(Value::Object(event))
}

/// Lenient, as section 3.1.3.2 asks: what is no percent-encoding stands for itself.
fn percent_decoded(value: &[u8]) -> Option<String> {
    let value = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value);
    percent_decode(value).decode_utf8().ok().map(Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn code(pairs: &[(&'static str, &str)], body: &str) -> ErrorCode {
        read(&headers(pairs), body.as_bytes(), 30).unwrap_err().code
    }

    fn binary_of(document: Value) -> Envelope {
        Envelope { documents: Documents::One(document), binary: true }
    }

    const TYPE: &str = "content-type";

    #[test]
    fn each_media_type_has_its_form() {
        let read = |media_type, body: &str| read(&headers(&[(TYPE, media_type)]), body.as_bytes(), 30).unwrap();
        assert_eq!(read("application/json", " {}"), json!({}).into());
        assert_eq!(read("application/json; charset=utf-8", " [{}]"), vec![json!({})].into());
        assert_eq!(read("Application/CloudEvents+JSON", "{}"), json!({}).into());
        assert_eq!(read("application/cloudevents-batch+json", "[]"), vec![].into());
    }

    #[test]
    fn the_wrong_form_is_refused() {
        assert_eq!(code(&[], "{}"), ErrorCode::UnsupportedMediaType);
        assert_eq!(code(&[(TYPE, "text/plain")], "{}"), ErrorCode::UnsupportedMediaType);
        assert_eq!(code(&[(TYPE, "text/plain"), ("ce-type", "x")], "{}"), ErrorCode::UnsupportedMediaType);
        assert_eq!(code(&[(TYPE, "application/json")], "{"), ErrorCode::MalformedJson);
        assert_eq!(code(&[(TYPE, "application/json")], "[{]"), ErrorCode::MalformedJson);
        assert_eq!(code(&[(TYPE, "application/json")], ""), ErrorCode::MalformedJson);
        assert_eq!(code(&[(TYPE, "application/cloudevents+json")], "[]"), ErrorCode::InvalidEvent);
        assert_eq!(code(&[(TYPE, "application/cloudevents-batch+json")], "{}"), ErrorCode::InvalidEvent);
        assert_eq!(
            code(&[(TYPE, "application/json")], r#"{"a":"0123456789012345678901234"}"#),
            ErrorCode::PayloadTooLarge
        );
        assert_eq!(
            code(&[(TYPE, "application/json")], r#"[{"a":"0123456789012345678901234"}]"#),
            ErrorCode::PayloadTooLarge
        );
        assert_eq!(
            code(&[(TYPE, "application/json")], &format!("[{}0]", "0,".repeat(1000))),
            ErrorCode::PayloadTooLarge
        );
    }

    #[test]
    fn binary_mode_reads_attributes_from_headers() {
        let pairs = [("ce-type", "t"), ("ce-subject", "Euro%20%E2%82%AC 100%+F"), (TYPE, "application/x+json")];
        let expected =
            json!({"type":"t","subject":"Euro € 100%+F","datacontenttype":"application/x+json","data":{"a":1}});
        assert_eq!(read(&headers(&pairs), br#"{"a":1}"#, 100).unwrap(), binary_of(expected));
        let without_type = read(&headers(&[("ce-type", "t")]), b"7", 30).unwrap();
        assert_eq!(without_type, binary_of(json!({"type":"t","data":7})));
        assert_eq!(code(&[("ce-type", "%FF")], "{}"), ErrorCode::InvalidEvent);
    }

    #[test]
    fn in_binary_mode_too_the_size_is_that_of_the_whole_event() {
        let fits = r#"{"type":"t","more":"x","data":7}"#.len() - 2;
        assert_eq!(code(&[("ce-type", "t"), ("ce-more", "xxx")], "7"), ErrorCode::PayloadTooLarge);
        let pairs = [("ce-type", "t"), ("ce-more", "x")];
        assert!(read(&headers(&pairs), b"7", fits + 2).is_ok());
        assert_eq!(read(&headers(&pairs), b"7", fits + 1).unwrap_err().code, ErrorCode::PayloadTooLarge);
    }
}
