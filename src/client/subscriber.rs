//! The subscriber: receives events over one WebSocket, with any number of subscriptions, and reconnects by itself.
//!
//! It has no background task: it reads from the connection only while [`Subscriber::next`] is polled. If the consumer is
//! too slow, the daemon's send buffer fills up and the daemon closes the connection (4008). The subscriber then resumes from
//! its position, so that no event is dropped in the middle of a stream.
//!
//! `subscriptions.rs` holds the state of the subscriptions, and `renewal.rs` when the token is renewed; this file holds the
//! connection.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt, stream};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_stream::Stream;
#[cfg(not(feature = "tls"))]
use tokio_tungstenite::connect_async_with_config;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
#[cfg(feature = "tls")]
use tokio_tungstenite::{Connector, connect_async_tls_with_config};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::backoff::{self, Backoff};
use super::renewal::Renewal;
use super::subscription::Subscription;
use super::subscriptions::{ErrorOutcome, SubscribedOutcome, Subscriptions};
use super::syncs::{SyncId, Syncs};
use super::token::HeldToken;
use super::{Client, Error, error, route};
use crate::event::Position;
use crate::protocol::{self, Auth, ClientFrame, CloseCode, ErrorCode, ServerFrame};
use crate::secret::Secret;

/// What [`Subscriber::next`] returns: an event, or a change of the connection or of a subscription.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Update {
    /// A subscription is live: the events after `position` will follow. Sent again after each reconnect.
    Subscribed {
        /// The channel of the subscription.
        channel: Arc<str>,
        /// The subscription has received everything up to here.
        position: Position,
    },
    /// An event. Each event arrives once, in order within its channel.
    Event(Delivery),
    /// The events after `from`, up to and including `position`, are lost: the log no longer has them. It is unknown whether
    /// the subscription's filter would have matched any of them.
    Gap {
        /// The channel of the lost events.
        channel: Arc<str>,
        /// The last position before the gap.
        from: Position,
        /// The last position of the gap.
        position: Position,
    },
    /// A subscription cannot be served yet, because the daemon cannot read the log. The subscriber requests it again after
    /// `retry_in`.
    Delayed {
        /// The channel of the subscription.
        channel: Arc<str>,
        /// The daemon's reason, for people.
        reason: String,
        /// The delay before the next request.
        retry_in: Duration,
    },
    /// The connection was lost or could not be made. The subscriber connects again after `retry_in`.
    Disconnected {
        /// Why, for people.
        reason: String,
        /// The delay before the next attempt.
        retry_in: Duration,
    },
    /// The connection is open, for the first time or after [`Update::Disconnected`].
    Connected {
        /// The id of the node.
        node: String,
    },
    /// The answer to [`Subscriber::sync`]: everything that the log held of these channels when the daemon got the request was
    /// returned before this, as an event or in a gap.
    Synced {
        /// What [`Subscriber::sync`] returned.
        sync: SyncId,
        /// The channels of this connection, and up to where each is complete. A channel whose subscription is
        /// [delayed](Self::Delayed) is missing here, and nothing is proven about it.
        positions: BTreeMap<Arc<str>, Position>,
    },
    /// A [`Subscriber::sync`] was not answered: the daemon cannot ask its broker, or the connection was lost.
    NotSynced {
        /// What [`Subscriber::sync`] returned.
        sync: SyncId,
        /// Why, for people.
        reason: String,
    },
    /// The token was not renewed: its provider failed, or the daemon does not accept the new one. The connection goes on with
    /// the former token until that expires, and the subscriber tries again before.
    NotRenewed {
        /// Why, for people.
        reason: String,
    },
}

/// An event that a subscriber received.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Delivery {
    /// The channel of the event, which is its type.
    pub channel: Arc<str>,
    /// The position of the event in its channel.
    pub position: Position,
    /// The CloudEvent as JSON.
    pub event: Box<RawValue>,
}

/// A connection to a daemon with its subscriptions. Reconnects by itself and resumes where it was.
pub struct Subscriber {
    client: Client,
    /// The number of the node to connect to, modulo the count of nodes. Rises with each lost connection.
    node: usize,
    subscriptions: Subscriptions,
    connection: ConnectionState,
    renewal: Renewal,
    /// The token that has expired on the last connection.
    expired: Option<Secret>,
    backoff: Backoff,
    syncs: Syncs,
    /// Updates that `next` has not returned yet. One frame produces at most two, the end of a connection one more for each
    /// unanswered sync.
    pending: VecDeque<Update>,
}

