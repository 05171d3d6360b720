//! A subscriber: a WebSocket that stays, and writes down all that comes.

use std::collections::HashMap;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tidings::event::Position;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::ledger::{Ledger, Seen, Shared, Stream, open};
use crate::support::within;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

struct Subscriber {
    name: String,
    ledger: Shared,
    /// Where in the ledger the stream of a channel is.
    streams: HashMap<&'static str, usize>,
}

/// Subscribes to channels of the node at `url`. It listens, from then on, until it is aborted.
pub async fn subscribe(name: String, url: &str, channels: &[&'static str], ledger: Shared) -> JoinHandle<()> {
    let url = format!("{}/v1/ws", url.replace("http://", "ws://"));
    let (mut socket, _) = within("the handshake", connect_async(url)).await.expect("the handshake succeeds");
    for channel in channels {
        let frame = json!({"type": "subscribe", "sub": channel, "channel": channel});
        socket.send(Message::text(frame.to_string())).await.expect("the connection is open");
    }
    let mut subscriber = Subscriber { name, ledger, streams: HashMap::new() };
    while subscriber.streams.len() < channels.len() {
        let text = within("all subscriptions", next(&mut socket)).await.expect("the connection is open");
        subscriber.take(&text, channels);
    }
    tokio::spawn(async move {
        let end = loop {
            match next(&mut socket).await {
                Ok(text) => subscriber.take(&text, &[]),
                Err(end) => break end,
            }
        };
        let objection = format!("{}: the connection did not stay open: {end}", subscriber.name);
        open(&subscriber.ledger).objections.push(objection);
    })
}

/// The next text; tungstenite answers Pings by itself.
async fn next(socket: &mut Socket) -> Result<String, String> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => return Ok(text.as_str().to_owned()),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            other => return Err(format!("{other:?}")),
        }
    }
}

impl Subscriber {
    /// Writes a frame down; `asked` are the channels to which it may begin a subscription.
    fn take(&mut self, text: &str, asked: &[&'static str]) {
        let shared = self.ledger.clone();
        let mut ledger = open(&shared);
        let done = serde_json::from_str(text).ok().and_then(|frame| self.enter(&mut ledger, frame, asked));
        if done.is_none() {
            ledger.objections.push(format!("{}: {text}", self.name));
        }
    }

    /// `None` where the frame should not have come, or not so.
    fn enter(&mut self, ledger: &mut Ledger, mut frame: Value, asked: &[&'static str]) -> Option<()> {
        let at = |frame: &Value, name: &str| frame[name].as_str()?.parse::<Position>().ok();
        match frame["type"].as_str()? {
            "welcome" => {}
            "subscribed" => {
                let channel = asked.iter().copied().find(|channel| frame["channel"] == **channel)?;
                let stream = Stream {
                    name: format!("{}, {channel}", self.name),
                    channel,
                    start: at(&frame, "position")?,
                    seen: Vec::new(),
                };
                self.streams.insert(channel, ledger.streams.len());
                ledger.streams.push(stream);
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
