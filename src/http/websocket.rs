//! `GET /v1/ws`: the opening handshake (RFC 6455, section 4.2), after which the socket is the connection's.
//!
//! The connection is taken over from hyper, so that nothing stands between the fan-out and the kernel.

use std::convert::Infallible;

use axum::Extension;
use axum::extract::{RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use tungstenite::handshake::derive_accept_key;

use super::App;
use super::request_id::{self, RequestId};
use super::takeover::{self, Takeover};
use crate::access::Caller;
use crate::bus::{Bus, StreamQuery, Subscription};
use crate::connection::Opening;
use crate::deflate;
use crate::protocol::{ErrorCode, Problem, SUBPROTOCOL};

/// Channels of a URL whose beginnings are looked up in the log at a time.
const CONCURRENT_LOOKUPS: usize = 8;

pub(super) async fn upgrade(
    State(app): State<App>,
    Extension(takeover): Extension<Takeover>,
    Extension(id): Extension<RequestId>,
    caller: Caller,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Infallible, Problem> {
    let permit = app.bus.admit(&caller)?;
    let accept = check(&request)?;
    let extensions = extensions(request.headers(), app.compression)?;
    let deflate = extensions.is_some();
    let (subscriptions, problems) = resolve(&app.bus, &caller, query.as_deref().unwrap_or_default()).await;
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if lists(request.headers(), header::SEC_WEBSOCKET_PROTOCOL, |offered| offered == SUBPROTOCOL) {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    }
    if let Some(extensions) = extensions {
        headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, extensions);
    }
    headers.insert(request_id::HEADER, id.0);
    let head = takeover::head(StatusCode::SWITCHING_PROTOCOLS, &headers);
    let connections = app.connections.clone();
    let serve = move |stream, early| -> BoxFuture<'static, ()> {
        let opening = Opening { caller, head, early, subscriptions, problems, deflate, permit };
        Box::pin(connections.serve(stream, Box::new(opening)))
    };
    match takeover.take(Box::new(serve)).await {}
}

/// Resolves the subscriptions of a URL, each under its channel's name. A browser cannot see the response to a handshake that
/// failed, so that problems are told in frames, and one channel's problem does not stop the others.
async fn resolve(bus: &Bus, caller: &Caller, query: &str) -> (Vec<Subscription>, Vec<(Option<String>, Problem)>) {
    let (mut subscriptions, mut problems) = (Vec::new(), Vec::new());
    let query = match StreamQuery::parse(query, &[]) {
        Ok((mut query, _)) => bus.unpack(caller, &mut query).await.map(|()| query),
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
    let resolved = selected.into_iter().map(async |(name, selected)| match selected {
        Ok(selected) => (name, bus.resolve(caller, selected).await),
        Err(problem) => (name, Err(problem)),
    });
    let mut resolved = std::pin::pin!(futures_util::stream::iter(resolved).buffered(CONCURRENT_LOOKUPS));
    while let Some((name, resolved)) = resolved.next().await {
        match resolved {
            Ok(subscription) => subscriptions.push(subscription),
            Err(problem) => problems.push((Some(name), problem)),
        }
    }
    (subscriptions, problems)
}

/// Checks the client's part of the handshake and answers its key (section 4.2.2).
fn check(request: &Request) -> Result<HeaderValue, Problem> {
    let headers = request.headers();
    let bad = |detail: &str| Err(Problem::new(ErrorCode::BadRequest, detail));
    let upgrade = Problem::new(
        ErrorCode::UpgradeRequired,
        "/v1/ws accepts only WebSocket handshakes (HTTP/1.1, Sec-WebSocket-Version: 13); if this was one, a proxy in between must pass on the headers Upgrade and Connection",
    );
    let names = |text: &str, name: &str| text.eq_ignore_ascii_case(name);
    if request.version() != Version::HTTP_11
        || !lists(headers, header::UPGRADE, |one| names(one, "websocket"))
        || !lists(headers, header::CONNECTION, |one| names(one, "upgrade"))
    {
        return Err(upgrade);
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(upgrade);
    }
    if headers.get_all(header::HOST).iter().count() != 1 {
        return bad("a WebSocket handshake must have exactly one header Host");
    }
    let mut keys = headers.get_all(header::SEC_WEBSOCKET_KEY).iter();
    let (Some(key), None) = (keys.next(), keys.next()) else {
        return bad("a WebSocket handshake must have exactly one header Sec-WebSocket-Key");
    };
    if !is_key(key.as_bytes()) {
        return bad("the header Sec-WebSocket-Key must be 16 bytes in base64");
    }
    HeaderValue::try_from(derive_accept_key(key.as_bytes())).or_else(|_| bad("Sec-WebSocket-Key is not usable"))
}

/// The answer to the extensions that the client offers, where one is agreed. The header must be well-formed in any case
/// (section 9.1).
fn extensions(headers: &HeaderMap, compression: bool) -> Result<Option<HeaderValue>, Problem> {
    let malformed = || {
        Problem::new(
            ErrorCode::BadRequest,
            "the header Sec-WebSocket-Extensions does not have the form of RFC 6455, section 9.1",
        )
    };
    let offers = headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS).iter().map(HeaderValue::as_bytes);
    let agreed = deflate::agree(offers).map_err(|deflate::Malformed| malformed())?;
    agreed.filter(|_| compression).map(HeaderValue::try_from).transpose().map_err(|_| malformed())
}

/// Whether this is 16 bytes in base64: 22 characters, the last of which carries 2 bits, and two of padding.
fn is_key(key: &[u8]) -> bool {
    let Some((text, last)) = key.strip_suffix(b"==").and_then(|text| text.split_last_chunk::<1>()) else {
        return false;
    };
    let good = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    text.len() == 21 && text.iter().all(good) && b"AQgw".contains(&last[0])
}

/// Whether a header that is a list has an element like this, in any of its lines.
fn lists(headers: &HeaderMap, name: header::HeaderName, like: impl Fn(&str) -> bool) -> bool {
    let lines = headers.get_all(name);
    lines.iter().filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(',')).any(|one| like(one.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_sixteen_bytes_in_base64() {
        assert!(is_key(b"dGhlIHNhbXBsZSBub25jZQ=="));
        for bad in [
            "",
            "==",
            "dGhlIHNhbXBsZSBub25jZQ",
            "dGhlIHNhbXBsZSBub25jZR==",
            "dGhlIHNhbXBsZSBub25j",
            "!!hlIHNhbXBsZSBub25jZQ==",
        ] {
            assert!(!is_key(bad.as_bytes()), "{bad}");
        }
    }
}
