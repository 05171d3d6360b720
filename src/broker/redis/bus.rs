//! The bus: a connection that does nothing but listen, and what tells whether it still hears; in a cluster one for each
//! master that has channels. What a connection listens to never changes: where channels came or went, it is replaced.
//!
//! Redis forgets whom it could not reach, and drops a subscriber that reads too slowly. So after every (re)connection,
//! and wherever messages were dropped on the way, the relay gets [`Signal::Missed`] and reads the logs.

use std::collections::HashMap;
use std::iter::once;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::{ClientLike, EventInterface, PubsubInterface};
use fred::types::{ClusterHash, CustomCommand, Message, Value};
use futures_util::future::try_join_all;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::watch;

use super::channels::Channels;
use super::commands::Commands;
use super::link::{Link, prove, reason};
use super::probe::Probe;
use super::target::Target;
use super::{ChannelId, SIGNAL_CAPACITY, Signal};
use crate::protocol::event_frame_position;

/// Messages that fred keeps for us while this task gets no time to run; it takes them as they come. fred makes eight rings
/// of this length for each client and fills them at once: 65,536 cost 55 MB and lost no message less.
const MESSAGES: usize = 8192;
/// The same at one of several masters.
const MESSAGES_OF_EACH: usize = 2048;

/// Between two probes of the bus's own.
const BEAT: Duration = Duration::from_secs(1);

/// How long one of them may take from its publication before the subscriber counts as deaf.
const DEAF: Duration = Duration::from_secs(4);

/// Listens at a server.
#[derive(Clone)]
pub(super) struct Listener {
    by_name: Arc<HashMap<String, ChannelId>>,
    /// The server is one of several masters of a cluster.
    clustered: bool,
    commands: Arc<Commands>,
    probe: Arc<Probe>,
    bus: mpsc::Sender<Signal>,
}

/// What is listened to at a server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Share {
    /// The channels' names.
    pub channels: Vec<String>,
    /// The probe's key.
    pub probe: String,
}

impl Listener {
    pub fn new(channels: &Channels, commands: Arc<Commands>, probe: Arc<Probe>, bus: mpsc::Sender<Signal>) -> Self {
        let by_name = channels.iter().map(|(id, channel)| (channel.name.clone(), id)).collect();
        Self { by_name: Arc::new(by_name), clustered: channels.clustered, commands, probe, bus }
    }

    /// Listens until nobody listens to the bus any more, or shares are given out no more.
    pub async fn listen(self, target: Target, mut shares: watch::Receiver<Share>) {
        let mut link = Link::new(target, "bus", if self.clustered { MESSAGES_OF_EACH } else { MESSAGES });
        while !self.bus.is_closed() {
            let Ok(share) = shares.wait_for(|share| !share.channels.is_empty()).await.map(|share| share.clone()) else {
                return;
            };
            let Ok(mut connection) = link.connect().await else { continue };
            let client = connection.client.clone();
            // Before subscribing: what comes from then on must find somebody.
            let messages = client.message_rx();
            if let Err(error) = self.subscribe(&client, &share).await {
                self.commands.elsewhere(&error);
                link.lost(&reason(&error));
                continue;
            }
            link.stands();
            let heard = AtomicU64::new(0);
            let reason = tokio::select! {
                reason = connection.end(&heard) => reason,
                reason = self.deaf(&client, &share, &heard) => reason,
                reason = self.pass_on(messages, &heard) => reason,
                Ok(()) = shares.changed() => continue,
            };
            link.lost(&reason);
        }
    }

    /// Subscribes, and knows afterwards that Redis did it: fred returns before it has an answer.
    async fn subscribe(&self, client: &Client, share: &Share) -> Result<(), Error> {
        if self.clustered {
            // Each channel has a slot of its own.
            try_join_all(share.channels.iter().chain(once(&share.probe)).map(|name| client.ssubscribe(name))).await?;
            return prove(client).await;
        }
        client.subscribe(share.channels.clone()).await?;
        prove(client).await?;
        // A sharded channel, because PSUBSCRIBE does not see it: who watches the bus with a pattern sees events only.
        let sharded = client.ssubscribe(&share.probe).await;
        self.probe.set_sharded(sharded.is_ok());
        if let Err(error) = sharded {
            tracing::debug!(reason = reason(&error), "no sharded channels: using a plain one for the probe");
            client.subscribe(self.probe.plain(&share.probe)).await?;
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
        let mut probe = None;
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
                        if matches!(dropped, Signal::Probe(_)) {
                            probe = Some(dropped);
                        }
                    }
                    Err(RecvError::Lagged(_)) => missed = true,
                    Err(RecvError::Closed) => return "the connection was closed".into(),
                },
                room = self.bus.reserve_many(SIGNAL_CAPACITY / 2), if missed => {
                    let Ok(room) = room else { return "the bus was closed".into() };
                    for (signal, permit) in [Some(Signal::Missed), probe.take()].into_iter().flatten().zip(room) {
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
            None => self.probe.heard(&message.channel, &frame).map(Signal::Probe),
        }
    }

    /// Ends when this node can publish but nothing at all comes back: the connection answers, the subscription is dead
    /// (so it is with a master that was demoted and does not know it). And when a slot has moved, with its channels.
    async fn deaf(&self, client: &Client, share: &Share, heard: &AtomicU64) -> String {
        let mut waiting: Option<Instant> = None;
        let mut last = 0;
        loop {
            tokio::time::sleep(BEAT).await;
            if self.clustered
                && let Err(reason) = self.holds(client, share).await
            {
                return reason;
            }
            let now = heard.load(Ordering::Relaxed);
            if now != last {
                waiting = None;
                last = now;
            }
            if waiting.is_some_and(|since| since.elapsed() > DEAF) {
                return "what this node publishes does not come back".into();
            }
            if self.probe.beat(&share.probe).await.is_ok() {
                waiting.get_or_insert_with(Instant::now);
            }
        }
    }

    /// Whether the subscriptions stand. When a slot leaves a master, Redis ends those to its channels and fred says nothing;
    /// it may even be back before anybody looks. The answer to a subscription is how many there are.
    async fn holds(&self, client: &Client, share: &Share) -> Result<(), String> {
        let command = CustomCommand::new_static("SSUBSCRIBE", ClusterHash::FirstKey, false);
        let answer: Result<Vec<Value>, Error> = client.custom(command, vec![share.probe.as_str()]).await;
        match answer {
            Ok(answer) if answer.last().and_then(Value::as_u64) == Some(share.channels.len() as u64 + 1) => Ok(()),
            Ok(_) => {
                self.commands.look_up(None);
                Err("a slot has moved".into())
            }
            Err(error) => {
                self.commands.elsewhere(&error);
                Err(reason(&error))
            }
        }
    }
}
