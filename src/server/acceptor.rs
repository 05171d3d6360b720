//! Accepts connections and serves their requests: a plain WebSocket handshake directly, everything else with hyper.
//!
//! With TLS, the handshake takes place within the first read, in the connection's own task. The first bytes of a
//! connection decide. If they are a plain WebSocket handshake, its task becomes the connection's task. All
//! others go to hyper, which reads the same bytes again and may serve many requests, until a handler takes the
//! connection over.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::certificates::CurrentTls;
use super::replayed::Replayed;
use crate::connection::Opening;
use crate::http::takeover::{Taken, Takeover};
use crate::http::{self, App, direct};
use crate::supervision::{Member, TaskGroup};
use crate::transport::{PlainHttp, Transport};

/// How long a connection is kept for its next request. Longer than clients keep theirs: otherwise a client would send one
/// into a connection that is just being closed.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// The most bytes that are read before it is decided who serves a connection. A longer handshake is hyper's.
const MAX_FIRST_READ: usize = 8 * 1024;

/// How long a client whose TLS handshake failed may take to read why.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// Accepts connections and serves their requests.
pub struct Acceptor {
    http: http1::Builder,
    app: App,
    router: TowerToHyperService<Router>,
    /// The listener's certificate, if it has TLS.
    tls: Option<CurrentTls>,
    /// How long a client may take to send the head of its first request.
    handshake_timeout: Duration,
    /// Connections whose requests are served.
    requests: TaskGroup,
    /// WebSockets and event streams.
    connections: TaskGroup,
    draining: CancellationToken,
}

/// Who serves a connection, by its first bytes.
enum First {
    /// The connection itself: they are a plain handshake.
    Handshake(Box<Opening>),
    /// hyper, which is given the bytes.
    Http(Bytes),
}

impl Acceptor {
    pub fn new(
        app: App,
        handshake_timeout: Duration,
        requests: TaskGroup,
        connections: TaskGroup,
        draining: CancellationToken,
    ) -> Self {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(KEEP_ALIVE);
        let router = TowerToHyperService::new(http::router(app.clone()));
        Self { http, app, router, tls: None, handshake_timeout, requests, connections, draining }
    }

    /// The same with TLS on every connection.
    pub fn with_tls(self, tls: Option<CurrentTls>) -> Self {
        Self { tls, ..self }
    }

    /// Accepts connections until the node drains.
    pub async fn accept(self: Arc<Self>, listener: TcpListener) {
        let mut draining = pin!(self.draining.cancelled());
        loop {
            let stream = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        // Probably no file descriptor is left. Open connections go on, and some of them will end.
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                },
                () = &mut draining => return,
            };
            match self.transport(stream) {
                Ok(stream) => drop(tokio::spawn(self.clone().serve(stream, self.requests.enter()))),
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

    /// Serves one connection to its end, which may be a WebSocket's. Until then it is among the requests.
    pub(super) async fn serve(self: Arc<Self>, mut stream: Transport, request: Member) {
        let deadline = Instant::now() + self.handshake_timeout;
        let first = request.run("request", self.first(&mut stream, deadline)).await.flatten();
        match first {
            Some(First::Handshake(opening)) => {
                // Before the place among the requests is left, so that a drain waits for one of the two.
                let connection = self.connections.enter();
                let connections = self.app.connections.clone();
                drop((request, self));
                connection.run("connection", connections.serve(stream, opening)).await;
            }
            Some(First::Http(bytes)) => {
                let serving = self.serve_http(Replayed::new(bytes, stream), deadline);
                // Boxed, so that its memory is not a part of every WebSocket.
                Box::pin(request.run("request", serving)).await;
            }
            None => stream.shut_down(),
        }
    }

    /// Reads the first bytes of a connection, and decides who serves it. `None`: the client has sent nothing in time, the
    /// TLS handshake has failed, or the node drains.
    async fn first(&self, stream: &mut Transport, deadline: Instant) -> Option<First> {
        let read = tokio::select! {
            biased;
            read = poll_fn(|context| poll_first(&self.app, stream, context)) => read,
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
    async fn serve_http(&self, stream: Replayed, deadline: Instant) {
        let requested = AtomicBool::new(false);
        let silent = async {
            sleep_until(deadline).await;
            if requested.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
        };
        let takeover = Takeover::default();
        let service = service_fn(|mut request: Request<Incoming>| {
            requested.store(true, Ordering::Relaxed);
            request.extensions_mut().insert(takeover.clone());
            http::respond(&self.app, &self.router, request)
        });
        let mut connection = self.http.serve_connection(TokioIo::new(stream), service);
        let stopped = tokio::select! {
            // First, so that hyper has read the bytes that came already before it is told to stop.
            biased;
            ended = end(&mut connection, &takeover) => Some(ended),
            () = silent => {
                connection.into_parts().io.into_inner().into_parts(Bytes::new()).0.shut_down();
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
                let (stream, early) = parts.io.into_inner().into_parts(parts.read_buf);
                // A task of its own, so that the memory of serving requests is not held as long as the connection.
                self.connections.spawn("connection", taken(stream, early));
                return;
            }
            Ended::Closed(ended) => ended,
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended badly");
        }
    }
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

/// Reads the first bytes of a connection. Not async, so that the buffer is on the stack.
fn poll_first(app: &App, stream: &mut Transport, context: &mut Context<'_>) -> Poll<io::Result<First>> {
    let mut bytes = [MaybeUninit::uninit(); MAX_FIRST_READ];
    let mut buffer = ReadBuf::uninit(&mut bytes);
    ready!(Pin::new(stream).poll_read(context, &mut buffer))?;
    let bytes = buffer.filled();
    Poll::Ready(Ok(match direct::accept(app, bytes) {
        Some(opening) => First::Handshake(opening),
        None => First::Http(Bytes::copy_from_slice(bytes)),
    }))
}

/// How serving the requests of a connection ended.
enum Ended {
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
            None => polled.map(Ended::Closed),
        }
    })
    .await
}
