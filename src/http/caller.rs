//! Finds out who sent a request. Only this file of `http/` makes a [`Caller`].

use std::convert::Infallible;
use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use super::App;
use super::edge::ClientAddress;
use super::request_id::RequestId;
use crate::access::{CallOrigin, Caller};
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

    /// The caller who presents it, with this origin. `None` if it presents nothing, and there are no rights without a
    /// credential.
    ///
    /// # Errors
    /// `unauthenticated`, `broker-unavailable`.
    pub async fn caller(self, bus: &Bus, origin: CallOrigin) -> Result<Option<Caller>, Problem> {
        let without = |origin| bus.without_credential().map(|caller| caller.from(origin));
        if !bus.has_auth() {
            return Ok(without(origin));
        }
        match self {
            Self::None => Ok(without(origin)),
            Self::Bearer(credential) => bus.authenticate(credential, origin).await.map(Some),
            // An empty credential is never valid, so the refusal is that of every bad one.
            Self::Malformed => bus.authenticate("", origin).await.map(Some),
            Self::InQuery(parameter) => Err(bus.credential_in_query(parameter, &origin)),
        }
    }
}

/// The credential of `Authorization: Bearer …` (RFC 6750, section 2.1; RFC 9110, section 11.4).
fn bearer(header: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(header).ok()?.trim();
    let (scheme, credential) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| credential.trim_start())
}

/// Where a request that hyper has read comes from.
pub(super) fn origin(parts: &Parts, bus: &Bus) -> CallOrigin {
    let address = parts.extensions.get().map_or(IpAddr::from([0; 4]), |ClientAddress(address)| *address);
    bus.origin(address, || parts.extensions.get().map_or(&[][..], |RequestId(id)| id.as_bytes()))
}

/// The credential of a request that hyper has read.
fn presented(parts: &Parts) -> Credential<'_> {
    let headers = parts.headers.get_all(AUTHORIZATION).iter().map(axum::http::HeaderValue::as_bytes);
    Credential::of(headers, parts.uri.query().unwrap_or_default())
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let origin = origin(parts, &app.bus);
        let caller = presented(parts).caller(&app.bus, origin.clone()).await?;
        caller.ok_or_else(|| app.bus.credential_needed(&origin))
    }
}

/// The caller of a WebSocket and where it comes from. `None`: the client sends its credential in its first frame.
pub(super) struct Early(pub Option<Caller>, pub CallOrigin);

impl FromRequestParts<App> for Early {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let origin = origin(parts, &app.bus);
        let caller = presented(parts).caller(&app.bus, origin.clone()).await?;
        Ok(Self(caller, origin))
    }
}

impl FromRequestParts<App> for Presented {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        // Without its origin, so that the audit has no refusal: the route answers all the same.
        let caller = presented(parts).caller(&app.bus, None).await;
        Ok(Self(caller.and_then(|caller| caller.ok_or_else(|| app.bus.credential_needed(&None)))))
    }
}
