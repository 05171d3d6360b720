//! The open WebSocket of a subscriber: sends frames, receives messages, and says when the daemon counts as gone.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::{self, Message};

use super::Error;
use super::connect::{HANDSHAKE_TIMEOUT, Socket};
use crate::protocol::ClientFrame;
use crate::secret::Secret;

/// How long the closing handshake may take.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// An open connection, and what the daemon has said of it.
pub struct OpenConnection {
    pub socket: Socket,
    /// The token that the daemon has accepted last.
    pub token: Option<Secret>,
    /// The token of a renewal that the daemon has not answered.
    pub pending_token: Option<Secret>,
    /// Frames to send to the daemon.
    pub outgoing: VecDeque<Message>,
    /// Whether the socket holds frames that were not flushed yet.
    needs_flush: bool,
    /// The daemon is considered gone when nothing has arrived for this long.
    pub idle_timeout: Duration,
    /// When the last message arrived. Independent of when, and how often, the consumer polls.
    pub last_received: Instant,
    pub opened: Instant,
    /// When to leave a draining daemon and connect again, as the daemon asked.
    pub reconnect_at: Option<Instant>,
    /// Why the daemon closed the connection, once its close frame has arrived.
    close_reason: Option<String>,
    /// The code and the reason of the close frame.
    pub closed: Option<(u16, String)>,
}

impl OpenConnection {
    pub fn new(socket: Socket, token: Option<Secret>) -> Self {
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
    pub async fn receive(&mut self) -> Result<Option<tungstenite::Utf8Bytes>, String> {
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
pub fn to_messages(frames: impl IntoIterator<Item = ClientFrame>) -> Vec<Message> {
    frames.into_iter().filter_map(|frame| serde_json::to_string(&frame).ok()).map(Message::from).collect()
}
