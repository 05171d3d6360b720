//! A connection that a handler takes over: from then on the socket belongs to the handler, and no longer to hyper.
//!
//! hyper does not write streams of events, so that nothing stands between the fan-out and the kernel. By itself, hyper
//! gives a socket away only after a 101, through a channel and a second task. Here the handler leaves what is to happen
//! with the connection in the request's extensions, and never answers. The acceptor finds it there and takes hyper apart
//! before hyper has written anything of this response.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::transport::Transport;

/// Serves the connection: gets the transport, and the bytes that were read beyond the request's head.
pub type Taken = Box<dyn FnOnce(Transport, Bytes) -> BoxFuture<'static, ()> + Send>;

/// Where a handler leaves what is to happen with its connection; in the extensions of each request.
#[derive(Clone, Default)]
pub struct Takeover(Arc<Mutex<Option<Taken>>>);

impl Takeover {
    /// Takes the connection over; never returns.
    pub async fn take(&self, taken: Taken) -> Infallible {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(taken);
        std::future::pending().await
    }

    /// What a handler has left, if it has left something.
    pub fn taken(&self) -> Option<Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
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
