//! `GET /v1/ws` where hyper reads the handshake, and the subscriptions of its URL.
//!
//! The connection is taken over from hyper, so that nothing stands between the fan-out and the kernel. `direct.rs` reads
//! most handshakes without hyper.

use std::convert::Infallible;

use axum::Extension;
use axum::extract::{RawQuery, Request, State};
use axum::http::Version;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;

use super::App;
use super::handshake::{Agreed, Handshake};
use super::request_id::RequestId;
use super::takeover::Takeover;
use crate::access::Caller;
use crate::bus::{Bus, StreamQuery, Subscription};
use crate::connection::Opening;
use crate::protocol::{ErrorCode, Problem};

/// Channels of a URL whose beginnings are looked up in the log at a time.
const CONCURRENT_LOOKUPS: usize = 8;

pub(super) async fn upgrade(
    State(app): State<App>,
    Extension(takeover): Extension<Takeover>,
    Extension(id): Extension<RequestId>,
    caller: Caller,
    RawQuery(text): RawQuery,
    request: Request,
) -> Result<Infallible, Problem> {
    let permit = app.bus.admit(&caller)?;
    let lines = request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let http_11 = request.version() == Version::HTTP_11;
    let Agreed { head, deflate } = Handshake::read(lines).agree(http_11, app.compression, id.0.as_bytes())?;
    let (subscriptions, problems) = resolve(&app.bus, &caller, query(text.as_deref().unwrap_or_default())).await;
    let connections = app.connections.clone();
    let serve = move |stream, early: Bytes| -> BoxFuture<'static, ()> {
        // Copied, because it is a part of the buffer that the handshake was read into.
        let early = early.to_vec();
        let opening = Opening { caller, head, early, subscriptions, problems, deflate, permit };
        Box::pin(connections.serve(stream, Box::new(opening)))
    };
    match takeover.take(Box::new(serve)).await {}
}

/// Reads the query of a handshake's URL.
pub(super) fn query(text: &str) -> Result<StreamQuery, Problem> {
    StreamQuery::parse(text, &[]).map(|(query, _)| query)
}

/// Resolves the subscriptions of a URL, each under its channel's name. A browser cannot see the response to a handshake that
/// failed, so that problems are told in frames, and one channel's problem does not stop the others.
pub(super) async fn resolve(
    bus: &Bus,
    caller: &Caller,
    query: Result<StreamQuery, Problem>,
) -> (Vec<Subscription>, Vec<(Option<String>, Problem)>) {
    let (mut subscriptions, mut problems) = (Vec::new(), Vec::new());
    let query = match query {
        Ok(mut query) => bus.unpack(caller, &mut query).await.map(|()| query),
        Err(problem) => Err(problem),
    };
    let selected = query.and_then(|query| match query.channels.is_empty() {
        false => bus.select_each(caller, &query),
        true if query.filter.is_none() && query.since.is_none() => Ok(Vec::new()),
        true => Err(Problem::new(
            ErrorCode::InvalidFrame,
            "`where` and `since` need a `channel` beside them, as in /v1/ws?channel=order-status&since=10m",
        )),
    });
    let selected = selected.unwrap_or_else(|mut problem| {
        if problem.code == ErrorCode::BadRequest {
            // The same mistake in a frame has this code.
            problem.code = ErrorCode::InvalidFrame;
        }
        problems.push((None, problem));
        Vec::new()
    });
    let mut keep = |name, resolved| match resolved {
        Ok(subscription) => subscriptions.push(subscription),
        Err(problem) => problems.push((Some(name), problem)),
    };
    let several = selected.len() > 1;
    let resolved = selected.into_iter().map(async |(name, selected)| match selected {
        Ok(selected) => (name, bus.resolve(caller, selected).await),
        Err(problem) => (name, Err(problem)),
    });
    if several {
        let mut resolved = std::pin::pin!(futures_util::stream::iter(resolved).buffered(CONCURRENT_LOOKUPS));
        while let Some((name, resolved)) = resolved.next().await {
            keep(name, resolved);
        }
    } else {
        for resolved in resolved {
            let (name, resolved) = resolved.await;
            keep(name, resolved);
        }
    }
    (subscriptions, problems)
}
