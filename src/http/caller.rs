//! Finds out who sent a request. Only this file of `http/` makes a [`Caller`].

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use super::App;
use crate::access::Caller;
use crate::bus::Bus;
use crate::protocol::Problem;

/// The query parameters in which some clients send a credential, which the daemon refuses.
const IN_QUERY: [&str; 2] = ["token", "access_token"];

/// The caller, or the refusal of its credential, for a route that answers both.
pub(super) struct Presented(pub Result<Caller, Problem>);

/// The credential of a request.
pub(super) enum Credential<'a> {
    None,
    Bearer(&'a str),
    /// The `Authorization` header has another scheme, occurs several times, or is not text.
    Malformed,
    /// The URL has it, in this parameter.
    InQuery(&'a str),
}

impl<'a> Credential<'a> {
    /// The credential in these `Authorization` headers and this query.
    pub fn of(mut headers: impl Iterator<Item = &'a [u8]>, query: &'a str) -> Self {
        let parameters = query.split('&').map(|pair| pair.split_once('=').map_or(pair, |(name, _)| name));
        if let Some(name) = parameters.into_iter().find(|name| IN_QUERY.contains(name)) {
            return Self::InQuery(name);
        }
        match (headers.next(), headers.next()) {
            (None, _) => Self::None,
            (Some(header), None) => bearer(header).map_or(Self::Malformed, Self::Bearer),
            (Some(_), Some(_)) => Self::Malformed,
        }
    }

    /// The caller who presents it. `None` if it presents nothing, and there are no rights without a credential.
    ///
    /// # Errors
    /// `unauthenticated`, `broker-unavailable`.
    pub async fn caller(self, bus: &Bus) -> Result<Option<Caller>, Problem> {
        if !bus.has_auth() {
            return Ok(bus.without_credential());
        }
        match self {
            Self::None => Ok(bus.without_credential()),
            Self::Bearer(credential) => bus.authenticate(credential).await.map(Some),
            // An empty credential is never valid, so the refusal is that of every bad one.
            Self::Malformed => bus.authenticate("").await.map(Some),
            Self::InQuery(parameter) => Err(bus.credential_in_query(parameter)),
        }
    }
}

/// The credential of `Authorization: Bearer …` (RFC 6750, section 2.1; RFC 9110, section 11.4).
fn bearer(header: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(header).ok()?.trim();
    let (scheme, credential) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| credential.trim_start())
}

/// The credential of a request that hyper has read.
fn presented(parts: &Parts) -> Credential<'_> {
    let headers = parts.headers.get_all(AUTHORIZATION).iter().map(axum::http::HeaderValue::as_bytes);
    Credential::of(headers, parts.uri.query().unwrap_or_default())
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        presented(parts).caller(&app.bus).await?.ok_or_else(|| app.bus.credential_needed())
    }
}

/// The caller of a WebSocket. `None`: the client sends its credential in its first frame.
pub(super) struct Early(pub Option<Caller>);

impl FromRequestParts<App> for Early {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        presented(parts).caller(&app.bus).await.map(Self)
    }
}

impl FromRequestParts<App> for Presented {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        Ok(Self(Caller::from_request_parts(parts, app).await))
    }
}
