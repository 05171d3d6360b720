//! A connection that a handler takes over: from then on the socket belongs to the handler, and no longer to hyper.
//!
//! hyper does not write streams of events, so that nothing stands between the fan-out and the kernel. By itself, hyper
//! gives a socket away only after a 101, through a channel and a second task. Here the handler leaves what is to happen
//! with the connection in the request's extensions, and never answers. The acceptor finds it there and takes hyper apart
//! before hyper has written anything of this response.
//!
//! Events that hyper writes are an answer for a time: a client whose credential has ended gets no more of them, even if the
//! answer was read from the log before. The handler leaves the end of that time here, and the acceptor cuts the connection.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::Full;
use hyper::body::{Frame, SizeHint};

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
    answers: Vec<Answer>,
}

/// An answer that its client may have only for a time.
struct Answer {
    /// Ready when the time is over.
    ended: BoxFuture<'static, ()>,
    /// Held by the body until hyper has all of it.
    body: Weak<()>,
}

/// The body of such an answer.
struct TimedBody {
    bytes: Full<Bytes>,
    _held: Arc<()>,
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

    /// A body that the client may have until `ended` is ready. The connection is cut then, unless all of it was sent.
    pub fn body_until(&self, ended: BoxFuture<'static, ()>, bytes: Vec<u8>) -> Body {
        let held = Arc::new(());
        self.lock().answers.push(Answer { ended, body: Arc::downgrade(&held) });
        Body::new(TimedBody { bytes: Full::from(bytes), _held: held })
    }

    /// Everything that hyper had was sent.
    pub fn sent(&self) {
        self.lock().answers.retain(|answer| answer.body.strong_count() > 0);
    }

    /// Whether the time of an answer is over that was not sent as a whole. Otherwise the task is woken when it is.
    pub fn poll_cut(&self, context: &mut Context<'_>) -> bool {
        self.lock().answers.iter_mut().any(|answer| answer.ended.as_mut().poll(context).is_ready())
    }

    fn lock(&self) -> MutexGuard<'_, Left> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpBody for TimedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.bytes).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.bytes.size_hint()
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
