//! Tests of the client against a fake daemon: each test plays the daemon's side, so that it can misbehave on purpose.

use futures_util::{SinkExt, StreamExt};
use reqwest::header;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

use super::*;

mod answers;
mod connection;
mod nodes;
mod publishing;
mod subscriptions;
mod tokens;
mod urls;

/// A listener for a fake daemon, and a client of it.
async fn fake_daemon() -> (TcpListener, Client) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    (listener, client)
}

/// The daemon's side of one subscriber connection.
struct Peer(WebSocketStream<TcpStream>);

impl Peer {
    async fn accept(listener: &TcpListener, heartbeat_ms: u64) -> Self {
        let (stream, _) = listener.accept().await.unwrap();
        #[expect(clippy::result_large_err, reason = "the type is tungstenite's")]
        let socket = accept_hdr_async(stream, |_: &Request, mut answer: Response| {
            let protocol = HeaderValue::from_static(crate::protocol::SUBPROTOCOL);
            answer.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
            Ok(answer)
        });
        let mut peer = Self(socket.await.unwrap());
        peer.send(json!({"type":"welcome","protocol":1,"session":"s","node":"n","heartbeatMs":heartbeat_ms})).await;
        peer
    }

    async fn send(&mut self, frame: Value) {
        self.0.send(Message::from(frame.to_string())).await.unwrap();
    }

    async fn receive(&mut self) -> Value {
        serde_json::from_str(self.0.next().await.unwrap().unwrap().to_text().unwrap()).unwrap()
    }

    /// Receives a `subscribe` frame, confirms it at `position`, and returns it.
    async fn confirm(&mut self, position: &str) -> Value {
        let request = self.receive().await;
        let (sub, channel) = (&request["sub"], &request["channel"]);
        self.send(json!({"type":"subscribed","sub":sub,"channel":channel,"position":position})).await;
        request
    }

    async fn event(&mut self, position: &str) {
        self.event_of(position, json!({})).await;
    }

    async fn event_of(&mut self, position: &str, data: Value) {
        self.send(json!({"type":"event","position":position,"event":{"type":"a","id":position,"data":data}})).await;
    }
}

/// The next update or error of a subscriber, as one line.
async fn next_line(subscriber: &mut Subscriber) -> String {
    match subscriber.next().await {
        Ok(Update::Connected { node }) => format!("connected {node}"),
        Ok(Update::Subscribed { channel, position }) => format!("subscribed {channel} {position}"),
        Ok(Update::Event(Delivery { channel, position, .. })) => format!("event {channel} {position}"),
        Ok(Update::Gap { channel, from, position }) => format!("gap {channel} {from} {position}"),
        Ok(Update::Disconnected { reason, .. }) => format!("disconnected: {reason}"),
        Ok(Update::Delayed { channel, reason, .. }) => format!("delayed {channel}: {reason}"),
        Ok(Update::NotRenewed { reason }) => format!("not renewed: {reason}"),
        Ok(Update::Synced { positions, .. }) => format!("synced: {positions:?}"),
        Ok(Update::NotSynced { reason, .. }) => format!("not synced: {reason}"),
        Err(error) => format!("error: {error}"),
    }
}

/// The next `count` updates and errors of a subscriber.
async fn next_lines(subscriber: &mut Subscriber, count: usize) -> Vec<String> {
    let mut lines = Vec::with_capacity(count);
    while lines.len() < count {
        lines.push(next_line(subscriber).await);
    }
    lines
}

/// Reads an HTTP request without a body.
async fn read_head(stream: &mut TcpStream) {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_buf(&mut bytes).await.unwrap();
    }
}

/// Responds with status 200 and this JSON body.
async fn respond(stream: &mut TcpStream, body: &str) {
    let answer = format!("HTTP/1.1 200 X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(answer.as_bytes()).await.unwrap();
}

/// Reads one HTTP request, and returns its JSON body.
async fn read_json(stream: &mut TcpStream) -> Value {
    let mut bytes = Vec::new();
    loop {
        stream.read_buf(&mut bytes).await.unwrap();
        let text = String::from_utf8_lossy(&bytes);
        if let Some((_, body)) = text.split_once("\r\n\r\n")
            && let Ok(value) = serde_json::from_str(body)
        {
            return value;
        }
    }
}