/// A new connection, and the token that the daemon has accepted.
type Connected = (Socket, Option<Secret>);
type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Each state owns the future it waits for, so that dropping [`Subscriber::next`] halfway loses nothing.
enum ConnectionState {
    /// Waiting until the next attempt.
    Waiting(Instant),
    Connecting(Pin<Box<dyn Future<Output = Result<Connected, Error>> + Send>>),
    Open(Box<OpenConnection>),
}

struct OpenConnection {
    socket: Socket,
    /// The token that the daemon has accepted last.
    token: Option<Secret>,
    /// The token of a renewal that the daemon has not answered.
    pending_token: Option<Secret>,
    /// Frames to send to the daemon.
    outgoing: VecDeque<Message>,
    /// Whether the socket holds frames that were not flushed yet.
    needs_flush: bool,
    /// The daemon is considered gone when nothing has arrived for this long.
    idle_timeout: Duration,
    /// When the last message arrived. Independent of when, and how often, the consumer polls.
    last_received: Instant,
    opened: Instant,
    /// When to leave a draining daemon and connect again, as the daemon asked.
    reconnect_at: Option<Instant>,
    /// Why the daemon closed the connection, once its close frame has arrived.
    close_reason: Option<String>,
    /// The code and the reason of the close frame.
    closed: Option<(u16, String)>,
}

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the closing handshake may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// In bytes. Small, since one process may hold thousands of subscribers.
const READ_BUFFER: usize = 8 * 1024;

impl Subscriber {
    pub(super) fn new(client: Client, subscriptions: Vec<Subscription>) -> Self {
        Self {
            node: client.node(),
            client,
            subscriptions: Subscriptions::new(subscriptions),
            connection: ConnectionState::Waiting(Instant::now()),
            renewal: Renewal::default(),
            expired: None,
            backoff: Backoff::default(),
            syncs: Syncs::default(),
            pending: VecDeque::new(),
        }
    }

    /// Returns the next update. Connects if necessary, and retries without limit after a transient failure.
    ///
    /// Cancel safe: dropping the future, in a `select!` for example, loses no update.
    ///
    /// # Errors
    /// - [`Error::Subscription`]: the daemon refused one subscription. The others continue, so call `next` again.
    /// - [`Error::Unauthenticated`]: the token is missing, or it was refused, has expired or was revoked, and its provider has
    ///   no newer one.
    /// - [`Error::Refused`], [`Error::Closed`], [`Error::Unexpected`] and [`Error::Url`]: the connection was refused for a
    ///   reason that a retry does not change. Calling `next` again connects again.
    pub async fn next(&mut self) -> Result<Update, Error> {
        loop {
            if let Some(update) = self.pending.pop_front() {
                return Ok(update);
            }
            match &mut self.connection {
                ConnectionState::Waiting(until) => {
                    sleep_until(*until).await;
                    let requests = to_messages(self.subscriptions.begin_connection());
                    let connecting = Box::pin(connect(self.client.clone(), self.node, requests, self.expired.clone()));
                    self.connection = ConnectionState::Connecting(connecting);
                }
                ConnectionState::Connecting(connecting) => match connecting.as_mut().await {
                    Ok((socket, token)) => {
                        self.renewal = Renewal::default();
                        let mut open = OpenConnection::new(socket, token);
                        // Behind the subscriptions, which were sent first.
                        open.outgoing.extend(to_messages(self.syncs.unsent()));
                        self.connection = ConnectionState::Open(Box::new(open));
                    }
                    Err(error) => {
                        let retry_after = match &error {
                            Error::Refused(problem) => problem.retry_after,
                            _ => None,
                        };
                        // Jitter on top: the daemon sent the same Retry-After to many clients.
                        let retry_in = retry_after.map(|retry_after| retry_after + self.backoff.next());
                        self.disconnected(error.to_string(), retry_in);
                        if !error.is_transient() {
                            self.pending.clear();
                            return Err(error);
                        }
                    }
                },
                ConnectionState::Open(open) => {
                    let now = Instant::now();
                    let retry_at = self.subscriptions.next_retry_at();
                    if let Some(retry_at) = retry_at.filter(|retry_at| *retry_at <= now) {
                        open.outgoing.extend(to_messages(self.subscriptions.due_retries(retry_at)));
                        continue;
                    }
                    if let Some(credential) = &self.client.credential {
                        self.renewal.begin_if_due(credential, now);
                    }
                    let wake_at = [retry_at, self.renewal.due()];
                    let received = tokio::select! {
                        biased;
                        renewed = self.renewal.renewed() => {
                            self.handle_renewed(renewed)?;
                            continue;
                        }
                        received = open.receive() => received,
                        () = wait_until(wake_at) => continue,
                    };
                    match received {
                        Ok(Some(text)) => self.handle_frame(&text)?,
                        Ok(None) => {}
                        Err(reason) => {
                            let retry_in = open.reconnect_at.map(|at| at.saturating_duration_since(Instant::now()));
                            let closed = open.closed.take();
                            let token = open.token.take();
                            let final_error = closed.and_then(|(code, reason)| self.final_error(code, reason, token));
                            self.disconnected(reason, retry_in);
                            if let Some(error) = final_error {
                                self.pending.clear();
                                return Err(error);
                            }
                        }
                    }
                }
            }
        }
    }

