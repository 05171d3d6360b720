//! The forms in which events arrive over HTTP (CloudEvents 1.0, HTTP protocol binding, section 3), read as documents.
//!
//! This module sees a document's size and its place in the body. The application layer judges what it means.

use std::borrow::Cow;
use std::fmt::Display;

use axum::http::{HeaderMap, header};

use super::ce_header;
use super::media_type::MediaType;
use crate::bus::Documents;
use crate::event::json::ElementsError;
use crate::event::{Json, JsonError, Mistake};
use crate::protocol::{ErrorCode, Problem};

/// The most events in one request.
pub const MAX_EVENTS: usize = 1_000;

/// The events of a request.
#[derive(Debug, PartialEq)]
pub struct Envelope<'a> {
    pub documents: Documents<'a>,
    /// The attributes were headers, and the body was `data`.
    pub binary: bool,
}

/// Reads a request's events.
pub fn read<'a>(headers: &HeaderMap, body: &'a [u8], max_event_bytes: usize) -> Result<Envelope<'a>, Problem> {
    if headers.get_all(header::CONTENT_TYPE).iter().nth(1).is_some() {
        let detail = "the request has several Content-Type headers: send one";
        return Err(Problem::new(ErrorCode::UnsupportedMediaType, detail));
    }
    let given = headers.get(header::CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let media_type = given.as_deref().map(MediaType::parse);
    if let Some(charset) = media_type.as_ref().and_then(MediaType::foreign_charset) {
        let detail = format!("the charset {charset:?} is not supported: send JSON in UTF-8");
        return Err(Problem::new(ErrorCode::UnsupportedMediaType, detail));
    }
    let is_array = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    match media_type.as_ref().map(|given| given.essence.as_str()) {
        // The size of one event is no limit for a body of the wrong form.
        Some("application/cloudevents-batch+json") if !is_array => {
            Json::parse_bytes(body).map_err(malformed)?;
            Err(wrong_form("the body must be an array of events: send a single event as application/cloudevents+json"))
        }
        Some("application/cloudevents+json") if is_array => {
            Json::parse_bytes(body).map_err(malformed)?;
            Err(wrong_form("the body must be an object: send an array of events as application/cloudevents-batch+json"))
        }
        Some("application/cloudevents-batch+json") => many(body, max_event_bytes),
        Some("application/cloudevents+json") => one(body, max_event_bytes).map(Envelope::from),
        _ if headers.keys().any(|name| name.as_str().starts_with("ce-")) => {
            if media_type.as_ref().is_some_and(|given| !given.is_json()) {
                return Err(unsupported(given.as_deref()));
            }
            let document = binary(headers, media_type, one(body, max_event_bytes)?)?;
            // The attributes count too, and they are in no body: this is the event as JSON.
            check_size(document.to_string().len(), max_event_bytes, "the event")?;
            Ok(Envelope { documents: Documents::One(document), binary: true })
        }
        Some("application/json") if is_array => many(body, max_event_bytes),
        Some("application/json") => one(body, max_event_bytes).map(Envelope::from),
        _ => Err(unsupported(given.as_deref())),
    }
}

impl<'a> From<Json<'a>> for Envelope<'a> {
    fn from(document: Json<'a>) -> Self {
        Self { documents: Documents::One(document), binary: false }
    }
}

impl<'a> From<Vec<Json<'a>>> for Envelope<'a> {
    fn from(documents: Vec<Json<'a>>) -> Self {
        Self { documents: Documents::Many(documents), binary: false }
    }
}

fn wrong_form(message: &str) -> Problem {
    Problem::new(ErrorCode::InvalidEvent, message).with_errors(vec![Mistake::new("", message)])
}

fn unsupported(given: Option<&str>) -> Problem {
    let given = given.map_or("but is missing".to_owned(), |given| format!("not {given:?}"));
    Problem::new(
        ErrorCode::UnsupportedMediaType,
        format!(
            "the Content-Type must be application/json, application/cloudevents+json or application/cloudevents-batch+json, \
             {given}"
        ),
    )
}

