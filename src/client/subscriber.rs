//! The receiving side: one WebSocket with any number of subscriptions, which comes back by itself.
//!
//! There is no task behind it. The connection lives while [`Subscriber::next`] is called, so a consumer that does not
//! keep up holds the daemon back, which closes it (4008) rather than drop something from the middle.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, Stream, StreamExt, stream};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use super::backoff::{self, Backoff};
use super::streams::{Answer, Streams, Trouble};
use super::{Client, Error, error, route};
use crate::event::Position;
use crate::protocol::{self, ClientFrame, CloseCode, ServerFrame};

/// What a subscriber wants of a channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Subscription {
    pub channel: Arc<str>,
    /// `where`: which events, all where there is none. See [`Filter`](crate::event::Filter).
    pub filter: Option<Value>,
    /// From where: a position, a cursor, `start`, a time or an age; see [`Since`](crate::event::Since). From now on where
    /// there is none.
    pub since: Option<String>,
}

impl Subscription {
    /// All events of a channel.
    pub fn to(channel: &str) -> Self {
        Self { channel: channel.into(), filter: None, since: None }
    }

    /// First what the log has from there on.
    pub fn since(mut self, since: impl Into<String>) -> Self {
        self.since = Some(since.into());
        self
    }

    /// Only the events that the filter lets through.
    pub fn only(mut self, filter: Value) -> Self {
        self.filter = Some(filter);
        self
    }
}

/// What a subscriber is told.
#[derive(Debug, Clone)]
pub enum Update {
    /// A subscription stands: what comes after `position` will be delivered. Comes again after each reconnect.
    Subscribed {
        channel: Arc<str>,
        position: Position,
    },
    Event(Delivery),
    /// Events after `from` up to and including `position` cannot be delivered: the log no longer has them (a filter might
    /// not have let any of them through).
    Gap {
        channel: Arc<str>,
        from: Position,
        position: Position,
    },
    /// A subscription cannot be served yet, since the log cannot be read; it is asked for again after `retry_in`.
    Delayed {
        channel: Arc<str>,
        reason: String,
        retry_in: Duration,
    },
    /// The connection ended or was not made; the next attempt begins after `retry_in`.
    Disconnected {
        reason: String,
        retry_in: Duration,
    },
    /// The connection stands again after a [`Update::Disconnected`], or for the first time.
    Connected {
        node: String,
    },
}

/// An event, as it arrived.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub channel: Arc<str>,
    pub position: Position,
    /// The CloudEvent's JSON.
    pub event: Box<RawValue>,
}

/// A connection to a daemon, with its subscriptions.
pub struct Subscriber {
    client: Client,
    /// Counts up: which of the client's nodes is, or will be, at the other end.
    node: usize,
    streams: Streams,
    link: Link,
    backoff: Backoff,
    /// What one frame meant beyond its first update: never more than two.
    pending: VecDeque<Update>,
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Each state holds what it waits for, so that a [`Subscriber::next`] which is dropped half-way loses nothing.
enum Link {
    /// Until then.
    Waiting(Instant),
    Connecting(Pin<Box<dyn Future<Output = Result<Socket, Error>> + Send>>),
    Up(Box<Up>),
}

struct Up {
    socket: Socket,
    /// What is still to be said to the daemon.
    say: VecDeque<Message>,
    /// Something was said that may not have left yet.
    said: bool,
    /// Nothing for that long means that nobody is there.
    silence: Duration,
    /// When something came last: how often we are asked, and for how long, has nothing to do with it.
    heard: Instant,
    /// Since when it is there.
    since: Instant,
    /// When the daemon, which is about to stop, wants us to come back.
    come_back: Option<Instant>,
    /// Why the connection ends, once that is known.
    reason: Option<String>,
    /// The same, where another one would end like that.
    refused: Option<Error>,
}

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the goodbye of either side may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Small, since a process may hold thousands of subscribers (as `tidings bench` does).
const READ_BUFFER: usize = 8 * 1024;

impl Subscriber {
    pub(super) fn new(client: Client, subscriptions: Vec<Subscription>) -> Self {
        Self {
            node: client.node(),
            client,
            streams: Streams::new(subscriptions),
            link: Link::Waiting(Instant::now()),
            backoff: Backoff::default(),
            pending: VecDeque::new(),
        }
    }

