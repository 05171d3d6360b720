//! A WebSocket that sends each message back, made of the daemon's reader, encoder and send buffer: conformance suites talk
//! to it, since they know no protocol but an echo. The daemon itself never serves one.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;

use super::inbound::{Inbound, Message};
use crate::deflate::Deflater;
use crate::event::{Catalog, PerChannel};
use crate::hub::{Encoding, Outgoing, SendBuffer, frame};
use crate::metrics::Metrics;
use crate::pace::Pace;
use crate::transport::Transport;

/// What all connections share.
#[derive(Debug)]
pub struct Echo {
    shared: Arc<Outgoing>,
    /// The longest message, in bytes.
    limit: usize,
}

impl Echo {
    /// Echoes messages of up to `limit` bytes, on the runtime of the caller.
    pub fn new(limit: usize) -> Self {
        let (catalog, metrics) = (Catalog::builtin(), Arc::<Metrics>::default());
        let nobody = Arc::new(PerChannel::new(&catalog, |_| AtomicU64::new(0)));
        let pace = Arc::new(Pace::new(&catalog, nobody, metrics.clone()));
        // Two messages may wait for the socket.
        let shared = Outgoing::new(2 * limit, metrics, pace, tokio::runtime::Handle::current());
        Self { shared: Arc::new(shared), limit }
    }

    /// Serves a connection from the response to its handshake to its end. `early`: what came after the handshake.
    pub async fn serve(&self, stream: Transport, head: Vec<u8>, mut early: Vec<u8>, deflate: bool) {
        let send_buffer = SendBuffer::new(stream, Encoding::WebSocket { deflate }, self.shared.clone());
        send_buffer.greet(&[&head.into()]);
        let mut inbound = Inbound::new(self.limit, deflate);
        let mut deflater = deflate.then(Deflater::default);
        let mut buffer = vec![0; 64 * 1024];
        let mut open = echo(&mut inbound, &send_buffer, &mut deflater, &mut early);
        while open && poll_fn(|context| send_buffer.stream().poll_read_ready(context)).await.is_ok() {
            open = match send_buffer.stream().try_read(&mut buffer) {
                Ok(0) => false,
                Ok(read) => echo(&mut inbound, &send_buffer, &mut deflater, &mut buffer[..read]),
                Err(error) => error.kind() == io::ErrorKind::WouldBlock,
            };
            tokio::task::yield_now().await;
        }
        send_buffer.finish().await;
    }
}

/// Sends back what these bytes complete; returns whether the connection goes on.
fn echo(
    inbound: &mut Inbound,
    send_buffer: &Arc<SendBuffer>,
    deflater: &mut Option<Deflater>,
    bytes: &mut [u8],
) -> bool {
    let mut open = true;
    let read = inbound.read(bytes, |message| {
        match message {
            Message::Text(text) => send_buffer.send(&[&encoded(deflater, text.as_bytes())]),
            Message::Ping(payload) => send_buffer.pong(&payload),
            Message::Pong(_) => {}
            Message::Close(code) => {
                send_buffer.close_echo(code);
                open = false;
            }
        }
        open
    });
    if let Err(violation) = read {
        send_buffer.close(violation.code, violation.reason);
        open = false;
    }
    open
}

fn encoded(deflater: &mut Option<Deflater>, text: &[u8]) -> Bytes {
    let deflated = deflater.as_mut().and_then(|deflater| deflater.deflate(text));
    deflated.map_or_else(|| frame::text(text), frame::deflated_text)
}
