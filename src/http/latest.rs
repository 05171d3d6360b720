//! `GET /v1/latest/{type}/{subject}` and `/v1/latest/{type}`: the newest event of a subject, and of several.
//!
//! An answer that does not wait may be cached for two seconds, which is how old it may be anyway (RFC 9111, section 5.2.2.1;
//! RFC 5861, section 3).

use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use percent_encoding::percent_decode_str;

use super::App;
use super::edge::{self, ClientAddress};
use super::history::{LIMIT, MAX_WAIT, at_least_one, events_body, number};
use super::takeover::Takeover;
use crate::access::Caller;
use crate::bus::{LatestAnswer, LatestList, LatestQuery, StreamQuery, parameters};
use crate::event::Position;
use crate::protocol::{ErrorCode, Problem};
use crate::suggest;

/// For everybody, and for one client where answers depend on the credential.
const SHARED: HeaderValue = HeaderValue::from_static("max-age=2, stale-while-revalidate=10");
const PRIVATE: HeaderValue = HeaderValue::from_static("private, max-age=2, stale-while-revalidate=10");

pub(super) async fn one(
    State(app): State<App>,
    (Extension(ClientAddress(address)), Extension(takeover)): (Extension<ClientAddress>, Extension<Takeover>),
    caller: Caller,
    path: Result<Path<(String, String)>, PathRejection>,
    uri: Uri,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    app.bus.may_subscribe(&caller, [])?;
    let Ok(Path((name, subject))) = path else {
        let (name, subject) = not_utf_8(&uri);
        app.bus.may_subscribe(&caller, [&name])?;
        app.bus.keeps_latest(&caller, &name)?;
        let detail = format!(
            "the subject {} is not UTF-8 after percent-decoding: percent-encode its text as UTF-8",
            suggest::quoted(subject)
        );
        return Err(Problem::new(ErrorCode::BadRequest, detail));
    };
    app.bus.may_subscribe(&caller, [&name])?;
    let query = query.unwrap_or_default();
    let mut wait = Duration::ZERO;
    for (_, value) in parameters(&query, &["wait"])? {
        wait = Duration::from_secs(number("wait", &value, MAX_WAIT)?);
    }
    let (known, knows_any) = known(&headers);
    let answer = app.bus.latest(&caller, &name, &subject, LatestQuery { known, knows_any, wait, address }).await?;
    let (position, mut response) = match &answer {
        LatestAnswer::Unchanged(position) => (position, StatusCode::NOT_MODIFIED.into_response()),
        LatestAnswer::Event(event) => {
            (&event.position, json(events_body(&app, &takeover, &caller, [b"{", &event.entry[..]].concat())))
        }
    };
    let headers = response.headers_mut();
    let tag = HeaderValue::try_from(format!("\"{position}\""));
    headers.extend(tag.ok().map(|tag| (header::ETAG, tag)));
    if wait.is_zero() {
        headers.insert(header::CACHE_CONTROL, if app.bus.has_auth() { PRIVATE } else { SHARED });
    } else {
        // A cache would answer the next long-poll at once.
        edge::hurry(headers);
    }
    Ok(response)
}

pub(super) async fn list(
    State(app): State<App>,
    Extension(takeover): Extension<Takeover>,
    caller: Caller,
    name: Result<Path<String>, PathRejection>,
    uri: Uri,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    app.bus.may_subscribe(&caller, [])?;
    let name = name.map_or_else(|_| not_utf_8(&uri).0, |Path(name)| name);
    app.bus.may_subscribe(&caller, [&name])?;
    let query = query.unwrap_or_default();
    let (mut filter, mut cursor, mut limit) = (None, None, LIMIT);
    for (parameter, value) in parameters(&query, &["where", "limit", "cursor"])? {
        match &*parameter {
            "where" => filter = Some(StreamQuery::filter(&value)?),
            "limit" => limit = at_least_one(&value)?,
            _ => cursor = Some(position(&value)?),
        }
    }
    let list = app.bus.latest_list(&caller, &name, filter.as_ref(), cursor, limit as usize).await?;
    Ok(json(events_body(&app, &takeover, &caller, body(&list))))
}

/// The type and the subject of a path of which one is not UTF-8. The type is decoded, with U+FFFD where it is not UTF-8: no type
/// has such a name.
fn not_utf_8(uri: &Uri) -> (String, &str) {
    let names = uri.path().strip_prefix("/v1/latest/").unwrap_or_default();
    let (name, subject) = names.split_once('/').unwrap_or((names, ""));
    (percent_decode_str(name).decode_utf8_lossy().into_owned(), subject)
}

/// The positions in `If-None-Match` (RFC 9110, section 13.1.2), and whether it is `*`. Weak tags count as strong ones; what is
/// no tag of ours matches nothing.
fn known(headers: &HeaderMap) -> (Vec<Position>, bool) {
    let fields = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|field| field.to_str().ok());
    let tags: Vec<_> = fields.flat_map(|field| field.split(',')).map(str::trim).collect();
    let position = |tag: &&str| tag.trim_start_matches("W/").strip_prefix('"')?.strip_suffix('"')?.parse().ok();
    (tags.iter().filter_map(position).collect(), tags.contains(&"*"))
}

fn position(text: &str) -> Result<Position, Problem> {
    text.parse().map_err(|_| {
        let detail = format!("`cursor`: {} is none: send one as it was received", suggest::quoted(text));
        Problem::new(ErrorCode::InvalidPosition, detail)
    })
}

fn json(body: Body) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}

/// The list as JSON. The events are copied as they are.
fn body(LatestList { events, cursor, more, gaps }: &LatestList) -> Vec<u8> {
    // Strings and numbers: serialization cannot fail.
    let gaps = if gaps.is_empty() { "false".to_owned() } else { serde_json::to_string(gaps).unwrap_or_default() };
    let mut body = br#"{"events":["#.to_vec();
    for (number, entry) in events.iter().enumerate() {
        body.extend_from_slice(if number == 0 { b"{" } else { b",{" });
        body.extend_from_slice(entry);
    }
    body.extend_from_slice(format!(r#"],"cursor":"{cursor}","more":{more},"gap":{gaps}}}"#).as_bytes());
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_however_they_are_written() {
        let read = |fields: &[&str]| {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(header::IF_NONE_MATCH, field.parse().unwrap());
            }
            let (positions, any) = known(&headers);
            (positions.iter().map(ToString::to_string).collect::<Vec<_>>(), any)
        };
        assert_eq!(read(&[r#""k3:42""#]), (vec!["k3:42".into()], false));
        assert_eq!(
            read(&[r#"W/"k3:42" , "a:1""#, r#""b:2""#]),
            (vec!["k3:42".into(), "a:1".into(), "b:2".into()], false)
        );
        assert_eq!(read(&["*"]), (vec![], true));
        assert_eq!(read(&["k3:42", r#""xyz""#, r#""k3:42"#, ""]), (vec![], false));
    }
}
