//! One connection: reads what the client says and tells its shard; the shard does the sending. Here WebSockets, in
//! `events.rs` event streams.
//!
//! The task of an idle connection holds nothing but its handle in the hub: bytes are read into a buffer on the stack, and
//! only an incomplete frame is kept.

mod events;
mod inbound;

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::admission::{Admission, AdmissionPermit};
use crate::broker::{Backend, BrokerError};
use crate::event::{Catalog, ChannelId, Filter, FilterError, ParseSinceError, Since};
use crate::hub::{
    Begin, ConnectionHandle, Encoding, Feed, Hub, NewConnection, PendingReply, SendBuffer, SubscribeRequest, frame,
};
use crate::metrics::Metrics;
use crate::protocol::{self, ClientFrame, ErrorCode, ServerFrame, Subscribe};
use crate::replay;
use inbound::{Inbound, Message};

/// Commands that a shard is given before its answer is waited for.
const MAX_COMMANDS: usize = 64;
/// Subscriptions of a connection that are looked up in the log at a time.
const LOOKED_UP: usize = 8;

/// What all connections of a node share.
pub struct Connections {
    pub hub: Arc<Hub>,
    pub broker: Arc<dyn Backend>,
    pub catalog: Arc<Catalog>,
    pub admission: Arc<Admission>,
    pub metrics: Arc<Metrics>,
    pub node: String,
    pub heartbeat_ms: u64,
    pub max_frame_bytes: usize,
    /// What a replay sends at a time, in bytes.
    pub replay_bytes: usize,
}

/// What a client's frame comes to.
enum Command {
    Subscribe(SubscribeRequest),
    Unsubscribe(String),
    Answered(Bytes),
}

/// What the handshake leaves behind.
#[derive(Debug)]
pub struct Opening {
    /// The head of the answer to it.
    pub head: Vec<u8>,
    /// Bytes that came with it.
    pub early: Bytes,
    /// The parameters of its URL: each `channel` is subscribed to at once.
    pub query: Vec<(String, String)>,
    /// permessage-deflate was agreed.
    pub deflate: bool,
    /// Until it has been taken in.
    pub permit: AdmissionPermit,
}

impl Connections {
    /// Serves a connection from the answer to its handshake to its end.
    ///
    /// What is done once, or seldom, is boxed: the task of an idle connection is as large as what it waits in.
    pub async fn serve(self: Arc<Self>, stream: TcpStream, opening: Box<Opening>) {
        let inbound = Inbound::new(self.max_frame_bytes, opening.deflate);
        let (handle, early) = self.open(stream, *opening);
        self.listen(&handle, inbound, early).await;
        let send_buffer = handle.send_buffer().clone();
        Box::pin(async move {
            // First, so that it does not count as subscribed while it takes its time to close.
            handle.leave().await;
            send_buffer.finish().await;
        })
        .await;
    }

    /// Takes the connection in; returns what the client said early.
    fn open(&self, stream: TcpStream, opening: Opening) -> (ConnectionHandle, Vec<u8>) {
        let Opening { head, early, query, deflate, permit } = opening;
        // Consumes it: even empty, it is a part of the buffer that the handshake was read into.
        let early = Vec::from(early);
        let session = uuid::Uuid::now_v7().to_string();
        let mut greeting = vec![
            head.into(),
            frame::server(&ServerFrame::Welcome {
                protocol: protocol::VERSION,
                session: session.into(),
                node: self.node.as_str().into(),
                heartbeat_ms: self.heartbeat_ms,
            }),
        ];
        let mut wanted = Vec::new();
        if query.iter().all(|(name, _)| name == "channel") {
            for (_, channel) in query {
                let (sub, begin) = (channel.clone(), Begin::Live { recovered: false });
                match self.find(&channel, None) {
                    Ok((channel, filter)) => wanted.push(SubscribeRequest { sub, channel, filter, begin }),
                    Err((code, message)) => greeting.push(self.refused(code, message, Some(sub))),
                }
            }
        } else {
            // A `where` that was passed over would make an unfiltered stream.
            let message = "this address takes the parameter `channel` only: all else is said in frames".to_owned();
            greeting.push(self.refused(ErrorCode::InvalidFrame, message, None));
        }
        (
            self.hub
                .join(stream, NewConnection { greeting, wanted, encoding: Encoding::WebSocket { deflate }, permit }),
            early,
        )
    }

