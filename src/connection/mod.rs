//! One connection: reads what the client says, translates it into calls of the application layer, and tells its shard.
//! The shard does the sending. WebSockets are here, event streams in `events.rs`.
//!
//! The task of an idle connection holds nothing but its handle in the hub. It reads into a buffer on the stack, and keeps
//! only an incomplete frame.

mod echo;
mod events;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod inbound;
mod list;
mod opening;
mod sync;

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::Semaphore;

use crate::access::Caller;
use crate::bus::{Bus, NotRenewed, Subscription, expires_in_ms};
use crate::event::Catalog;
use crate::hub::{ConnectionHandle, Encoding, Feed, Hub, NewConnection, PendingReply, SendBuffer, frame};
use crate::metrics::Metrics;
use crate::protocol::{self, BadFrame, ClientFrame, CloseCode, ErrorCode, Problem, ServerFrame, Subscribe};
use crate::rate::{Rate, Used};
use crate::replay;
use crate::supervision::TaskGroup;
use crate::transport::Transport;
pub use echo::Echo;
pub use events::StreamOpening;
use inbound::{Inbound, Message};
pub use list::Listed;
pub use opening::{Admitted, Client, MAX_UNAUTHENTICATED, Opening, OpeningQuery};

/// What was read of a client's frame, or what is wrong with it.
type ReadFrame = Result<ClientFrame, BadFrame>;

/// Commands that a shard is given before this waits for the answers.
const MAX_COMMANDS: usize = 64;
/// Subscriptions of a connection whose beginnings are looked up in the log at a time.
const CONCURRENT_LOOKUPS: usize = 8;

/// What all connections of a node share.
pub struct Connections {
    pub bus: Arc<Bus>,
    pub catalog: Arc<Catalog>,
    /// The hub of each namespace, by its number.
    pub hubs: Vec<Arc<Hub>>,
    pub metrics: Arc<Metrics>,
    /// The tasks of replays and of `sync` frames.
    pub tasks: TaskGroup,
    /// A permit for each connection that waits for its client's credential.
    pub unauthenticated: Arc<Semaphore>,
    /// This node's name, for `welcome`.
    pub node: String,
    pub heartbeat_ms: u64,
    pub max_frame_bytes: usize,
    /// The most bytes that a replay sends at a time.
    pub replay_bytes: usize,
    /// The frames that a client may send.
    pub frame_rate: Rate,
    /// The beginning of the clock of all rates.
    pub started: Instant,
}

/// What a client's frame comes to.
enum Command {
    Subscribe(Subscription),
    Unsubscribe(String),
    /// The `id` of a `sync`.
    Sync(String),
    /// The answer, if it needs no shard.
    Answer(Bytes),
}

impl Connections {
    /// Serves a WebSocket from the response to its handshake to its end.
    ///
    /// What happens once or seldom is boxed: the task of an idle connection is as large as the largest future it holds.
    pub async fn serve(self: Arc<Self>, stream: Transport, opening: Box<Opening>) {
        let mut inbound = Inbound::of_stranger();
        let Some((mut caller, handle, early)) = Box::pin(self.open(stream, opening, &mut inbound)).await else {
            return;
        };
        self.listen(&mut caller, &handle, &mut inbound, early).await;
        let send_buffer = handle.send_buffer().clone();
        Box::pin(async move {
            // First, so that the connection does not count as subscribed while it closes.
            handle.leave().await;
            send_buffer.finish().await;
        })
        .await;
    }

    /// Takes the connection in; returns who the client is, and what it sent early. `None` if the connection has ended.
    async fn open(
        &self,
        mut stream: Transport,
        opening: Box<Opening>,
        inbound: &mut Inbound,
    ) -> Option<(Caller, ConnectionHandle, Vec<u8>)> {
        let Opening { head: mut greeting, mut early, deflate, client, origin, address } = *opening;
        let admitted = match client {
            Client::Known(admitted) => admitted,
            Client::Unknown { permit: _permit, query } => {
                let admitted = self.identified(&mut stream, &greeting, &mut early, inbound, query, origin).await?;
                greeting.clear();
                admitted
            }
        };
        inbound.set_limits(self.max_frame_bytes, deflate);
        let Admitted { caller, permit, subscriptions, problems } = admitted;
        let mut session = uuid::Uuid::encode_buffer();
        let id = uuid::Uuid::now_v7();
        let session: &str = id.hyphenated().encode_lower(&mut session);
        let welcome = ServerFrame::Welcome {
            protocol: protocol::VERSION,
            session: session.into(),
            node: self.node.as_str().into(),
            heartbeat_ms: self.heartbeat_ms,
            expires_in_ms: caller.principal().and_then(|principal| expires_in_ms(principal)),
        };
        greeting.extend_from_slice(&frame::server(&welcome));
        for (sub, problem) in problems {
            greeting.extend_from_slice(&self.refused(problem, sub));
        }
        let in_log = subscriptions.iter().any(Subscription::begins_in_log);
        let encoding = Encoding::WebSocket { deflate };
        let new = NewConnection {
            id,
            address,
            greeting,
            subscriptions,
            encoding,
            principal: caller.principal().cloned(),
            cursors: self.bus.cursor_bases(&caller).clone(),
            permit,
        };
        let hub = self.hub(&caller);
        if !in_log {
            let handle = hub.join(stream, new);
            return Some((caller, handle, early));
        }
        let (handle, feeds) = hub.join_from_log(stream, new).await;
        feeds.into_iter().for_each(|feed| self.replay(&caller, feed));
        Some((caller, handle, early))
    }

