//! `POST /v1/revocations`: takes a credential back, on all nodes.

use axum::body::Body as RequestBody;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Number, Value, json};

use super::App;
use super::events::read_body;
use crate::access::{AdminRight, Caller};
use crate::bus::{MAX_REVOKED_NAME, Revocation};
use crate::event::Json;
use crate::protocol::{ErrorCode, Problem};

/// The longest body, in bytes.
const MAX_BODY: usize = 16 << 10;
/// The end of the year 9999 in seconds since 1970. A client that sends milliseconds is told so.
const MAX_TIME: i64 = 253_402_300_799;

/// Exactly one of `jti`, `sub` and `key`.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Revocation", transform = exactly_one)]
pub(super) struct Body {
    /// The token with this `jti`.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "String", length(min = 1, max = MAX_REVOKED_NAME))]
    jti: Option<String>,
    /// The tokens of this `sub`.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "String", length(min = 1, max = MAX_REVOKED_NAME))]
    sub: Option<String>,
    /// Tokens that were issued before this are revoked, in seconds since 1970. Now, if it is absent.
    #[serde(default, deserialize_with = "whole")]
    #[schemars(with = "i64", range(min = 0, max = MAX_TIME))]
    issued_before: Option<i64>,
    /// The API key with this id.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "String", length(min = 1, max = MAX_REVOKED_NAME))]
    key: Option<String>,
}

/// Reads `null` as a wrong value, and not as an absent one.
pub(super) fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Reads a whole number, which may be written as `5.0` (JSON Schema, section 4.2.3).
fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let number = Number::deserialize(deserializer)?;
    // What a double does not hold exactly is far out of range.
    let whole = number.as_f64().filter(|double| double.fract() == 0.0).map(|double| double as i64);
    number.as_i64().or(whole).map(Some).ok_or_else(|| de::Error::custom("`issuedBefore` must be a whole number"))
}

/// A schemars transform: what serde does not say.
fn exactly_one(schema: &mut schemars::Schema) {
    // An absent member is not `null`.
    for property in schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
        property.as_object_mut().and_then(|property| property.remove("default"));
    }
    let one = |name: &str| json!({ "required": [name] });
    schema.insert("oneOf".into(), ["jti", "sub", "key"].map(one).to_vec().into());
    schema.insert("dependentRequired".into(), json!({ "issuedBefore": ["sub"] }));
}

pub(super) async fn revoke(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: RequestBody,
) -> Result<StatusCode, Problem> {
    app.bus.require(&caller, AdminRight::Revoke)?;
    let body = read_body(&headers, body, MAX_BODY, ": revoke one credential at a time").await?;
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
            if before.is_some_and(|before| !(0..=MAX_TIME).contains(&before)) {
                return Err(invalid(format!("`issuedBefore` must be seconds since 1970, from 0 to {MAX_TIME}")));
            }
            Ok(Revocation::Sub(sub, before.map_or_else(|| jiff::Timestamp::now().as_second(), |before| before - 1)))
        }
        (_, None, _, Some(_)) => Err(invalid("`issuedBefore` is for a `sub`: leave it out".into())),
        _ => Err(invalid("send exactly one of `jti`, `sub` and `key`".into())),
    }
}
