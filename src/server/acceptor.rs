//! Accepts connections, serves their requests with hyper, and hands a connection to the handler that takes it over.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::http::takeover::{Taken, Takeover};
use crate::http::{self, App};
use crate::supervision::TaskGroup;

/// How long a connection is kept for its next request. Longer than clients keep theirs: otherwise a client would send one
/// into a connection that is just being closed.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// Accepts connections and serves their requests.
pub struct Acceptor {
    http: http1::Builder,
    app: App,
    router: TowerToHyperService<Router>,
    /// How long a client may take to send the head of its first request.
    handshake_timeout: Duration,
    /// Connections on which hyper serves requests.
    requests: TaskGroup,
    /// Connections that handlers have taken over.
    connections: TaskGroup,
    draining: CancellationToken,
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
        Self { http, app, router, handshake_timeout, requests, connections, draining }
    }

    /// Accepts connections until the node drains.
    pub async fn accept(self: Arc<Self>, listener: TcpListener) {
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
                () = self.draining.cancelled() => return,
            };
            self.requests.spawn("request", self.clone().serve(stream));
        }
    }

    /// Serves the requests of one connection, until a handler takes it over or it ends.
    async fn serve(self: Arc<Self>, stream: TcpStream) {
        let requested = AtomicBool::new(false);
        let silent = async {
            tokio::time::sleep(self.handshake_timeout).await;
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
            ended = end(&mut connection, &takeover) => Some(ended),
            () = silent => return,
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
                // A task of its own, so that the memory of serving requests is not held as long as the connection.
                self.connections.spawn("connection", taken(parts.io.into_inner(), parts.read_buf));
                return;
            }
            Ended::Closed(ended) => ended,
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended badly");
        }
    }
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