    /// Reads until the peer has closed, is gone, or has broken the protocol.
    async fn listen(&self, caller: &mut Caller, handle: &ConnectionHandle, inbound: &mut Inbound, mut early: Vec<u8>) {
        let send_buffer = handle.send_buffer();
        let mut texts = Vec::new();
        let mut used = 0;
        let mut ended = take(inbound, send_buffer, &mut early, &mut texts) || self.exceeded(inbound, &mut used, handle);
        drop(early);
        loop {
            if ended && send_buffer.is_closing() {
                // It was closed for what it sent: the rest is not done.
                texts.clear();
            }
            if !texts.is_empty() {
                Box::pin(self.frames(caller, handle, std::mem::take(&mut texts))).await;
            }
            // Not `readable()`: it would keep the waker that hyper may have left in the socket, and with it the
            // handshake's task, more than a kilobyte, for as long as the connection lasts.
            if ended || poll_fn(|context| send_buffer.stream().poll_read_ready(context)).await.is_err() {
                return;
            }
            ended = pump(inbound, send_buffer, &mut texts) || self.exceeded(inbound, &mut used, handle);
            // Readiness alone never yields: a peer that sends without end must not keep the thread.
            tokio::task::yield_now().await;
        }
    }

    /// Counts the frames that have come. Closes the connection if they are over the rate, and returns whether they are.
    fn exceeded(&self, inbound: &mut Inbound, used: &mut Used, handle: &ConnectionHandle) -> bool {
        let frames = inbound.take_frames();
        if frames == 0 {
            return false;
        }
        let now = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let exceeded = self.frame_rate.take(used, now, frames.into()).is_err();
        if exceeded {
            self.metrics.refused(ErrorCode::RateLimited.as_str());
            handle.send_buffer().close(CloseCode::RateLimited, "more frames came than frame_rate allows");
        }
        exceeded
    }

    /// Does what the client said, in order. An `auth` changes what the frames after it may do, so these wait for it.
    async fn frames(&self, caller: &mut Caller, handle: &ConnectionHandle, texts: Vec<String>) {
        let mut before = Vec::new();
        for text in texts {
            match protocol::read_client_frame(&text) {
                Ok(ClientFrame::Auth(auth)) => {
                    self.commands(caller, handle, std::mem::take(&mut before)).await;
                    self.renew(caller, handle, auth.token.expose()).await;
                }
                frame => before.push(frame),
            }
        }
        self.commands(caller, handle, before).await;
    }

    /// Renews the connection's credential.
    async fn renew(&self, caller: &mut Caller, handle: &ConnectionHandle, token: &str) {
        if !self.bus.has_auth() {
            let authenticated = frame::server(&ServerFrame::Authenticated { expires_in_ms: None });
            handle.send_buffer().send(&[&authenticated]);
            return;
        }
        match self.bus.renew(caller, token).await {
            Ok((renewed, renewal)) => {
                handle.answered(handle.renew(renewal)).await;
                *caller = renewed;
            }
            Err(NotRenewed::Refused(problem)) => handle.send_buffer().send(&[&self.refused(problem, None)]),
            Err(NotRenewed::SomebodyElse) => {
                let reason = "the credential is somebody else's: open another connection for it";
                handle.send_buffer().close(CloseCode::Forbidden, reason);
            }
        }
    }

    /// Several beginnings are looked up in the log at a time, so that a client which resumes a hundred subscriptions does not
    /// wait for a hundred round trips. The shard gets several commands before this waits for its answers: otherwise a
    /// hundred subscriptions would wake two hundred threads in turn. But it does not get so many that one connection fills
    /// its inbox.
    async fn commands(&self, caller: &Caller, handle: &ConnectionHandle, frames: Vec<ReadFrame>) {
        let mut pending = Vec::new();
        let commands = futures_util::stream::iter(frames).map(|frame| self.command(caller, frame));
        let mut commands = pin!(commands.buffered(CONCURRENT_LOOKUPS));
        while let Some(command) = commands.next().await {
            let answer = match command {
                Command::Subscribe(subscription) => {
                    pending.push(handle.subscribe(subscription));
                    None
                }
                Command::Unsubscribe(sub) => {
                    pending.push(handle.unsubscribe(sub));
                    None
                }
                Command::Sync(id) => {
                    let ticket = handle.sync(id);
                    self.tasks.spawn("sync", sync::run(self.bus.clone(), caller.clone(), ticket));
                    None
                }
                Command::Answer(answer) => Some(answer),
            };
            if answer.is_some() || pending.len() == MAX_COMMANDS {
                for reply in pending.drain(..) {
                    self.answered(caller, handle, reply).await;
                }
            }
            if let Some(answer) = answer {
                handle.send_buffer().send(&[&answer]);
            }
        }
        for reply in pending {
            self.answered(caller, handle, reply).await;
        }
    }