    /// Asks the daemon for a proof that this subscriber has everything: [`Subscriber::next`] returns [`Update::Synced`], after
    /// all that was published before this call and answered with 202, or [`Update::NotSynced`]. Without a connection, the
    /// request is sent on the next one.
    ///
    /// Returns `None` while eight requests have no answer.
    pub fn sync(&mut self) -> Option<SyncId> {
        let (id, frame) = self.syncs.request()?;
        if let ConnectionState::Open(open) = &mut self.connection {
            open.outgoing.extend(to_messages([frame]));
            self.syncs.sent();
        }
        Some(id)
    }

    /// Turns the subscriber into a stream of the results of [`Subscriber::next`]. The stream never ends.
    pub fn into_stream(self) -> impl Stream<Item = Result<Update, Error>> + Send {
        stream::unfold(self, |mut subscriber| async { Some((subscriber.next().await, subscriber)) })
    }

    /// Closes the connection with a closing handshake, for at most 1 s. Dropping a subscriber cuts the connection instead.
    pub async fn close(self) {
        if let ConnectionState::Open(mut open) = self.connection {
            // A failure does not matter: the connection is dropped in any case.
            let _ = timeout(CLOSE_TIMEOUT, open.socket.close(None)).await;
        }
    }

    /// The error of a close code after which the subscriber does not reconnect. `None` if it does: also where a token has
    /// expired whose provider may have a newer one.
    fn final_error(&mut self, code: u16, reason: String, token: Option<Secret>) -> Option<Error> {
        if !CloseCode::is_final(code) {
            return None;
        }
        if code == CloseCode::TokenExpired.as_u16()
            && let (Some(credential), Some(token)) = (&self.client.credential, &token)
            && credential.is_renewable()
        {
            credential.refused(token);
            self.expired = Some(token.clone());
            return None;
        }
        Some(Error::closed(self.client.base(self.node), code, reason, token.is_some()))
    }

    /// The provider has returned a token for the renewal, or has failed.
    fn handle_renewed(&mut self, renewed: Result<HeldToken, Error>) -> Result<(), Error> {
        let ConnectionState::Open(open) = &mut self.connection else { return Ok(()) };
        match renewed {
            // The provider has no newer one yet.
            Ok(token) if open.token.as_ref() == Some(&token.secret) => self.renewal.schedule(),
            Ok(token) => {
                open.pending_token = Some(token.secret.clone());
                open.outgoing.extend(to_messages([ClientFrame::Auth(Auth { token: token.secret })]));
            }
            Err(error) if error.is_transient() => {
                self.renewal.schedule_again();
                self.pending.push_back(Update::NotRenewed { reason: error.to_string() });
            }
            Err(error) => {
                self.disconnected(error.to_string(), None);
                self.pending.clear();
                return Err(error);
            }
        }
        Ok(())
    }

    /// Schedules the next attempt, at the next node: after `retry_in` if the daemon named a time, or after a backoff delay.
    fn disconnected(&mut self, reason: String, retry_in: Option<Duration>) {
        // A daemon in trouble may accept connections and cut them soon after. Only a connection that lasted resets the
        // backoff.
        if let ConnectionState::Open(open) = &self.connection
            && open.opened.elapsed() >= backoff::MAX_DELAY
        {
            self.backoff.reset();
        }
        let retry_in = retry_in.unwrap_or_else(|| self.backoff.next());
        self.node = self.node.wrapping_add(1);
        self.connection = ConnectionState::Waiting(Instant::now() + retry_in);
        for sync in self.syncs.lost() {
            self.pending.push_back(Update::NotSynced { sync, reason: "the connection was lost".into() });
        }
        self.pending.push_back(Update::Disconnected { reason, retry_in });
    }

