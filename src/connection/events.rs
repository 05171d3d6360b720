//! One event stream: its request said everything, so there is nothing to listen for but its end.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;

use super::Connections;
use crate::access::Caller;
use crate::admission::AdmissionPermit;
use crate::bus::Subscription;
use crate::hub::{Encoding, NewConnection, SendBuffer};

impl Connections {
    /// Serves an event stream to its end. `head` is the head of the response; `chunked` says how its body is framed.
    pub async fn stream(
        self: Arc<Self>,
        stream: TcpStream,
        caller: Caller,
        head: Vec<u8>,
        chunked: bool,
        subscriptions: Vec<Subscription>,
        permit: AdmissionPermit,
    ) {
        let encoding = Encoding::Events { channels: subscriptions.len() as u16, chunked };
        let new = NewConnection { greeting: vec![head.into()], subscriptions, encoding, permit };
        let (handle, feeds) = self.hub(&caller).join_from_log(stream, new).await;
        feeds.into_iter().for_each(|feed| self.replay(&caller, feed));
        let send_buffer = handle.send_buffer().clone();
        while !ended(&send_buffer) && poll_fn(|context| send_buffer.stream().poll_read_ready(context)).await.is_ok() {
            tokio::task::yield_now().await;
        }
        let finish = Box::pin(async move {
            handle.leave().await;
            send_buffer.finish().await;
        });
        finish.await;
    }
}

/// Whether the peer has gone or was sent the end. What it sends is ignored.
fn ended(send_buffer: &SendBuffer) -> bool {
    let mut buffer = [0; 1024];
    match send_buffer.stream().try_read(&mut buffer) {
        Ok(0) => {
            send_buffer.shut_down();
            true
        }
        Ok(_) => send_buffer.is_closing(),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => send_buffer.is_closing(),
        Err(_) => {
            send_buffer.shut_down();
            true
        }
    }
}
