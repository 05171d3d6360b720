//! Accepts connections and serves their requests: a plain WebSocket handshake directly, everything else with hyper.
//!
//! With TLS, the handshake takes place within the first read, in the connection's own task. The first bytes of a
//! connection decide. If they are a plain WebSocket handshake, its task becomes the connection's task. All
//! others go to hyper, which reads the same bytes again and may serve many requests, until a handler takes the
//! connection over.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::certificates::CurrentTls;
use super::file_limit::Reserve;
use super::replayed::Replayed;
use super::substituted::Substituted;
use super::write_limit::WriteLimit;
use crate::connection::Opening;
use crate::http::edge::{MAX_HEAD_BYTES, Peer};
use crate::http::takeover::{Taken, Takeover};
use crate::http::{self, App, Routes, Side, direct};
use crate::occupancy::{AddressPermit, ConnectionPermit, Full, Occupancy, RefusedPermit};
use crate::protocol::{ErrorCode, Problem};
use crate::supervision::{Member, TaskGroup};
use crate::transport::{PlainHttp, Transport};

/// How long a connection is kept for its next request. Longer than clients keep theirs: otherwise a client would send one
/// into a connection that is just being closed.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// For how long a client may take nothing of a response. Its connection ends then, because the response is held in memory.
const WRITE_LIMIT: Duration = Duration::from_secs(30);

/// The most bytes that are read before it is decided who serves a connection. A longer handshake is hyper's.
const MAX_FIRST_READ: usize = 8 * 1024;

/// How long a client that is refused may take to send the head of its request, and to end the connection then.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);

/// The most bytes of a head that is too large that are read and dropped after the answer. If the connection were closed
/// while the client still sends, it would be reset, and the client would never see the answer.
const MAX_DISCARDED: usize = 1024 * 1024;

/// Between two warnings that no file is left.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(10);

/// Accepts connections of one address and serves their requests.
pub struct Acceptor {
    http: http1::Builder,
    app: App,
    side: Side,
    routes: Routes,
    /// The connections that count together.
    occupancy: Arc<Occupancy>,
    /// The listener's certificate, if it has TLS.
    tls: Option<CurrentTls>,
    /// How long a client may take to send the head of its first request.
    handshake_timeout: Duration,
    /// For how long a client may take nothing of a response.
    write_limit: Duration,
    /// Connections whose requests are served.
    requests: TaskGroup,
    /// WebSockets and event streams.
    connections: TaskGroup,
    draining: CancellationToken,
}

/// A connection that was accepted: its other end, and what it counts as until it ends.
pub(super) struct Accepted {
    peer: Peer,
    _connection: Option<ConnectionPermit>,
    address: Option<AddressPermit>,
    _refused: Option<RefusedPermit>,
}

/// Who serves a connection, by its first bytes.
enum First {
    /// The connection itself: they are a plain handshake.
    Handshake(Box<Opening>, Option<AddressPermit>),
    /// hyper, which is given the bytes.
    Http(Bytes),
}

impl Acceptor {
    pub fn new(
        app: App,
        side: Side,
        occupancy: Arc<Occupancy>,
        handshake_timeout: Duration,
        requests: TaskGroup,
        connections: TaskGroup,
        draining: CancellationToken,
    ) -> Self {
        let mut http = http1::Builder::new();
        // hyper's default buffer is 400 KiB. It is filled by whoever sends a head without end.
        http.timer(TokioTimer::new()).header_read_timeout(KEEP_ALIVE).max_buf_size(MAX_HEAD_BYTES);
        let routes = Routes::new(app.clone(), side);
        Self {
            http,
            app,
            side,
            routes,
            occupancy,
            tls: None,
            handshake_timeout,
            write_limit: WRITE_LIMIT,
            requests,
            connections,
            draining,
        }
    }

    /// The same with TLS on every connection.
    pub fn with_tls(self, tls: Option<CurrentTls>) -> Self {
        Self { tls, ..self }
    }

    /// The same with another limit for clients that take nothing.
    #[cfg(test)]
    pub fn with_write_limit(self, write_limit: Duration) -> Self {
        Self { write_limit, ..self }
    }

