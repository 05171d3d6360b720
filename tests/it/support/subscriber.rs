//! A WebSocket client on tokio-tungstenite, which shares no code with the daemon and knows only the contract.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::http::members;
use super::node::Node;
use super::within;

/// A connection that has received its welcome frame.
pub struct Subscriber {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub welcome: Value,
}

/// An `event` frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivered {
    pub position: String,
    pub event: Value,
}

impl Subscriber {
    /// Connects to a node.
    pub async fn connect(node: &Node) -> Self {
        Self::connect_to(node, "/v1/ws").await
    }

    /// Connects to a path, and reads the welcome, which must be the first frame.
    pub async fn connect_to(node: &Node, path: &str) -> Self {
        Self::connect_url(&node.url(path)).await
    }

    /// The same, to any daemon's `http://` URL.
    pub async fn connect_url(url: &str) -> Self {
        let url = url.replacen("http", "ws", 1);
        let (socket, _) = within("the handshake", connect_async(url)).await.expect("the handshake succeeds");
        let mut subscriber = Self { socket, welcome: Value::Null };
        subscriber.welcome = subscriber.any_frame().await;
        assert_eq!(subscriber.welcome["type"], "welcome");
        subscriber
    }

    /// Connects with a credential in the header of the handshake.
    pub async fn with_token(node: &Node, path: &str, token: &str) -> Self {
        let connected = within("the handshake", connect_async(node.handshake(path, token))).await;
        let mut subscriber = Self { socket: connected.expect("the handshake succeeds").0, welcome: Value::Null };
        subscriber.welcome = subscriber.any_frame().await;
        assert_eq!(subscriber.welcome["type"], "welcome");
        subscriber
    }

    /// Connects without a credential, to a daemon that asks for one: no frame comes yet.
    pub async fn stranger(node: &Node, path: &str) -> Self {
        let url = node.url(path).replacen("http", "ws", 1);
        let (socket, _) = within("the handshake", connect_async(url)).await.expect("the handshake succeeds");
        Self { socket, welcome: Value::Null }
    }

    /// Connects, and subscribes to all events of a channel under the name `s`.
    pub async fn to(node: &Node, channel: &str) -> Self {
        let mut subscriber = Self::connect(node).await;
        subscriber.subscribe("s", channel).await;
        subscriber
    }

    /// Subscribes to all events of a channel; returns the `subscribed` frame.
    pub async fn subscribe(&mut self, sub: &str, channel: &str) -> Value {
        self.say(json!({"type": "subscribe", "sub": sub, "channel": channel})).await;
        self.frame_of("subscribed").await
    }

    /// Subscribes to the events that match a filter; returns the `subscribed` frame.
    pub async fn subscribe_where(&mut self, sub: &str, channel: &str, filter: Value) -> Value {
        self.say(json!({"type": "subscribe", "sub": sub, "channel": channel, "where": filter})).await;
        self.frame_of("subscribed").await
    }

    /// Sends a frame.
    pub async fn say(&mut self, frame: Value) {
        self.send(Message::text(frame.to_string())).await;
    }

    /// Sends a WebSocket message of any kind.
    pub async fn send(&mut self, message: Message) {
        within("the message is sent", self.socket.send(message)).await.expect("the connection is open");
    }

    /// The next WebSocket message. tungstenite answers Pings by itself.
    pub async fn message(&mut self) -> Result<Message, Error> {
        within("a message", self.socket.next()).await.unwrap_or(Err(Error::ConnectionClosed))
    }

    /// The next frame, heartbeats included.
    pub async fn any_frame(&mut self) -> Value {
        loop {
            match self.message().await.expect("the connection is open") {
                Message::Text(text) => return serde_json::from_str(&text).expect("a frame is JSON"),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?} instead of a frame"),
            }
        }
    }

    /// The next frame that is no heartbeat, since heartbeats arrive at any time.
    pub async fn frame(&mut self) -> Value {
        loop {
            let frame = self.any_frame().await;
            if frame["type"] != "heartbeat" {
                return frame;
            }
        }
    }

    /// The next frame that is no heartbeat; it must be of this type.
    pub async fn frame_of(&mut self, kind: &str) -> Value {
        let frame = self.frame().await;
        assert_eq!(frame["type"], kind, "{frame}");
        frame
    }

    /// The next heartbeat; skips all other frames.
    pub async fn heartbeat(&mut self) -> Value {
        loop {
            let frame = self.any_frame().await;
            if frame["type"] == "heartbeat" {
                return frame;
            }
        }
    }

    /// The next frame, which must be an event.
    pub async fn event(&mut self) -> Delivered {
        let mut frame = self.frame_of("event").await;
        assert_eq!(members(&frame), ["event", "position", "type"]);
        let position = frame["position"].as_str().expect("a position is a string").to_owned();
        Delivered { position, event: frame["event"].take() }
    }

    /// The next frames, which must be events.
    pub async fn events(&mut self, count: usize) -> Vec<Delivered> {
        let mut events = Vec::with_capacity(count);
        while events.len() < count {
            events.push(self.event().await);
        }
        events
    }

    /// Sends a `ping` and asserts that the next frame is the `pong`. So no other frame was queued, and the connection is alive.
    pub async fn pong_is_next(&mut self) {
        self.say(json!({"type": "ping"})).await;
        assert_eq!(self.frame().await, json!({"type": "pong"}));
    }

    /// Reads up to the daemon's close frame, and returns its code.
    pub async fn close_code(&mut self) -> u16 {
        loop {
            match self.message().await.expect("a close frame comes before the end") {
                Message::Close(frame) => return frame.expect("a close frame has a code").code.into(),
                _ => continue,
            }
        }
    }

    /// The code of a close frame, before which nothing may come.
    pub async fn first_close_code(&mut self) -> u16 {
        match self.message().await.expect("a close frame comes before the end") {
            Message::Close(frame) => frame.expect("a close frame has a code").code.into(),
            other => panic!("{other:?} came before the close frame"),
        }
    }

    /// Reads up to the end, which must be a cut without a close frame.
    pub async fn cut(&mut self) {
        while let Ok(message) = self.message().await {
            assert!(!matches!(message, Message::Close(_)), "a close frame: {message:?}");
        }
    }
}
