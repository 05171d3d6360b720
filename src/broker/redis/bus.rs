//! The bus: a connection that does nothing but listen, and what tells whether it still hears.
//!
//! Redis forgets whom it could not reach, and drops a subscriber that reads too slowly. So after every (re)connection,
//! and wherever messages were dropped on the way, the relay gets [`Signal::Missed`] and reads the logs.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fred::clients::Client;
use fred::interfaces::{EventInterface, PubsubInterface};
use fred::types::{Message, Value};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::mpsc::{self, error::TrySendError};

use super::canary::Canary;
use super::channels::Channels;
use super::link::{Link, prove, reason};
use super::target::Target;
use super::{BUS_CAPACITY, ChannelId, Signal};
use crate::protocol::event_frame_position;

/// Messages that fred keeps for us while this task gets no time to run; it takes them as they come. fred makes eight rings
/// of this length for each client and fills them at once: 65,536 cost 55 MB and lost no message less.
const MESSAGES: usize = 8192;

/// Between two canaries of the bus's own.
const BEAT: Duration = Duration::from_secs(1);

/// How long one of them may take from its publication before the subscriber counts as deaf.
const DEAF: Duration = Duration::from_secs(4);

/// Listens to all channels.
pub(super) struct Listener {
    by_name: HashMap<String, ChannelId>,
    canary: Arc<Canary>,
    bus: mpsc::Sender<Signal>,
}

impl Listener {
    pub fn new(channels: &Channels, canary: Arc<Canary>, bus: mpsc::Sender<Signal>) -> Self {
        let by_name = channels.iter().map(|(id, channel)| (channel.name.clone(), id)).collect();
        Self { by_name, canary, bus }
    }

    /// Listens until nobody listens to the bus any more.
    pub async fn listen(self, target: Target) {
        let mut link = Link::new(target, "bus", MESSAGES);
        while !self.bus.is_closed() {
            let Ok(mut connection) = link.connect().await else { continue };
            // Before subscribing: what comes from then on must find somebody.
            let messages = connection.client.message_rx();
            if let Err(error) = self.subscribe(&connection.client).await {
                link.lost(&reason(&error));
                continue;
            }
            link.stands();
            let heard = AtomicU64::new(0);
            let reason = tokio::select! {
                reason = connection.end(&heard) => reason,
                reason = self.deaf(&heard) => reason,
                reason = self.pass_on(messages, &heard) => reason,
            };
            link.lost(&reason);
        }
    }

    /// Subscribes, and knows afterwards that Redis did it: fred returns before it has an answer.
    async fn subscribe(&self, client: &Client) -> Result<(), fred::error::Error> {
        client.subscribe(self.by_name.keys().cloned().collect::<Vec<_>>()).await?;
        prove(client).await?;
        // A sharded channel, because PSUBSCRIBE does not see it: who watches the bus with a pattern sees events only.
        let sharded = client.ssubscribe(self.canary.sharded()).await;
        self.canary.set_sharded(sharded.is_ok());
        if let Err(error) = sharded {
            tracing::debug!(reason = reason(&error), "no sharded channels: using a plain one for the canary");
            client.subscribe(self.canary.plain()).await?;
        }
        prove(client).await
    }

    /// Passes messages on until there are no more.
    ///
    /// Where the relay is behind, they are dropped and it is told to read the log, rather than kept: kept they would cost
    /// memory without bound or make Redis drop us, and the log has them anyway. It is told once there is room for
    /// half of the bus, so that it does not go from one such message to the next.
    async fn pass_on(&self, mut messages: broadcast::Receiver<Message>, heard: &AtomicU64) -> String {
        let mut missed = true;
        let mut canary = None;
        loop {
            tokio::select! {
                message = messages.recv() => match message {
                    Ok(message) => {
                        heard.fetch_add(1, Ordering::Relaxed);
                        let Some(signal) = self.signal(message) else { continue };
                        let dropped = match signal {
                            signal if missed => signal,
                            signal => match self.bus.try_send(signal) {
                                Ok(()) => continue,
                                Err(TrySendError::Full(signal) | TrySendError::Closed(signal)) => signal,
                            },
                        };
                        missed = true;
                        if matches!(dropped, Signal::Canary(_)) {
                            canary = Some(dropped);
                        }
                    }
                    Err(RecvError::Lagged(_)) => missed = true,
                    Err(RecvError::Closed) => return "the connection was closed".into(),
                },
                room = self.bus.reserve_many(BUS_CAPACITY / 2), if missed => {
                    let Ok(room) = room else { return "the bus was closed".into() };
                    for (signal, permit) in [Some(Signal::Missed), canary.take()].into_iter().flatten().zip(room) {
                        permit.send(signal);
                    }
                    missed = false;
                }
            }
        }
    }

    fn signal(&self, message: Message) -> Option<Signal> {
        let frame = match message.value {
            Value::String(text) => text.into_inner(),
            Value::Bytes(bytes) => bytes,
            _ => return None,
        };
        match self.by_name.get(&*message.channel) {
            Some(&channel) => Some(Signal::Hint { channel, position: event_frame_position(&frame) }),
            None => self.canary.number(&frame).map(Signal::Canary),
        }
    }

    /// Ends when this node can publish but nothing at all comes back: the connection answers, the subscription is dead
    /// (so it is with a master that was demoted and does not know it).
    async fn deaf(&self, heard: &AtomicU64) -> String {
        let mut waiting: Option<Instant> = None;
        let mut last = 0;
        loop {
            tokio::time::sleep(BEAT).await;
            let now = heard.load(Ordering::Relaxed);
            if now != last {
                waiting = None;
                last = now;
            }
            if waiting.is_some_and(|since| since.elapsed() > DEAF) {
                return "what this node publishes does not come back".into();
            }
            if self.canary.beat().await.is_ok() {
                waiting.get_or_insert_with(Instant::now);
            }
        }
    }
}