    /// Accepts connections until the node drains.
    pub async fn accept(self: Arc<Self>, listener: TcpListener) {
        let mut draining = pin!(self.draining.cancelled());
        let mut reserve = Reserve::new();
        let mut warned: Option<Instant> = None;
        loop {
            let (stream, address) = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        // Probably no file is left. Open connections go on, and some of them will end.
                        if warned.is_none_or(|last| last.elapsed() > BETWEEN_WARNINGS) {
                            tracing::warn!(%error, "cannot accept connections");
                            warned = Some(Instant::now());
                        }
                        match reserve.refuse(&error, &listener, &no_file_left()) {
                            true => self.app.metrics.refused(ErrorCode::Overloaded.as_str()),
                            false => tokio::time::sleep(Duration::from_millis(50)).await,
                        }
                        continue;
                    }
                },
                () = &mut draining => return,
            };
            let Some(accepted) = self.admit(address.ip()) else {
                // So many are being refused that this one is not told.
                self.app.metrics.refused(ErrorCode::Overloaded.as_str());
                continue;
            };
            match self.transport(stream) {
                Ok(stream) => drop(tokio::spawn(self.clone().serve(stream, accepted, self.requests.enter()))),
                Err(error) => tracing::warn!(%error, "cannot begin a TLS connection"),
            }
        }
    }

    /// What a connection is served over. Does not wait for the client.
    fn transport(&self, stream: TcpStream) -> io::Result<Transport> {
        match &self.tls {
            None => Ok(stream.into()),
            Some(tls) => Transport::tls(stream, tls.borrow().clone()),
        }
    }

    /// Counts a new connection. If there are too many, it is served only to be told so. `None` if it is to be closed at once.
    pub(super) fn admit(&self, address: IpAddr) -> Option<Box<Accepted>> {
        let peer = Peer { address, tls: self.tls.is_some(), refused: None };
        let admitted = self.occupancy.admit().and_then(|connection| {
            // A proxy's connections are those of many clients: each counts when its request names it.
            let counts = !self.app.edge.is_proxy(address);
            let address = if counts { self.occupancy.admit_address(address)? } else { None };
            Ok((connection, address))
        });
        let accepted = match admitted {
            Ok((connection, address)) => Accepted { peer, _connection: Some(connection), address, _refused: None },
            Err(full) => self.refused(peer, full)?,
        };
        Some(Box::new(accepted))
    }

    fn refused(&self, peer: Peer, full: Full) -> Option<Accepted> {
        let peer = Peer { refused: Some(full), ..peer };
        Some(Accepted { peer, _connection: None, address: None, _refused: Some(self.occupancy.refuse()?) })
    }

    /// Serves one connection to its end, which may be a WebSocket's. Until then it is among the requests.
    pub(super) async fn serve(self: Arc<Self>, mut stream: Transport, mut accepted: Box<Accepted>, request: Member) {
        let timeout = match accepted.peer.refused {
            Some(_) => REFUSAL_TIMEOUT.min(self.handshake_timeout),
            None => self.handshake_timeout,
        };
        let deadline = Instant::now() + timeout;
        let first = request.run("request", self.first(&mut stream, &accepted.peer, deadline)).await.flatten();
        match first {
            Some(First::Handshake(opening, address)) => {
                accepted.address = accepted.address.take().or(address);
                // Before the place among the requests is left, so that a drain waits for one of the two.
                let connection = self.connections.enter();
                let connections = self.app.connections.clone();
                drop((request, self));
                connection.run("connection", connections.serve(stream, opening)).await;
                drop(accepted);
            }
            Some(First::Http(bytes)) => {
                let serving = self.serve_http(Replayed::new(bytes, stream), accepted, deadline);
                // Boxed, so that its memory is not a part of every WebSocket.
                Box::pin(request.run("request", serving)).await;
            }
            None => stream.shut_down(),
        }
    }

    /// Reads the first bytes of a connection, and decides who serves it. `None`: the client has sent nothing in time, the
    /// TLS handshake has failed, or the node drains.
    async fn first(&self, stream: &mut Transport, peer: &Peer, deadline: Instant) -> Option<First> {
        let read = tokio::select! {
            biased;
            read = poll_fn(|context| self.poll_first(stream, peer, context)) => read,
            () = sleep_until(deadline) => return None,
            () = self.draining.cancelled() => return None,
        };
        match read {
            Ok(first) => Some(first),
            Err(error) => {
                tracing::debug!(%error, "a connection ended badly");
                if error.kind() == io::ErrorKind::InvalidData {
                    self.app.metrics.tls_handshake_failures.inc();
                    Box::pin(refuse(stream, &error, deadline)).await;
                }
                None
            }
        }
    }

    /// Serves requests with hyper until a handler takes the connection over or it ends.
    async fn serve_http(&self, stream: Replayed, mut accepted: Box<Accepted>, deadline: Instant) {
        let requested = AtomicBool::new(false);
        let silent = async {
            sleep_until(deadline).await;
            if requested.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
        };
        let takeover = Takeover::default();
        let peer = accepted.peer;
        let service = service_fn(|request: Request<Incoming>| {
            requested.store(true, Ordering::Relaxed);
            http::respond(&self.app, &self.routes, &peer, &takeover, request)
        });
        let stream = WriteLimit::new(stream, self.write_limit, takeover.clone());
        let mut connection = self.http.serve_connection(TokioIo::new(Substituted::new(stream)), service);
        let stopped = tokio::select! {
            // First, so that hyper has read the bytes that came already before it is told to stop.
            biased;
            ended = end(&mut connection, &takeover) => Some(ended),
            () = silent => {
                below(connection.into_parts().io).transport().shut_down();
                return;
            }
            () = self.draining.cancelled() => None,
        };
        let ended = match stopped {
            Some(ended) => ended,
            None => {
                Pin::new(&mut connection).graceful_shutdown();
                end(&mut connection, &takeover).await
            }
        };
        let ended = match ended {
            Ended::Taken(taken) => {
                let parts = connection.into_parts();
                let (stream, early) = below(parts.io).into_parts(parts.read_buf);
                accepted.address = accepted.address.take().or(takeover.permit());
                // A task of its own, so that the memory of serving requests is not held as long as the connection.
                self.connections.spawn("connection", async move {
                    taken(stream, early).await;
                    drop(accepted);
                });
                return;
            }
            Ended::Cut => return below(connection.into_parts().io).transport().abort(),
            Ended::Closed(ended) => ended,
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended badly");
            if error.is_parse_too_large() {
                self.app.metrics.refused(ErrorCode::HeadersTooLarge.as_str());
                discard(connection.into_parts().io.into_inner()).await;
            }
        }
    }

    /// Reads the first bytes of a connection. Not async, so that the buffer is on the stack.
    fn poll_first(&self, stream: &mut Transport, peer: &Peer, context: &mut Context<'_>) -> Poll<io::Result<First>> {
        let mut bytes = [MaybeUninit::uninit(); MAX_FIRST_READ];
        let mut buffer = ReadBuf::uninit(&mut bytes);
        ready!(Pin::new(stream).poll_read(context, &mut buffer))?;
        let bytes = buffer.filled();
        // Clients have no routes at the operator's address, and a connection over a limit gets no WebSocket.
        let serves = self.side.has("/v1/ws") && peer.refused.is_none();
        Poll::Ready(Ok(match serves.then(|| direct::accept(&self.app, peer, bytes)).flatten() {
            Some((opening, permit)) => First::Handshake(opening, permit),
            None => First::Http(Bytes::copy_from_slice(bytes)),
        }))
    }
}

