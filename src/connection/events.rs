//! One event stream: what is asked for stands in its request, so there is nothing to listen to but its end.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;

use super::Connections;
use crate::admission::Arriving;
use crate::hub::{Arrival, Form, Outbox, Wanted};

impl Connections {
    /// Serves an event stream to its end. `head` is the head of the answer.
    pub async fn stream(self: Arc<Self>, stream: TcpStream, head: Vec<u8>, wanted: Vec<Wanted>, arriving: Arriving) {
        let form = Form::Events { channels: wanted.len() as u16 };
        let arrival = Arrival { greeting: vec![head.into()], wanted, form, arriving };
        let (seat, feeds) = self.hub.join_from_log(stream, arrival).await;
        feeds.into_iter().for_each(|feed| self.replay(feed));
        let outbox = seat.outbox().clone();
        while !ended(&outbox) && poll_fn(|context| outbox.stream().poll_read_ready(context)).await.is_ok() {
            tokio::task::yield_now().await;
        }
        let finish = Box::pin(async move {
            seat.leave().await;
            outbox.finish().await;
        });
        finish.await;
    }
}

/// Whether the peer has gone, or was sent the end. What it says is passed over.
fn ended(outbox: &Outbox) -> bool {
    let mut buffer = [0; 1024];
    match outbox.stream().try_read(&mut buffer) {
        Ok(0) => {
            outbox.cut();
            true
        }
        Ok(_) => outbox.is_closing(),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => outbox.is_closing(),
        Err(_) => {
            outbox.cut();
            true
        }
    }
}