    /// The next thing to know. Connects, and after a loss connects again, for as long as it takes.
    ///
    /// May be dropped before it is done (in a `select!`, say) without losing anything.
    ///
    /// # Errors
    /// [`Error::Subscription`] for a subscription that the daemon refuses: the others go on. [`Error::Refused`],
    /// [`Error::Closed`] and [`Error::Unexpected`] where trying again as it is would be refused again.
    pub async fn next(&mut self) -> Result<Update, Error> {
        loop {
            if let Some(update) = self.pending.pop_front() {
                return Ok(update);
            }
            match &mut self.link {
                Link::Waiting(until) => {
                    sleep_until(*until).await;
                    let requests = texts(self.streams.ask());
                    self.link = Link::Connecting(Box::pin(connect(self.client.clone(), self.node, requests)));
                }
                Link::Connecting(connecting) => match connecting.as_mut().await {
                    Ok(socket) => {
                        let now = Instant::now();
                        let up = Up {
                            socket,
                            say: VecDeque::new(),
                            said: false,
                            silence: HANDSHAKE_TIMEOUT,
                            heard: now,
                            since: now,
                            come_back: None,
                            reason: None,
                            refused: None,
                        };
                        self.link = Link::Up(Box::new(up));
                    }
                    Err(error) => {
                        let asked = match &error {
                            Error::Refused(problem) => problem.retry_after,
                            _ => None,
                        };
                        // Those who were asked to come in the same second do not come at once.
                        let retry_in = asked.map(|asked| asked + self.backoff.next());
                        self.lost(error.to_string(), retry_in);
                        if !error.is_transient() {
                            self.pending.clear();
                            return Err(error);
                        }
                    }
                },
                Link::Up(up) => {
                    let received = match self.streams.next_turn() {
                        None => up.receive().await,
                        Some(turn) if turn <= Instant::now() => {
                            up.say.extend(texts(self.streams.ask_again(turn)));
                            continue;
                        }
                        Some(turn) => match timeout_at(turn, up.receive()).await {
                            Ok(received) => received,
                            Err(_) => continue,
                        },
                    };
                    match received {
                        Ok(Some(text)) => self.take(&text)?,
                        Ok(None) => {}
                        Err(reason) => {
                            let come_back = up.come_back.map(|at| at.saturating_duration_since(Instant::now()));
                            let refused = up.refused.take();
                            self.lost(reason, come_back);
                            if let Some(error) = refused {
                                self.pending.clear();
                                return Err(error);
                            }
                        }
                    }
                }
            }
        }
    }

    /// The same as a stream, which never ends.
    pub fn into_stream(self) -> impl Stream<Item = Result<Update, Error>> + Send {
        stream::unfold(self, |mut subscriber| async { Some((subscriber.next().await, subscriber)) })
    }

    /// Says goodbye to the daemon; dropping a subscriber just hangs up.
    pub async fn close(self) {
        if let Link::Up(mut up) = self.link {
            // Whether the daemon hears it or not, we are gone.
            let _ = timeout(CLOSE_TIMEOUT, up.socket.close(None)).await;
        }
    }

    /// The next attempt is at the next node, when the daemon said or else when that seems advisable.
    fn lost(&mut self, reason: String, retry_in: Option<Duration>) {
        // Who is cut off soon after having been answered is not in luck: only a connection that lasted is a success.
        if let Link::Up(up) = &self.link
            && up.since.elapsed() >= backoff::LONGEST
        {
            self.backoff.reset();
        }
        let retry_in = retry_in.unwrap_or_else(|| self.backoff.next());
        self.node = self.node.wrapping_add(1);
        self.link = Link::Waiting(Instant::now() + retry_in);
        self.pending.push_back(Update::Disconnected { reason, retry_in });
    }