/// Reads and drops what a client still sends after its refusal, within bounds.
async fn discard(mut stream: impl AsyncRead + Unpin) {
    let mut buffer = vec![0; 16 * 1024];
    let mut dropped = 0;
    let rest = async {
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            dropped += read;
            if dropped > MAX_DISCARDED {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(REFUSAL_TIMEOUT, rest).await;
}

/// The whole response to a client for whom no file is left.
fn no_file_left() -> Vec<u8> {
    let detail = "this node has opened as many files as it may: connect to another, or try again after the time in the \
                  header Retry-After";
    http::raw(&Problem::new(ErrorCode::Overloaded, detail))
}

/// Lets a client read why its TLS handshake has failed. An alert of TLS is sent already; without TLS, the client gets a
/// response. A socket that is closed while it has unread bytes would be reset, and the answer lost.
async fn refuse(stream: &Transport, error: &io::Error, deadline: Instant) {
    if matches!(error.get_ref(), Some(cause) if cause.is::<PlainHttp>()) {
        // So short that a new socket takes all of it.
        let _ = stream.socket().try_write(&http::needs_tls::response());
    }
    if stream.try_close().is_ok() {
        let _ = timeout_at(deadline.min(Instant::now() + REFUSAL_TIMEOUT), stream.discard()).await;
    }
}

/// The socket below what hyper serves a connection on.
fn below(io: TokioIo<Substituted<WriteLimit>>) -> Replayed {
    io.into_inner().into_inner().into_inner()
}

/// How serving the requests of a connection ended.
enum Ended {
    /// The client may not have the rest of a response.
    Cut,
    Closed(hyper::Result<()>),
    Taken(Taken),
}

/// Serves requests until the connection ends or is taken over.
async fn end(connection: &mut (impl Future<Output = hyper::Result<()>> + Unpin), takeover: &Takeover) -> Ended {
    poll_fn(|context| {
        let polled = Pin::new(&mut *connection).poll(context);
        // Checked first: a handler that has taken the connection over never answers.
        match takeover.taken() {
            Some(taken) => Poll::Ready(Ended::Taken(taken)),
            None if polled.is_pending() && takeover.poll_cut(context) => Poll::Ready(Ended::Cut),
            None => polled.map(Ended::Closed),
        }
    })
    .await
}
