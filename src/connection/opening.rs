//! How a WebSocket begins: what its handshake leaves to it, and the credential in its first frame if the handshake had none.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::Connections;
use super::inbound::{Inbound, Message};
use crate::access::{CallOrigin, Caller};
use crate::admission::AdmissionPermit;
use crate::bus::{Bus, StreamQuery, Subscription, UnreadableQuery};
use crate::hub::frame;
use crate::protocol::{self, ClientFrame, CloseCode, ErrorCode, Problem};
use crate::transport::Transport;

/// Connections that may wait for the client's credential at a time.
pub const MAX_UNAUTHENTICATED: usize = 10_000;
/// How long one waits.
const CREDENTIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest first frame, in bytes. It is never inflated.
const MAX_CREDENTIAL_FRAME: usize = 16 * 1024;
/// How long the peer of a refused connection may take to read why.
const REFUSED_TIMEOUT: Duration = Duration::from_secs(1);
/// Channels of a URL whose beginnings are looked up in the log at a time.
const CONCURRENT_LOOKUPS: usize = 8;

/// What the handshake leaves to the connection.
#[derive(Debug)]
pub struct Opening {
    /// The head of the response to the handshake.
    pub head: Vec<u8>,
    /// Bytes that the client sent right after its handshake.
    pub early: Vec<u8>,
    /// permessage-deflate was agreed on.
    pub deflate: bool,
    pub client: Client,
    /// Where the handshake came from.
    pub origin: CallOrigin,
    /// The client's address, which a proxy may have named.
    pub address: IpAddr,
}

/// What the URL of a handshake asks for.
pub type OpeningQuery = Result<StreamQuery, Box<UnreadableQuery>>;

/// Who opens a connection.
#[derive(Debug)]
pub enum Client {
    Known(Admitted),
    /// The client presents its credential in its first frame. What its URL asked for waits for that.
    Unknown {
        permit: OwnedSemaphorePermit,
        query: OpeningQuery,
    },
}

/// A client that may connect.
#[derive(Debug)]
pub struct Admitted {
    pub caller: Caller,
    /// The connection is pending until it was greeted.
    pub permit: AdmissionPermit,
    /// The subscriptions that the URL asked for.
    pub subscriptions: Vec<Subscription>,
    /// What was wrong with the URL's query, each with the `sub` that it is about, if it is about one.
    pub problems: Vec<(Option<String>, Problem)>,
}

/// Why a connection ends before it was greeted.
struct Refused(CloseCode, String);

impl Admitted {
    /// Resolves the subscriptions of a URL, each under its channel's name. A browser cannot see the response to a handshake
    /// that failed, so that problems are told in frames, and one channel's problem does not stop the others.
    pub async fn resolve(bus: &Bus, caller: Caller, permit: AdmissionPermit, query: OpeningQuery) -> Self {
        let (subscriptions, problems) = resolve(bus, &caller, query).await;
        Self { caller, permit, subscriptions, problems }
    }
}

impl Connections {
    /// Waits for the credential of a client that has sent none, and then opens what its URL asked for. The bytes that follow
    /// the first frame stay in `inbound`. `None` if the connection has ended.
    pub(super) async fn identified(
        &self,
        stream: &mut Transport,
        head: &[u8],
        early: &mut Vec<u8>,
        inbound: &mut Inbound,
        query: OpeningQuery,
        origin: CallOrigin,
    ) -> Option<Admitted> {
        // Nothing but the response to the handshake before the client is known.
        stream.write_all(head).await.ok()?;
        let first = first_frame(stream, early, inbound);
        let identified = match timeout(CREDENTIAL_TIMEOUT, first).await {
            Ok(Some(Ok(token))) => self.admit(&token, query, origin).await,
            Ok(Some(Err(refused))) => Err(refused),
            Ok(None) => return None,
            Err(_) => Err(Refused(CloseCode::Unauthenticated, "no credential came in time".into())),
        };
        match identified {
            Ok(admitted) => Some(admitted),
            Err(Refused(code, reason)) => {
                self.metrics.refused(ErrorCode::Unauthenticated.as_str());
                // The peer reads why, and is not waited for.
                let _ = timeout(REFUSED_TIMEOUT, end(stream, frame::close(code, &reason))).await;
                None
            }
        }
    }

