//! A connection that a handler takes over: from then on the socket belongs to the handler, and no longer to hyper.
//!
//! hyper does not write streams of events, so that nothing stands between the fan-out and the kernel. By itself, hyper
//! gives a socket away only after a 101, through a channel and a second task. Here the handler leaves what is to happen
//! with the connection in the request's extensions, and never answers. The acceptor finds it there and takes hyper apart
//! before hyper has written anything of this response.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::occupancy::AddressPermit;
use crate::transport::Transport;

/// Serves the connection: gets the transport, and the bytes that were read beyond the request's head.
pub type Taken = Box<dyn FnOnce(Transport, Bytes) -> BoxFuture<'static, ()> + Send>;

/// Where a handler leaves what is to happen with its connection; in the extensions of each request.
#[derive(Clone, Default)]
pub struct Takeover(Arc<Mutex<Left>>);

#[derive(Default)]
struct Left {
    taken: Option<Taken>,
    permit: Option<AddressPermit>,
}

impl Takeover {
    /// Takes the connection over; never returns.
    pub async fn take(&self, taken: Taken) -> Infallible {
        self.lock().taken = Some(taken);
        std::future::pending().await
    }

    /// Keeps what the client of the request under way counts as. It is dropped with the request, or goes on with the
    /// connection.
    pub fn keep(&self, permit: Option<AddressPermit>) {
        self.lock().permit = permit;
    }

    /// What the client counts as, if it was kept.
    pub fn permit(&self) -> Option<AddressPermit> {
        self.lock().permit.take()
    }

    /// What a handler has left, if it has left something.
    pub fn taken(&self) -> Option<Taken> {
        self.lock().taken.take()
    }

    fn lock(&self) -> MutexGuard<'_, Left> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The head of a response, as HTTP/1.1 writes it (RFC 9112, section 4).
pub fn head(status: StatusCode, headers: &HeaderMap) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status}\r\n").into_bytes();
    for (name, value) in headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}
