//! One event stream: its request said everything, so there is nothing to listen for but its end.

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use uuid::Uuid;

use super::Connections;
use crate::access::Caller;
use crate::admission::AdmissionPermit;
use crate::bus::{Bus, Subscription};
use crate::hub::{Encoding, NewConnection, SendBuffer};
use crate::transport::Transport;

/// How often a stream looks whether its cursors have become long.
const CURSOR_UPKEEP: Duration = Duration::from_secs(60);

/// What the request of an event stream comes to.
pub struct StreamOpening {
    /// The head of the response.
    pub head: Vec<u8>,
    /// The body is framed in chunks.
    pub chunked: bool,
    pub subscriptions: Vec<Subscription>,
    pub permit: AdmissionPermit,
    /// The client's address, which a proxy may have named.
    pub address: IpAddr,
}

impl Connections {
    /// Serves an event stream to its end.
    pub async fn stream(self: Arc<Self>, stream: Transport, caller: Caller, opening: StreamOpening) {
        let StreamOpening { head, chunked, subscriptions, permit, address } = opening;
        let channels = subscriptions.len();
        let encoding = Encoding::Events { channels: channels as u16, chunked };
        let cursors = self.bus.cursors(&caller, channels).await;
        let new = NewConnection {
            id: Uuid::now_v7(),
            address,
            greeting: head,
            subscriptions,
            encoding,
            principal: caller.principal().cloned(),
            cursors,
            permit,
        };
        let (handle, feeds) = self.hub(&caller).join_from_log(stream, new).await;
        feeds.into_iter().for_each(|feed| self.replay(&caller, feed));
        let send_buffer = handle.send_buffer().clone();
        let readable = || poll_fn(|context| send_buffer.stream().poll_read_ready(context));
        while !ended(&send_buffer) {
            let ready = match Bus::may_pack(channels) {
                true => timeout(CURSOR_UPKEEP, readable()).await,
                false => Ok(readable().await),
            };
            match ready {
                Ok(Ok(())) => tokio::task::yield_now().await,
                Ok(Err(_)) => break,
                // The cursors of a stream with many channels grow with the distance from their base.
                Err(_) => drop(self.bus.cursors(&caller, channels).await),
            }
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