    /// Understands one frame of the daemon.
    fn take(&mut self, text: &str) -> Result<(), Error> {
        /// Events are by far the most: they are read without a detour, and copied once.
        #[derive(Deserialize)]
        struct Frame<'a> {
            #[serde(rename = "type", borrow)]
            kind: Cow<'a, str>,
            position: Option<Position>,
            event: Option<Box<RawValue>>,
        }
        if let Ok(Frame { kind, position: Some(position), event: Some(event) }) = serde_json::from_str(text)
            && kind == "event"
        {
            return self.take_event(position, event);
        }
        let Ok(frame) = serde_json::from_str::<ServerFrame<'_>>(text) else {
            // A frame of a later version.
            tracing::debug!(bytes = text.len(), "a frame that this client does not know");
            return Ok(());
        };
        let Link::Up(up) = &mut self.link else { return Ok(()) };
        match frame {
            ServerFrame::Welcome { node, heartbeat_ms, .. } => {
                // Two heartbeats, and half of one for what is on its way.
                up.silence = Duration::from_millis(heartbeat_ms.saturating_mul(5) / 2).max(Duration::from_millis(100));
                self.pending.push_back(Update::Connected { node: node.into_owned() });
            }
            ServerFrame::Subscribed { sub, channel, position, recovered } => {
                match self.streams.subscribed(&sub, &channel, position, recovered) {
                    Answer::Stands(channel, position, say) => {
                        up.say.extend(texts(say));
                        self.pending.push_back(Update::Subscribed { channel, position });
                    }
                    Answer::Nothing => {}
                    Answer::Again => {
                        self.lost("a stream begins after what one of its subscriptions needs".into(), None);
                    }
                }
            }
            ServerFrame::Gap { channel, from, position } => {
                if self.streams.gap(&channel, &from, &position) {
                    self.pending.push_back(Update::Gap { channel: channel.into(), from, position });
                }
            }
            ServerFrame::Heartbeat { positions } => {
                positions.iter().for_each(|(channel, position)| self.streams.advance(channel, position));
            }
            ServerFrame::Error { code, message, sub } => {
                let (trouble, say) = self.streams.error(code, sub.as_deref());
                up.say.extend(texts(say));
                let message = message.into_owned();
                let channel = match trouble {
                    Trouble::Again => {
                        self.lost(message, None);
                        return Ok(());
                    }
                    Trouble::NotYet(channel, retry_in) => {
                        self.pending.push_back(Update::Delayed { channel, reason: message, retry_in });
                        return Ok(());
                    }
                    Trouble::Refused(channel) => channel.to_string(),
                    Trouble::RefusedAgain(channel) => {
                        self.lost(message.clone(), None);
                        channel.to_string()
                    }
                    Trouble::Other => "the connection".into(),
                };
                return Err(Error::Subscription { channel, code: code.as_str().to_owned(), message });
            }
            ServerFrame::Draining { reconnect_in_ms } => {
                up.come_back = Some(Instant::now() + Duration::from_millis(reconnect_in_ms));
            }
            ServerFrame::Event { .. } | ServerFrame::Unsubscribed { .. } | ServerFrame::Pong => {}
        }
        Ok(())
    }

    fn take_event(&mut self, position: Position, event: Box<RawValue>) -> Result<(), Error> {
        let Some((channel, news)) = self.streams.event(&position, &event) else {
            return Err(self.client.unexpected("an event without a type".into()));
        };
        if news {
            self.pending.push_back(Update::Event(Delivery { channel, position, event }));
        }
        Ok(())
    }
}

impl Up {
    /// Says what is to be said. May be dropped before it is done: nothing is said twice.
    async fn speak(&mut self) -> Result<(), tungstenite::Error> {
        while let Some(frame) = self.say.front() {
            self.socket.feed(frame.clone()).await?;
            // Nothing can come in between: it is handed over when the wait for room ends.
            self.say.pop_front();
            self.said = true;
        }
        if self.said {
            self.socket.flush().await?;
            self.said = false;
        }
        Ok(())
    }