    /// Handles one frame of the daemon.
    fn handle_frame(&mut self, text: &str) -> Result<(), Error> {
        /// An `event` frame. Most frames are events, so this fast path parses them directly and copies the event once.
        #[derive(Deserialize)]
        struct EventFrame<'a> {
            #[serde(rename = "type", borrow)]
            kind: Cow<'a, str>,
            position: Option<Position>,
            event: Option<Box<RawValue>>,
        }
        if let Ok(EventFrame { kind, position: Some(position), event: Some(event) }) = serde_json::from_str(text)
            && kind == "event"
        {
            return self.handle_event(position, event);
        }
        let Ok(frame) = serde_json::from_str::<ServerFrame<'_>>(text) else {
            // A later version of the daemon may send it.
            tracing::debug!(bytes = text.len(), "ignored an unknown frame");
            return Ok(());
        };
        let ConnectionState::Open(open) = &mut self.connection else { return Ok(()) };
        match frame {
            ServerFrame::Welcome { node, heartbeat_ms, expires_in_ms, .. } => {
                // Two heartbeat intervals, and half of one for the network.
                let idle_timeout = Duration::from_millis(heartbeat_ms.saturating_mul(5) / 2);
                open.idle_timeout = idle_timeout.max(Duration::from_millis(100));
                self.pending.push_back(Update::Connected { node: node.into_owned() });
                self.authenticated(expires_in_ms);
            }
            ServerFrame::Authenticated { expires_in_ms } => {
                open.token = open.pending_token.take().or(open.token.take());
                self.authenticated(expires_in_ms);
            }
            ServerFrame::Error { code: ErrorCode::Unauthenticated, message, sub: None, id: None }
                if open.pending_token.is_some() =>
            {
                if let (Some(credential), Some(refused)) = (&self.client.credential, open.pending_token.take()) {
                    credential.refused(&refused);
                }
                self.renewal.schedule();
                self.pending.push_back(Update::NotRenewed { reason: message.into_owned() });
            }
            ServerFrame::Subscribed { sub, channel, position, recovered } => {
                match self.subscriptions.subscribed(&sub, &channel, position, recovered) {
                    SubscribedOutcome::Live(channel, position, frame) => {
                        open.outgoing.extend(to_messages(frame));
                        self.pending.push_back(Update::Subscribed { channel, position });
                    }
                    SubscribedOutcome::Ignored => {}
                    SubscribedOutcome::Reconnect => {
                        self.disconnected(
                            "a stream begins after the position of one of its subscriptions".into(),
                            None,
                        );
                    }
                }
            }
            ServerFrame::Gap { channel, from, position } => {
                if self.subscriptions.gap(&channel, &from, &position) {
                    self.pending.push_back(Update::Gap { channel: channel.into(), from, position });
                }
            }
            ServerFrame::Heartbeat { positions } => {
                positions.iter().for_each(|(channel, position)| self.subscriptions.advance(channel, position));
            }
            ServerFrame::Synced { id, positions } => {
                if let Some(sync) = self.syncs.answered(&id) {
                    let positions = positions.into_iter().map(|(channel, at)| (channel.as_ref().into(), at)).collect();
                    self.pending.push_back(Update::Synced { sync, positions });
                }
            }
            ServerFrame::Error { message, id: Some(id), .. } => {
                if let Some(sync) = self.syncs.answered(&id) {
                    self.pending.push_back(Update::NotSynced { sync, reason: message.into_owned() });
                }
            }
            ServerFrame::Error { code, message, sub, id: None } => {
                let message = message.into_owned();
                let channel = match self.subscriptions.error(code, sub.as_deref()) {
                    ErrorOutcome::Reconnect => {
                        self.disconnected(message, None);
                        return Ok(());
                    }
                    ErrorOutcome::Delayed(channel, retry_in) => {
                        self.pending.push_back(Update::Delayed { channel, reason: message, retry_in });
                        return Ok(());
                    }
                    ErrorOutcome::Refused(channel, frame) => {
                        open.outgoing.extend(to_messages(frame));
                        channel.to_string()
                    }
                    ErrorOutcome::RefusedAndReconnect(channel) => {
                        self.disconnected(message.clone(), None);
                        channel.to_string()
                    }
                    ErrorOutcome::NotASubscription => "the connection".into(),
                };
                return Err(Error::Subscription { channel, code: code.as_str().to_owned(), message });
            }
            ServerFrame::Draining { reconnect_in_ms } => {
                open.reconnect_at = Some(Instant::now() + Duration::from_millis(reconnect_in_ms));
            }
            ServerFrame::Event { .. } | ServerFrame::Unsubscribed { .. } | ServerFrame::Pong => {}
        }
        Ok(())
    }

    /// The daemon has accepted the token of the connection, and said for how long.
    fn authenticated(&mut self, expires_in_ms: Option<u64>) {
        let expires = expires_in_ms.and_then(|ms| Instant::now().checked_add(Duration::from_millis(ms)));
        if let (ConnectionState::Open(open), Some(credential)) = (&self.connection, &self.client.credential)
            && let Some(token) = &open.token
        {
            credential.expires(token, expires);
            self.renewal.expires(expires.filter(|_| credential.is_renewable()));
        }
    }

    fn handle_event(&mut self, position: Position, event: Box<RawValue>) -> Result<(), Error> {
        let Some((channel, is_new)) = self.subscriptions.event(&position, &event) else {
            return Err(self.client.unexpected("the daemon sent an event without a type".into()));
        };
        if is_new {
            self.pending.push_back(Update::Event(Delivery { channel, position, event }));
        }
        Ok(())
    }
}