/// Says what is wrong with a body that is not JSON, and where.
fn malformed(error: JsonError) -> Problem {
    let detail = error.to_string();
    let message = format!("{} (line {}, column {})", error.message, error.line, error.column);
    Problem::new(ErrorCode::MalformedJson, detail).with_errors(vec![Mistake::new(error.pointer, message)])
}

fn one(body: &[u8], max: usize) -> Result<Json<'_>, Problem> {
    check_size(body.trim_ascii().len(), max, "the event")?;
    Json::parse_bytes(body).map_err(malformed)
}

fn many(body: &[u8], max: usize) -> Result<Envelope<'_>, Problem> {
    Json::parse_elements(body, MAX_EVENTS, max).map(Envelope::from).map_err(|error| match error {
        ElementsError::Malformed(error) => malformed(error),
        ElementsError::TooMany => {
            Problem::new(ErrorCode::PayloadTooLarge, format!("a request can have at most {MAX_EVENTS} events: send the rest in another request"))
        }
        ElementsError::TooLarge(index) => {
            let detail = format!(
                "the event at /{index} has more than {max} bytes (the setting max_event_bytes): store large data elsewhere, and publish a reference to it"
            );
            Problem::new(ErrorCode::PayloadTooLarge, detail)
        }
    })
}

fn check_size(len: usize, max: usize, what: impl Display) -> Result<(), Problem> {
    match len > max {
        true => Err(Problem::new(
            ErrorCode::PayloadTooLarge,
            format!(
                "{what} has {len} bytes, more than {max} (the setting max_event_bytes): store large data elsewhere, and publish a reference to it"
            ),
        )),
        false => Ok(()),
    }
}

/// Binary mode: attributes are `ce-` headers; the body is `data`.
fn binary<'a>(headers: &HeaderMap, media_type: Option<MediaType>, data: Json<'a>) -> Result<Json<'a>, Problem> {
    let mut event: Vec<(Cow<'a, str>, Json<'a>)> = Vec::new();
    for (name, value) in headers {
        let Some(attribute) = name.as_str().strip_prefix("ce-") else { continue };
        let value =
            ce_header::decode(value.as_bytes()).map_err(|reason| wrong_form(&format!("the header {name} {reason}")))?;
        if attribute == "data" {
            return Err(wrong_form("the header ce-data is not allowed: send the data in the body"));
        }
        if event.iter().any(|(known, _)| known == attribute) {
            return Err(wrong_form(&format!("the header {name} occurs twice: send it once")));
        }
        event.push((attribute.to_owned().into(), value.into()));
    }
    if let Some(media_type) = media_type
        && !event.iter().any(|(name, _)| name == "datacontenttype")
    {
        event.push(("datacontenttype".into(), media_type.to_string().into()));
    }
    event.push(("data".into(), data));
    Ok(Json::Object(event))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn code(pairs: &[(&'static str, &str)], body: &str) -> ErrorCode {
        read(&headers(pairs), body.as_bytes(), 30).unwrap_err().code
    }

    fn binary_of(document: Value) -> Envelope<'static> {
        Envelope { documents: Documents::One(document.into()), binary: true }
    }

    const TYPE: &str = "content-type";

    #[test]
    fn each_media_type_has_its_form() {
        fn read<'a>(media_type: &str, body: &'a str) -> Envelope<'a> {
            super::read(&headers(&[(TYPE, media_type)]), body.as_bytes(), 30).unwrap()
        }
        let one = || Json::from(json!({}));
        assert_eq!(read("application/json", " {}"), one().into());
        assert_eq!(read("application/json; charset=utf-8", " [{}]"), vec![one()].into());
        assert_eq!(read("Application/CloudEvents+JSON", "{}"), one().into());
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
    fn of_a_large_body_the_form_is_judged_first() {
        let batch = format!("[{}]", vec![json!({ "a": "0123456789" }).to_string(); 3].join(","));
        assert_eq!(code(&[(TYPE, "application/cloudevents+json")], &batch), ErrorCode::InvalidEvent);
        let large = json!({ "a": "0123456789012345678901234" }).to_string();
        assert_eq!(code(&[(TYPE, "application/cloudevents-batch+json")], &large), ErrorCode::InvalidEvent);
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