    /// Reads until the peer has closed, is gone, or has broken the protocol.
    async fn listen(&self, handle: &ConnectionHandle, mut inbound: Inbound, mut early: Vec<u8>) {
        let send_buffer = handle.send_buffer();
        let mut heard = Vec::new();
        let mut ended = take(&mut inbound, send_buffer, &mut early, &mut heard);
        drop(early);
        loop {
            if !heard.is_empty() {
                Box::pin(self.frames(handle, std::mem::take(&mut heard))).await;
            }
            // Not `readable()`, which waits beside the place where hyper left its waker: that would keep the handshake's task,
            // more than a kilobyte, for as long as the connection lasts.
            if ended || poll_fn(|context| send_buffer.stream().poll_read_ready(context)).await.is_err() {
                return;
            }
            ended = pump(&mut inbound, send_buffer, &mut heard);
            // Readiness alone never yields: a peer whose bytes never run out must not keep the thread.
            tokio::task::yield_now().await;
        }
    }

    /// Does what the client said, in order. Where streams begin is looked up in the log for several at a time: who resumes a
    /// hundred does not wait for a hundred round trips. The shard is given several commands before its answer is waited
    /// for, else a hundred subscriptions would be two hundred times that one thread wakes another; but not so many that one
    /// connection fills its inbox.
    async fn frames(&self, handle: &ConnectionHandle, texts: Vec<String>) {
        let mut asked = Vec::new();
        let commands = futures_util::stream::iter(texts).map(|text| self.command(text)).buffered(LOOKED_UP);
        let mut commands = pin!(commands);
        while let Some(command) = commands.next().await {
            let answer = match command {
                Command::Subscribe(wanted) => {
                    asked.push(handle.subscribe(wanted));
                    None
                }
                Command::Unsubscribe(sub) => {
                    asked.push(handle.unsubscribe(sub));
                    None
                }
                Command::Answered(answer) => Some(answer),
            };
            if answer.is_some() || asked.len() == MAX_COMMANDS {
                for asked in asked.drain(..) {
                    self.answered(handle, asked).await;
                }
            }
            if let Some(answer) = answer {
                handle.send_buffer().send(&[&answer]);
            }
        }
        for asked in asked {
            self.answered(handle, asked).await;
        }
    }

    /// What a frame wants of the shard, or the answer where that is known here.
    async fn command(&self, text: String) -> Command {
        match protocol::read_client_frame(&text) {
            Ok(ClientFrame::Subscribe(subscribe)) => {
                let sub = subscribe.sub.clone();
                match self.wanted(subscribe).await {
                    Ok(wanted) => Command::Subscribe(wanted),
                    Err((code, message)) => Command::Answered(self.refused(code, message, Some(sub))),
                }
            }
            Ok(ClientFrame::Unsubscribe(unsubscribe)) => Command::Unsubscribe(unsubscribe.sub),
            Ok(ClientFrame::Ping(_)) => Command::Answered(frame::server(&ServerFrame::Pong)),
            Err((code, message, sub)) => Command::Answered(self.refused(code, message, sub)),
        }
    }

    /// Waits for the shard's answer, and has a replay fed where one begins.
    async fn answered(&self, handle: &ConnectionHandle, asked: PendingReply) {
        if let Some(feed) = handle.answered(asked).await {
            self.replay(feed);
        }
    }

    /// Has a replay fed, until it is live or the connection has ended.
    fn replay(&self, feed: Feed) {
        let (broker, catalog, admission) = (self.broker.clone(), self.catalog.clone(), self.admission.clone());
        tokio::spawn(replay::run(broker, catalog, admission, feed, self.replay_bytes));
    }

    /// What a subscription asks for.
    async fn wanted(&self, subscribe: Subscribe) -> Result<SubscribeRequest, (ErrorCode, String)> {
        let Subscribe { sub, channel: name, filter, since } = subscribe;
        let (channel, filter) = self.find(&name, filter.as_ref())?;
        let begin = match since {
            None => Begin::Live { recovered: false },
            Some(text) => {
                let invalid = |message| (ErrorCode::InvalidPosition, message);
                let since: Since = text.parse().map_err(|error: ParseSinceError| invalid(error.to_string()))?;
                let since = since.of(&name).ok_or_else(|| invalid(format!("this cursor says nothing of {name}")))?;
                let unavailable = |error: BrokerError| (ErrorCode::BrokerUnavailable, error.to_string());
                replay::begin(&*self.broker, &self.admission, channel, &since).await.map_err(unavailable)?
            }
        };
        Ok(SubscribeRequest { sub, channel, filter, begin })
    }

