//! A subscriber: a WebSocket that writes down all that comes. One that knows several nodes goes on at the next where it was
//! when its connection ends; one that knows a single node has a connection that must not end.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tidings::event::Position;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::ledger::{Ledger, Seen, Shared, Stream, open};
use crate::support::within;

type Socket = WebSocketStream<TcpStream>;

/// Before the next attempt to connect.
const RETRY: Duration = Duration::from_millis(100);
/// Nothing for that long means that nobody is there: the stage's daemons have a heartbeat of 5 s.
const SILENCE: Duration = Duration::from_secs(12);

struct Subscriber {
    name: String,
    channels: Vec<&'static str>,
    ledger: Shared,
    /// Where in the ledger the stream of a channel is.
    streams: HashMap<&'static str, usize>,
    appetite: Option<Appetite>,
}

/// How many slow consumers a node has closed: who is one reads a little and then nothing until there is one more. When
/// nobody counts any more, it reads as others do.
pub type Appetite = watch::Receiver<u64>;

/// What a slow consumer reads.
const A_LITTLE: usize = 100;

/// Subscribes to channels of the first of the nodes. It listens, from then on, until it is aborted.
pub async fn subscribe(
    name: String,
    nodes: Vec<String>,
    channels: &[&'static str],
    ledger: Shared,
    appetite: Option<Appetite>,
) -> JoinHandle<()> {
    let mut subscriber = Subscriber { name, channels: channels.to_vec(), ledger, streams: HashMap::new(), appetite };
    let begun = within("the handshake and all subscriptions", subscriber.connect(&nodes[0])).await;
    let mut socket = begun.unwrap_or_else(|end| panic!("{}: {end}", subscriber.name));
    tokio::spawn(async move {
        let mut at = 0;
        loop {
            let end = subscriber.listen(socket).await;
            if nodes.len() == 1 {
                return subscriber.object(format!("the connection did not stay open: {end}"));
            }
            socket = loop {
                at += 1;
                match subscriber.connect(&nodes[at % nodes.len()]).await {
                    Ok(socket) => break socket,
                    Err(_) => tokio::time::sleep(RETRY).await,
                }
            };
        }
    })
}

/// The next text; tungstenite answers Pings by itself.
async fn next(socket: &mut Socket) -> Result<String, String> {
    loop {
        match tokio::time::timeout(SILENCE, socket.next()).await {
            Ok(Some(Ok(Message::Text(text)))) => return Ok(text.as_str().to_owned()),
            Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {}
            other => return Err(format!("{other:?}")),
        }
    }
}

impl Subscriber {
    /// Connects, subscribes from where each stream stands, and waits until all subscriptions stand.
    async fn connect(&mut self, node: &str) -> Result<Socket, String> {
        let lost = |error: tungstenite::Error| error.to_string();
        let address = node.trim_start_matches("http://");
        let connecting = async {
            let socket = TcpSocket::new_v4()?;
            if self.appetite.is_some() {
                // Otherwise the system would hold most of what it does not read.
                socket.set_recv_buffer_size(4096)?;
            }
            let stream = socket.connect(address.parse().expect("an address")).await?;
            client_async(format!("ws://{address}/v1/ws"), stream).await
        };
        let connecting = tokio::time::timeout(SILENCE, connecting).await;
        let (mut socket, _) = connecting.map_err(|_| "silence")?.map_err(lost)?;
        for channel in self.channels.clone() {
            let mut frame = json!({"type": "subscribe", "sub": channel, "channel": channel});
            if let Some(at) = self.streams.get(channel) {
                frame["since"] = open(&self.ledger).streams[*at].position().to_string().into();
            }
            socket.send(Message::text(frame.to_string())).await.map_err(lost)?;
        }
        let mut left = self.channels.clone();
        while !left.is_empty() {
            let text = next(&mut socket).await?;
            let frame: Value = serde_json::from_str(&text).unwrap_or_default();
            if frame["type"] == "error" && frame["code"] == "broker-unavailable" {
                return Err(text);
            }
            left.retain(|channel| frame["type"] != "subscribed" || frame["channel"] != **channel);
            self.take(&text);
        }
        Ok(socket)
    }

    /// Listens until the connection ends, and says how it did.
    async fn listen(&mut self, mut socket: Socket) -> String {
        let closed = self.appetite.as_ref().map(|appetite| *appetite.borrow());
        for read in 0.. {
            if let (A_LITTLE, Some(appetite), Some(before)) = (read, &mut self.appetite, closed) {
                // An error: nobody counts any more.
                let _ = appetite.wait_for(|closed| *closed > before).await;
            }
            match next(&mut socket).await {
                Ok(text) => self.take(&text),
                Err(end) => return end,
            }
        }
        unreachable!("it does not read for ever")
    }

    fn object(&self, objection: String) {
        open(&self.ledger).objections.push(format!("{}: {objection}", self.name));
    }

    /// Writes a frame down.
    fn take(&mut self, text: &str) {
        let shared = self.ledger.clone();
        let mut ledger = open(&shared);
        let done = serde_json::from_str(text).ok().and_then(|frame| self.enter(&mut ledger, frame));
        if done.is_none() {
            ledger.objections.push(format!("{}: {text}", self.name));
        }
    }

    /// `None` where the frame should not have come, or not so.
    fn enter(&mut self, ledger: &mut Ledger, mut frame: Value) -> Option<()> {
        let at = |frame: &Value, name: &str| frame[name].as_str()?.parse::<Position>().ok();
        match frame["type"].as_str()? {
            "welcome" | "draining" => {}
            "subscribed" => {
                let channel = self.channels.iter().copied().find(|channel| frame["channel"] == **channel)?;
                let start = at(&frame, "position")?;
                if let Some(stream) = self.stream(ledger, channel) {
                    // Where the log no longer reaches back, a gap follows, which says so.
                    return (frame["recovered"] == false || *stream.position() == start).then_some(());
                }
                let name = format!("{}, {channel}", self.name);
                self.streams.insert(channel, ledger.streams.len());
                ledger.streams.push(Stream { name, channel, start, seen: Vec::new() });
            }
            "event" => {
                let (position, event) = (at(&frame, "position")?, frame["event"].take());
                self.stream(ledger, event["type"].as_str()?)?.seen.push(Seen::Event { position, event });
            }
            "gap" => {
                let (from, position) = (at(&frame, "from")?, at(&frame, "position")?);
                self.stream(ledger, frame["channel"].as_str()?)?.seen.push(Seen::Gap { from, position });
            }
            "heartbeat" => {
                for (channel, position) in frame["positions"].as_object()? {
                    let position = position.as_str()?.parse().ok()?;
                    self.stream(ledger, channel)?.seen.push(Seen::Heartbeat(position));
                }
            }
            _ => return None,
        }
        Some(())
    }

    fn stream<'a>(&self, ledger: &'a mut Ledger, channel: &str) -> Option<&'a mut Stream> {
        ledger.streams.get_mut(*self.streams.get(channel)?)
    }
}