    async fn admit(&self, token: &str, query: OpeningQuery, origin: CallOrigin) -> Result<Admitted, Refused> {
        let refused = |problem: Problem| {
            let code = match problem.code {
                ErrorCode::Unauthenticated => CloseCode::Unauthenticated,
                ErrorCode::Draining => CloseCode::Draining,
                _ => CloseCode::BrokerUnavailable,
            };
            Refused(code, problem.detail)
        };
        let caller = self.bus.authenticate(token, origin).await.map_err(refused)?;
        let permit = self.bus.admit(&caller).map_err(refused)?;
        Ok(Admitted::resolve(&self.bus, caller, permit, query).await)
    }
}

/// Reads the first frame; returns its token. `None` if the peer has gone.
async fn first_frame(
    stream: &mut Transport,
    early: &mut Vec<u8>,
    inbound: &mut Inbound,
) -> Option<Result<Arc<str>, Refused>> {
    let refused = |reason: &str| Some(Err(Refused(CloseCode::Unauthenticated, reason.into())));
    let mut bytes = std::mem::take(early);
    loop {
        let (mut text, mut closed) = (None, false);
        let read = inbound.read(&mut bytes, |message| {
            match message {
                Message::Text(first) => text = Some(first),
                Message::Close(_) => closed = true,
                Message::Ping(_) | Message::Pong(_) => return true,
            }
            false
        });
        match (read, text, closed) {
            (Err(_), ..) => {
                return refused("the first frame must be an `auth` frame of at most 16 KiB, not compressed");
            }
            (_, _, true) => return None,
            (Ok(()), Some(text), _) => {
                return match protocol::read_client_frame(&text) {
                    Ok(ClientFrame::Auth(auth)) => Some(Ok(auth.token.expose().into())),
                    _ => refused("the first frame must be an `auth` frame with a valid credential"),
                };
            }
            (Ok(()), None, false) => {}
        }
        bytes = vec![0; 2048];
        match stream.read(&mut bytes).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => bytes.truncate(read),
        }
    }
}

/// Sends a Close and ends the connection. A reset must not overtake the Close, so what the peer still sends is read.
async fn end(stream: &mut Transport, close: Bytes) -> std::io::Result<()> {
    stream.write_all(&close).await?;
    stream.shutdown().await?;
    let mut rest = [0; 256];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

impl Inbound {
    /// The decoder of a connection whose client is not known yet.
    pub(super) fn of_stranger() -> Self {
        Self::new(MAX_CREDENTIAL_FRAME, false)
    }
}

type Resolved = (Vec<Subscription>, Vec<(Option<String>, Problem)>);

async fn resolve(bus: &Bus, caller: &Caller, query: OpeningQuery) -> Resolved {
    let (mut subscriptions, mut problems) = (Vec::new(), Vec::new());
    let (channels, selected) = match query {
        Ok(mut query) => {
            let selected = match bus.unpack(caller, &mut query).await {
                Ok(()) if !query.channels.is_empty() => bus.select_each(caller, &query),
                Ok(()) if query.filter.is_none() && query.since.is_none() => Ok(Vec::new()),
                Ok(()) => Err(Problem::new(
                    ErrorCode::InvalidFrame,
                    "`where` and `since` need a `channel` beside them, as in /v1/ws?channel=order-status&since=10m",
                )),
                Err(problem) => Err(problem),
            };
            (query.channels, selected)
        }
        Err(unreadable) => (unreadable.channels, Err(unreadable.problem)),
    };
    let selected = selected.unwrap_or_else(|mut problem| {
        // A mistake in the query is told inside a grant only.
        let named = channels.len();
        let denied = |name: String| bus.may_subscribe(caller, [&name]).err().map(|denied| (Some(name), denied));
        problems.extend(channels.into_iter().filter_map(denied));
        if named > 0 && problems.len() == named {
            return Vec::new();
        }
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