    /// The channel and the filter of these names.
    fn find(&self, name: &str, filter: Option<&Value>) -> Result<(ChannelId, Arc<Filter>), (ErrorCode, String)> {
        let Some(channel) = self.catalog.channel(name) else {
            let meant = self.catalog.nearest(name).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            return Err((ErrorCode::UnknownChannel, format!("no such channel here{meant}")));
        };
        let filter = match filter {
            None => Filter::default(),
            Some(filter) => Filter::parse(filter, self.catalog.get(channel)).map_err(|error| match error {
                FilterError::UnknownField(message) => (ErrorCode::UnknownField, message),
                FilterError::Invalid(message) => (ErrorCode::InvalidFilter, message),
            })?,
        };
        Ok((channel, Arc::new(filter)))
    }

    fn refused(&self, code: ErrorCode, message: String, sub: Option<String>) -> Bytes {
        self.metrics.refused(code.as_str());
        let error = ServerFrame::Error { code, message: message.into(), sub: sub.map(Into::into) };
        frame::server(&error)
    }
}

/// Reads what the socket has; whether the connection has ended. Not async, so that the buffer is on the stack and not in
/// every connection's task.
fn pump(inbound: &mut Inbound, send_buffer: &Arc<SendBuffer>, heard: &mut Vec<String>) -> bool {
    let mut buffer = [0; 16 * 1024];
    match send_buffer.stream().try_read(&mut buffer) {
        Ok(0) => {
            send_buffer.cut();
            true
        }
        Ok(read) => {
            send_buffer.mark_received();
            take(inbound, send_buffer, &mut buffer[..read], heard)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
        Err(_) => {
            send_buffer.cut();
            true
        }
    }
}

/// Answers what the protocol answers by itself and collects the texts; whether the connection has ended.
fn take(inbound: &mut Inbound, send_buffer: &Arc<SendBuffer>, bytes: &mut [u8], heard: &mut Vec<String>) -> bool {
    // After a Close of ours only the peer's own counts.
    let closing = send_buffer.is_closing();
    let mut ended = false;
    let read = inbound.read(bytes, |said| {
        match said {
            Message::Text(text) if !closing => heard.push(text),
            Message::Ping(payload) => send_buffer.pong(&payload),
            Message::Close(code) => {
                send_buffer.close_echo(code);
                ended = true;
            }
            Message::Text(_) | Message::Pong => {}
        }
        !ended
    });
    if let Err(violation) = read {
        send_buffer.close(violation.code, violation.reason);
        // What follows cannot be read as frames any more.
        ended = true;
    }
    ended
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker;
    use crate::config::{BrokerConfig, BrokerUrl, FileSync};
    use crate::hub::HubConfig;
    use std::time::Duration;
    use tokio::net::TcpListener;

    /// Ten thousand idle connections are ten thousand of these.
    #[tokio::test]
    async fn the_task_of_a_connection_is_small() {
        let (catalog, metrics) = (Arc::new(Catalog::builtin()), Arc::new(Metrics::default()));
        let config =
            HubConfig { shards: 1, heartbeat: Duration::from_secs(25), max_subscriptions: 1, outbox_bytes: 1024 };
        let hub = Arc::new(Hub::start(&config, &catalog, &metrics).unwrap());
        let broker = BrokerConfig {
            broker: BrokerUrl::Memory,
            file_sync: FileSync::Os,
            prefix: String::new(),
            namespace: String::new(),
            log_max_events: 1,
            log_max_age: Duration::from_secs(1),
            dedup_window: Duration::from_secs(1),
        };
        let (broker, _bus) = broker::open(&broker, &catalog).unwrap();
        let node = "node".to_owned();
        let admission = Admission::new(1, metrics.pending_connections.clone());
        let permit = admission.enter().unwrap();
        let connections = Arc::new(Connections {
            hub,
            broker,
            catalog,
            admission,
            metrics,
            node,
            heartbeat_ms: 25_000,
            max_frame_bytes: 1024,
            replay_bytes: 1024,
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let opening =
            Box::new(Opening { head: Vec::new(), early: Bytes::new(), query: Vec::new(), deflate: true, permit });
        let task = connections.serve(stream, opening);
        assert!(size_of_val(&task) <= 600, "{} bytes", size_of_val(&task));
    }
}