impl OpenConnection {
    fn new(socket: Socket, token: Option<Secret>) -> Self {
        let now = Instant::now();
        Self {
            socket,
            token,
            pending_token: None,
            outgoing: VecDeque::new(),
            needs_flush: false,
            // Until `welcome` names the heartbeat interval.
            idle_timeout: HANDSHAKE_TIMEOUT,
            last_received: now,
            opened: now,
            reconnect_at: None,
            close_reason: None,
            closed: None,
        }
    }

    /// Sends the outgoing frames. Cancel safe: no frame is sent twice or lost.
    async fn send_outgoing(&mut self) -> Result<(), tungstenite::Error> {
        while let Some(frame) = self.outgoing.front() {
            self.socket.feed(frame.clone()).await?;
            // There is no await between a successful `feed` and this line, so the frame cannot be fed twice.
            self.outgoing.pop_front();
            self.needs_flush = true;
        }
        if self.needs_flush {
            self.socket.flush().await?;
            self.needs_flush = false;
        }
        Ok(())
    }

    /// Sends the outgoing frames, then receives one message. Returns its text, or `None` if it is not a text message. Fails
    /// with the reason if the connection has ended.
    async fn receive(&mut self) -> Result<Option<tungstenite::Utf8Bytes>, String> {
        let deadline = match (&self.close_reason, self.reconnect_at) {
            (Some(_), _) => self.last_received + CLOSE_TIMEOUT,
            (None, Some(at)) => at.min(self.last_received + self.idle_timeout),
            (None, None) => self.last_received + self.idle_timeout,
        };
        match timeout_at(self.last_received + self.idle_timeout, self.send_outgoing()).await {
            Ok(sent) => sent.map_err(|error| error.to_string())?,
            Err(_) => return Err("the daemon does not read from the connection".into()),
        }
        // The deadline may have passed while the consumer did not poll. The runtime polls sockets before it fires timers, so
        // a message that arrived in the meantime is received first.
        let Ok(message) = timeout_at(deadline, self.socket.next()).await else {
            return Err(self.close_reason.take().unwrap_or_else(|| match self.reconnect_at {
                Some(_) => "the node is about to stop".into(),
                None => format!("no sign of life for {} ms", self.last_received.elapsed().as_millis()),
            }));
        };
        self.last_received = Instant::now();
        match message {
            Some(Ok(Message::Text(text))) => Ok(Some(text)),
            Some(Ok(Message::Close(frame))) => {
                self.close_reason = Some(match frame {
                    Some(frame) => {
                        let (code, reason) = (u16::from(frame.code), frame.reason.to_string());
                        self.closed = Some((code, reason.clone()));
                        Error::Closed { code, reason }.to_string()
                    }
                    None => "closed by the daemon".into(),
                });
                // The next read sends our close frame, which completes the closing handshake.
                Ok(None)
            }
            Some(Ok(_)) => Ok(None),
            Some(Err(error)) => Err(self.close_reason.take().unwrap_or_else(|| error.to_string())),
            None => Err(self.close_reason.take().unwrap_or_else(|| "the connection was cut".into())),
        }
    }
}

