//! A subscriber of the load: a WebSocket client that records every frame in the ledger.
//!
//! One that knows several nodes resumes at the next node when its connection ends. One that knows a single node must keep its
//! connection; an end is a violation.

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

use super::ledger::{Ledger, Observation, ObservedStream, SharedLedger, lock};
use crate::support::until;

type Socket = WebSocketStream<TcpStream>;

/// The pause before the next attempt to connect.
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// The timeout after which a silent connection counts as dead: more than two heartbeats of the harness's daemons (5 s).
const SILENCE_TIMEOUT: Duration = Duration::from_secs(12);

/// A subscriber across all its connections.
struct Subscriber {
    name: String,
    channels: Vec<&'static str>,
    ledger: SharedLedger,
    /// From each channel to the index of its stream in the ledger.
    streams: HashMap<&'static str, usize>,
    read_gate: Option<ReadGate>,
}

/// The number of slow consumers that a node has closed. A slow subscriber reads [`READS_PER_CLOSE`] frames, then nothing until the
/// number rises. When the sender is dropped, it reads at full speed.
pub type ReadGate = watch::Receiver<u64>;

/// How many frames a slow subscriber reads between two closes.
const READS_PER_CLOSE: usize = 100;

/// Subscribes to channels at the first of the nodes, and returns the task that then reads until it is aborted.
pub async fn subscribe(
    name: String,
    nodes: Vec<String>,
    channels: &[&'static str],
    ledger: SharedLedger,
    read_gate: Option<ReadGate>,
) -> JoinHandle<()> {
    let mut subscriber = Subscriber { name, channels: channels.to_vec(), ledger, streams: HashMap::new(), read_gate };
    // A node that was ready may refuse for a moment, if the machine has stopped it.
    let mut socket =
        until("a subscriber has its subscriptions", async || subscriber.connect(&nodes[0]).await.ok()).await;
    tokio::spawn(async move {
        let mut at = 0;
        loop {
            let end = subscriber.read(socket).await;
            // On a slow machine a short break is long enough for the node to be partitioned.
            if nodes.len() == 1 && !end.contains("partitioned from its broker") {
                return subscriber.report(format!("the connection ended: {end}"));
            }
            socket = loop {
                at += 1;
                match subscriber.connect(&nodes[at % nodes.len()]).await {
                    Ok(socket) => break socket,
                    Err(_) => tokio::time::sleep(RETRY_DELAY).await,
                }
            };
        }
    })
}

/// The next text message; tungstenite answers Pings by itself.
async fn next(socket: &mut Socket) -> Result<String, String> {
    loop {
        match tokio::time::timeout(SILENCE_TIMEOUT, socket.next()).await {
            Ok(Some(Ok(Message::Text(text)))) => return Ok(text.as_str().to_owned()),
            Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {}
            other => return Err(format!("{other:?}")),
        }
    }
}

impl Subscriber {
    /// Connects, subscribes to each channel from its stream's position, and waits until every subscription is confirmed.
    async fn connect(&mut self, node: &str) -> Result<Socket, String> {
        let lost = |error: tungstenite::Error| error.to_string();
        let address = node.trim_start_matches("http://");
        let connecting = async {
            let socket = TcpSocket::new_v4()?;
            if self.read_gate.is_some() {
                // With a large buffer, the operating system would take most of what this client does not read.
                socket.set_recv_buffer_size(4096)?;
            }
            let stream = socket.connect(address.parse().expect("an address")).await?;
            client_async(format!("ws://{address}/v1/ws"), stream).await
        };
        let connecting = tokio::time::timeout(SILENCE_TIMEOUT, connecting).await;
        let (mut socket, _) = connecting.map_err(|_| "silence")?.map_err(lost)?;
        for channel in self.channels.clone() {
            let mut frame = json!({"type": "subscribe", "sub": channel, "channel": channel});
            if let Some(at) = self.streams.get(channel) {
                frame["since"] = lock(&self.ledger).streams[*at].position().to_string().into();
            }
            socket.send(Message::text(frame.to_string())).await.map_err(lost)?;
        }
        let mut pending = self.channels.clone();
        while !pending.is_empty() {
            let text = next(&mut socket).await?;
            let frame: Value = serde_json::from_str(&text).unwrap_or_default();
            if frame["type"] == "error" && frame["code"] == "broker-unavailable" {
                return Err(text);
            }
            pending.retain(|channel| frame["type"] != "subscribed" || frame["channel"] != **channel);
            self.record(&text);
        }
        Ok(socket)
    }

    /// Reads until the connection ends, and returns how it ended.
    async fn read(&mut self, mut socket: Socket) -> String {
        let closed = self.read_gate.as_ref().map(|read_gate| *read_gate.borrow());
        for read in 0.. {
            if let (READS_PER_CLOSE, Some(read_gate), Some(before)) = (read, &mut self.read_gate, closed) {
                // An error means that the sender was dropped: read on.
                let _ = read_gate.wait_for(|closed| *closed > before).await;
            }
            match next(&mut socket).await {
                Ok(text) => self.record(&text),
                Err(end) => return end,
            }
        }
        unreachable!("the connection ends before the counter does")
    }

    fn report(&self, violation: String) {
        lock(&self.ledger).violations.push(format!("{}: {violation}", self.name));
    }

    /// Records a frame. One that should not have come is a violation.
    fn record(&mut self, text: &str) {
        let shared = self.ledger.clone();
        let mut ledger = lock(&shared);
        let done = serde_json::from_str(text).ok().and_then(|frame| self.try_record(&mut ledger, frame));
        if done.is_none() {
            ledger.violations.push(format!("{}: {text}", self.name));
        }
    }

    /// Adds a frame to its stream; `None` where the frame is invalid or should not have come.
    fn try_record(&mut self, ledger: &mut Ledger, mut frame: Value) -> Option<()> {
        let at = |frame: &Value, name: &str| frame[name].as_str()?.parse::<Position>().ok();
        match frame["type"].as_str()? {
            "welcome" | "draining" => {}
            "subscribed" => {
                let channel = self.channels.iter().copied().find(|channel| frame["channel"] == **channel)?;
                let start = at(&frame, "position")?;
                if let Some(stream) = self.stream(ledger, channel) {
                    // With `recovered: false` a gap follows, and the checker examines that.
                    return (frame["recovered"] == false || *stream.position() == start).then_some(());
                }
                let name = format!("{}, {channel}", self.name);
                self.streams.insert(channel, ledger.streams.len());
                ledger.streams.push(ObservedStream { name, channel, start, observations: Vec::new() });
            }
            "event" => {
                let (position, event) = (at(&frame, "position")?, frame["event"].take());
                self.stream(ledger, event["type"].as_str()?)?.observations.push(Observation::Event { position, event });
            }
            "gap" => {
                let (from, position) = (at(&frame, "from")?, at(&frame, "position")?);
                self.stream(ledger, frame["channel"].as_str()?)?.observations.push(Observation::Gap { from, position });
            }
            "heartbeat" => {
                for (channel, position) in frame["positions"].as_object()? {
                    let position = position.as_str()?.parse().ok()?;
                    self.stream(ledger, channel)?.observations.push(Observation::Heartbeat(position));
                }
            }
            _ => return None,
        }
        Some(())
    }

    /// The stream of a channel.
    fn stream<'a>(&self, ledger: &'a mut Ledger, channel: &str) -> Option<&'a mut ObservedStream> {
        ledger.streams.get_mut(*self.streams.get(channel)?)
    }
}