    /// The next text frame, or why there will be none. `None` for what is no text.
    async fn receive(&mut self) -> Result<Option<tungstenite::Utf8Bytes>, String> {
        let deadline = match (&self.reason, self.come_back) {
            (Some(_), _) => self.heard + CLOSE_TIMEOUT,
            (None, Some(at)) => at.min(self.heard + self.silence),
            (None, None) => self.heard + self.silence,
        };
        match timeout_at(self.heard + self.silence, self.speak()).await {
            Ok(said) => said.map_err(|error| error.to_string())?,
            Err(_) => return Err("the daemon does not listen".into()),
        }
        // Where nobody asked us for that long: the runtime looks at sockets before it ends a pause, so that what came in
        // the meantime comes first.
        let Ok(message) = timeout_at(deadline, self.socket.next()).await else {
            return Err(self.reason.take().unwrap_or_else(|| match self.come_back {
                Some(_) => "the node is about to stop".into(),
                None => format!("no sign of life for {} ms", self.heard.elapsed().as_millis()),
            }));
        };
        self.heard = Instant::now();
        match message {
            Some(Ok(Message::Text(text))) => Ok(Some(text)),
            Some(Ok(Message::Close(frame))) => {
                self.reason = Some(match frame {
                    Some(frame) => {
                        let (code, reason) = (u16::from(frame.code), frame.reason.to_string());
                        let closed = Error::Closed { code, reason };
                        let said = closed.to_string();
                        self.refused = CloseCode::is_final(code).then_some(closed);
                        said
                    }
                    None => "closed by the daemon".into(),
                });
                // Read on: the other side has its goodbye answered that way.
                Ok(None)
            }
            Some(Ok(_)) => Ok(None),
            Some(Err(error)) => Err(self.reason.take().unwrap_or_else(|| error.to_string())),
            None => Err(self.reason.take().unwrap_or_else(|| "the connection was cut".into())),
        }
    }
}

fn texts(frames: impl IntoIterator<Item = ClientFrame>) -> Vec<Message> {
    frames.into_iter().filter_map(|frame| serde_json::to_string(&frame).ok()).map(Message::from).collect()
}

async fn connect(client: Client, node: usize, requests: Vec<Message>) -> Result<Socket, Error> {
    let base = client.base(node);
    let mut url = route(base, &["v1", "ws"]);
    // http and ws are both "special" schemes, between which a URL can change.
    let _ = url.set_scheme("ws");
    let mut request = url.as_str().into_client_request().map_err(|error| Error::Url(error.to_string()))?;
    let headers = request.headers_mut();
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol::SUBPROTOCOL));
    if let Some(token) = &client.token {
        let value = HeaderValue::try_from(format!("Bearer {token}"));
        headers.insert(header::AUTHORIZATION, value.map_err(|_| Error::Url("the token is no header's value".into()))?);
    }
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER);
    let connecting = async {
        let (mut socket, _) = connect_async_with_config(request, Some(config), true).await?;
        for request in requests {
            socket.feed(request).await?;
        }
        socket.flush().await?;
        Ok(socket)
    };
    match timeout(HANDSHAKE_TIMEOUT, connecting).await {
        Ok(Ok(socket)) => Ok(socket),
        Ok(Err(tungstenite::Error::Http(answer))) => {
            let body = answer.body().as_deref().unwrap_or_default();
            let retry_after = answer.headers().get(header::RETRY_AFTER).and_then(|seconds| seconds.to_str().ok());
            Err(Error::refused(base, answer.status().as_u16(), retry_after, body))
        }
        Ok(Err(error)) => Err(Error::unreachable(base, &error, false)),
        Err(_) => {
            let cause = "the handshake took too long".into();
            Err(Error::Unreachable { url: error::shown(base), cause, sent: false })
        }
    }
}
