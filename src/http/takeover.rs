//! A connection that a handler takes over: from then on the socket is its own, and hyper's no longer.
//!
//! A stream of events is not written by hyper: nothing may stand between the fan-out and the kernel. hyper itself gives a
//! socket away only after a 101, through a channel and a second task. Here the handler leaves what is to become of the
//! connection in the request's extensions and never answers; whoever serves the connection finds it there and takes hyper
//! apart, before it has written anything of this answer.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::{HeaderMap, Method, StatusCode};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::net::TcpStream;

use super::problem::{Code, Problem};

/// What becomes of the connection: given the socket, and what was read of it beyond the request's head.
pub type Taken = Box<dyn FnOnce(TcpStream, Bytes) -> BoxFuture<'static, ()> + Send>;

/// One connection's; in the extensions of each of its requests.
#[derive(Clone, Default)]
pub struct Takeover(Arc<Mutex<Option<Taken>>>);

impl Takeover {
    /// Takes the connection over; never returns.
    pub async fn take(&self, taken: Taken) -> Infallible {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(taken);
        std::future::pending().await
    }

    /// What a handler has left, if one has.
    pub fn taken(&self) -> Option<Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Who asks for the head alone is not given a connection: axum routes HEAD where it routes GET.
pub fn only_get(method: &Method) -> Result<(), Problem> {
    let refused = || Problem::new(Code::MethodNotAllowed, format!("this address takes GET, not {method}"));
    if method == Method::GET { Ok(()) } else { Err(refused()) }
}

/// The head of an answer, as HTTP/1.1 writes it (RFC 9112, section 4).
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