/// The WebSocket messages for these frames.
fn to_messages(frames: impl IntoIterator<Item = ClientFrame>) -> Vec<Message> {
    frames.into_iter().filter_map(|frame| serde_json::to_string(&frame).ok()).map(Message::from).collect()
}

/// Waits until the earliest of these times; for ever if there is none.
async fn wait_until(times: [Option<Instant>; 2]) {
    match times.into_iter().flatten().min() {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Opens a WebSocket to a node and sends the first requests. Returns the token that the daemon has accepted, too. `expired` is a
/// token that it does not accept any more.
async fn connect(
    client: Client,
    node: usize,
    requests: Vec<Message>,
    expired: Option<Secret>,
) -> Result<Connected, Error> {
    let Some(credential) = &client.credential else {
        return Ok((handshake(&client, node, requests, None).await?, None));
    };
    let token = credential.get().await?;
    if expired.as_ref() == Some(&token.secret) {
        let reason = "the token has expired".into();
        return Err(Error::closed(client.base(node), CloseCode::TokenExpired.as_u16(), reason, true));
    }
    let refusal = match handshake(&client, node, requests.clone(), Some(&token)).await {
        Ok(socket) => return Ok((socket, Some(token.secret))),
        Err(error) if error.is_unauthenticated() => error,
        Err(error) => return Err(error),
    };
    credential.refused(&token.secret);
    // A token that was held may have expired while this process, or the whole machine, slept.
    if !credential.is_renewable() || token.is_new {
        return Err(refusal);
    }
    let new = credential.get().await?;
    if new.secret == token.secret {
        return Err(refusal);
    }
    match handshake(&client, node, requests, Some(&new)).await {
        Ok(socket) => Ok((socket, Some(new.secret))),
        Err(error) => {
            if error.is_unauthenticated() {
                credential.refused(&new.secret);
            }
            Err(error)
        }
    }
}

/// Opens a WebSocket to a node with this token, and sends the first requests.
async fn handshake(
    client: &Client,
    node: usize,
    requests: Vec<Message>,
    token: Option<&HeldToken>,
) -> Result<Socket, Error> {
    let base = client.base(node);
    let mut url = route(base, &["v1", "ws"]);
    // Cannot fail: the URL standard allows a change from one "special" scheme (http) to another (ws).
    let _ = url.set_scheme(if base.scheme() == "https" { "wss" } else { "ws" });
    let mut request = url.as_str().into_client_request().map_err(|error| Error::Url(error.to_string()))?;
    let headers = request.headers_mut();
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol::SUBPROTOCOL));
    if let Some(token) = token {
        headers.insert(header::AUTHORIZATION, token.header()?);
    }
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER);
    let connecting = async {
        #[cfg(feature = "tls")]
        let connecting = {
            let connector = Connector::Rustls(client.tls_config.clone());
            connect_async_tls_with_config(request, Some(config), true, Some(connector))
        };
        #[cfg(not(feature = "tls"))]
        let connecting = connect_async_with_config(request, Some(config), true);
        let (mut socket, _) = connecting.await?;
        for request in requests {
            socket.feed(request).await?;
        }
        socket.flush().await?;
        Ok(socket)
    };
    match timeout(HANDSHAKE_TIMEOUT, connecting).await {
        Ok(Ok(socket)) => Ok(socket),
        Ok(Err(tungstenite::Error::Http(response))) => {
            let body = response.body().as_deref().unwrap_or_default();
            let refused = Error::not_upgraded(base, response.status().as_u16(), response.headers(), body);
            Err(refused.or_unauthenticated(base, token.is_some()))
        }
        Ok(Err(error)) => Err(Error::no_websocket(base, &error)),
        Err(_) => {
            let cause = format!("the WebSocket handshake took longer than {} s", HANDSHAKE_TIMEOUT.as_secs());
            Err(Error::Unreachable { url: error::redacted(base), cause, sent: false })
        }
    }
}
