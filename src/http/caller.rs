//! Who sent a request: the one place where HTTP makes a [`Caller`].

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::App;
use crate::access::Caller;

impl FromRequestParts<App> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(_parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        Ok(identify(app))
    }
}

/// The caller of a request.
pub(super) fn identify(app: &App) -> Caller {
    Caller::unrestricted(app.namespace)
}
