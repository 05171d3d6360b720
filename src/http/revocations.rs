//! `POST /v1/revocations`: takes a credential back, on all nodes.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;

use super::App;
use crate::access::{AdminRight, Caller};
use crate::bus::Revocation;
use crate::event::Json;
use crate::protocol::{ErrorCode, Problem};

/// Exactly one of `jti`, `sub` and `key`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Body {
    jti: Option<String>,
    sub: Option<String>,
    /// Tokens that were issued before this are revoked, in seconds since 1970. Now, if it is absent.
    issued_before: Option<i64>,
    key: Option<String>,
}

pub(super) async fn revoke(State(app): State<App>, caller: Caller, body: Bytes) -> Result<StatusCode, Problem> {
    app.bus.require(&caller, AdminRight::Revoke)?;
    app.bus.revoke(&caller, read(&body)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn read(body: &[u8]) -> Result<Revocation, Problem> {
    let malformed = |error: &dyn std::fmt::Display| Problem::new(ErrorCode::MalformedJson, error.to_string());
    let invalid = |detail: String| Problem::new(ErrorCode::BadRequest, detail);
    // The strict reader, so that no member occurs twice.
    let json = Json::parse_bytes(body).map_err(|error| malformed(&error))?;
    let Body { jti, sub, issued_before, key } = serde_json::from_value(json.to_value())
        .map_err(|error| invalid(format!("{error}: send one of jti, sub, key")))?;
    match (jti, sub, key, issued_before) {
        (Some(jti), None, None, None) => Ok(Revocation::Jti(jti)),
        (None, None, Some(key), None) => Ok(Revocation::Key(key)),
        (None, Some(sub), None, before) => {
            Ok(Revocation::Sub(sub, before.map_or_else(|| jiff::Timestamp::now().as_second(), |before| before - 1)))
        }
        (_, None, _, Some(_)) => Err(invalid("`issuedBefore` is for a `sub`: leave it out".into())),
        _ => Err(invalid("send exactly one of `jti`, `sub` and `key`".into())),
    }
}
