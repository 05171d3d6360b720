//! `GET /v1/ws` where hyper reads the handshake.
//!
//! The connection is taken over from hyper, so that nothing stands between the fan-out and the kernel. `direct.rs` reads
//! most handshakes without hyper.

use std::convert::Infallible;

use axum::Extension;
use axum::extract::{RawQuery, Request, State};
use axum::http::Version;
use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::App;
use super::caller::Early;
use super::edge::ClientAddress;
use super::handshake::{Agreed, Handshake};
use super::request_id::RequestId;
use super::takeover::Takeover;
use crate::bus::{StreamQuery, UnreadableQuery};
use crate::connection::{Admitted, Client, Opening, OpeningQuery};
use crate::protocol::{ErrorCode, Problem};

pub(super) async fn upgrade(
    State(app): State<App>,
    Extension(takeover): Extension<Takeover>,
    Extension(id): Extension<RequestId>,
    Extension(ClientAddress(address)): Extension<ClientAddress>,
    Early(caller, origin): Early,
    RawQuery(text): RawQuery,
    request: Request,
) -> Result<Infallible, Problem> {
    let lines = request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let handshake = Handshake::read(lines);
    let http_11 = request.version() == Version::HTTP_11;
    let query = query(text.as_deref().unwrap_or_default());
    let (Agreed { head, deflate }, client) = match caller {
        None => {
            let agreed = handshake.agree(http_11, app.compression, id.0.as_bytes())?;
            (agreed, unknown(&app, query)?)
        }
        Some(caller) => {
            let permit = app.bus.admit(&caller)?;
            let agreed = handshake.agree(http_11, app.compression, id.0.as_bytes())?;
            (agreed, Client::Known(Admitted::resolve(&app.bus, caller, permit, query).await))
        }
    };
    let connections = app.connections.clone();
    let serve = move |stream, early: Bytes| -> BoxFuture<'static, ()> {
        // Copied, because it is a part of the buffer that the handshake was read into.
        let early = early.to_vec();
        Box::pin(connections.serve(stream, Box::new(Opening { head, early, deflate, client, origin, address })))
    };
    match takeover.take(Box::new(serve)).await {}
}

/// A client that presents its credential in its first frame.
///
/// # Errors
/// `overloaded`: too many of them are connecting.
pub(super) fn unknown(app: &App, query: OpeningQuery) -> Result<Client, Problem> {
    let permit = app.connections.unauthenticated.clone().try_acquire_owned().map_err(|_| {
        let detail = "too many clients are connecting at once: try again after the time in the header Retry-After";
        Problem::new(ErrorCode::Overloaded, detail)
    })?;
    Ok(Client::Unknown { permit, query })
}

/// Reads the query of a handshake's URL.
pub(super) fn query(text: &str) -> OpeningQuery {
    let unreadable = |problem| Box::new(UnreadableQuery { channels: StreamQuery::named(text), problem });
    StreamQuery::parse(text, &[]).map(|(query, _)| query).map_err(unreadable)
}