    /// Translates a frame into a command for the shard, or into its answer.
    async fn command(&self, caller: &Caller, frame: ReadFrame) -> Command {
        match frame {
            Ok(ClientFrame::Subscribe(Subscribe { sub, channel, filter, since })) => {
                let resolved =
                    self.bus.subscribe(caller, sub.clone(), &channel, filter.as_ref(), since.as_deref()).await;
                match resolved {
                    Ok(subscription) => Command::Subscribe(subscription),
                    Err(problem) => Command::Answer(self.refused(problem, Some(sub))),
                }
            }
            Ok(ClientFrame::Unsubscribe(unsubscribe)) => Command::Unsubscribe(unsubscribe.sub),
            Ok(ClientFrame::Sync(sync)) => Command::Sync(sync.id),
            // `auth` never comes here.
            Ok(ClientFrame::Ping(_) | ClientFrame::Auth(_)) => Command::Answer(frame::server(&ServerFrame::Pong)),
            Err(BadFrame { code, message, sub, id }) => Command::Answer(self.error(code, message, sub, id)),
        }
    }

    /// Waits for the shard's answer, and starts the replay if one begins.
    async fn answered(&self, caller: &Caller, handle: &ConnectionHandle, reply: PendingReply) {
        if let Some(feed) = handle.answered(reply).await {
            self.replay(caller, feed);
        }
    }

    /// Starts a replay, which ends when it is live or the connection has ended.
    fn replay(&self, caller: &Caller, feed: Feed) {
        let (reader, chunk) = (self.bus.reader(caller, feed.channel), self.replay_bytes);
        let channel = self.catalog.get(feed.channel).name.clone();
        self.tasks.spawn("replay", async move { replay::run(reader, feed, &channel, chunk).await });
    }

    fn hub(&self, caller: &Caller) -> &Hub {
        &self.hubs[caller.namespace().index()]
    }

    fn refused(&self, problem: Problem, sub: Option<String>) -> Bytes {
        if let Some(cause) = &problem.cause {
            tracing::debug!(code = %problem.code, cause, "a subscription failed");
        }
        self.error(problem.code, problem.detail, sub, None)
    }

    fn error(&self, code: ErrorCode, message: String, sub: Option<String>, id: Option<String>) -> Bytes {
        self.metrics.refused(code.as_str());
        if id.is_some() {
            self.metrics.sync_failed(code.as_str());
        }
        let (sub, id) = (sub.map(Into::into), id.map(Into::into));
        frame::server(&ServerFrame::Error { code, message: message.into(), sub, id })
    }
}

/// Reads what the socket has; returns whether the connection has ended. Not async, so that the buffer is on the stack and
/// not in every connection's task.
fn pump(inbound: &mut Inbound, send_buffer: &Arc<SendBuffer>, texts: &mut Vec<String>) -> bool {
    let mut buffer = [0; 16 * 1024];
    match send_buffer.stream().try_read(&mut buffer) {
        Ok(0) => {
            send_buffer.shut_down();
            true
        }
        Ok(read) => {
            send_buffer.mark_received();
            take(inbound, send_buffer, &mut buffer[..read], texts)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
        Err(_) => {
            send_buffer.shut_down();
            true
        }
    }
}

/// Answers control frames and collects the texts; returns whether the connection has ended.
fn take(inbound: &mut Inbound, send_buffer: &Arc<SendBuffer>, bytes: &mut [u8], texts: &mut Vec<String>) -> bool {
    // After our own Close only the peer's Close counts.
    let closing = send_buffer.is_closing();
    let mut ended = false;
    let mut asked = 0;
    let read = inbound.read(bytes, |message| {
        match message {
            Message::Text(text) if !closing => texts.push(text),
            Message::Ping(payload) => send_buffer.pong(&payload),
            Message::Close(code) => {
                send_buffer.close_echo(code);
                ended = true;
            }
            Message::Pong(payload) => asked += u32::from(send_buffer.ponged(&payload)),
            Message::Text(_) => {}
        }
        !ended
    });
    inbound.forgive_frames(asked);
    if let Err(violation) = read {
        send_buffer.close(violation.code, violation.reason);
        // What follows cannot be read as frames any more.
        ended = true;
    }
    ended
}
