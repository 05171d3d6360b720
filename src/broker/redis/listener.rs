//! The listener: the subscriber connection to a server, and the check that published messages still arrive on it. In a
//! cluster there is one for each master that has channels.
//!
//! Redis keeps nothing for a subscriber that it cannot reach, and disconnects one that reads too slowly. So after every
//! (re)connection, and whenever messages were dropped, the relay gets [`Signal::Missed`] and reads the logs. The
//! subscriptions of a connection never change: when they must, a new connection replaces it.

use std::collections::HashMap;
use std::iter::once;
use std::sync::Arc;
use std::time::Duration;

use fred::bytes::Bytes;
use fred::bytes_utils::Str;
use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, EventInterface, LuaInterface, PubsubInterface};
use fred::types::{ClusterHash, CustomCommand, Message, Value};
use futures_util::future::try_join_all;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::watch;
use tokio::time::Instant;

use super::announcements::announced_text;
use super::attempts::Attempts;
use super::attempts::Pulse;
use super::channels::{ChannelState, Channels};
use super::commands::Commands;
use super::errors::{describe, from_fred};
use super::heads::MAX_IN_SCRIPT;
use super::internal::{InternalChannels, channel_of, plain_name};
use super::link::{Link, SignsOfLife, verified_ping};
use super::probe::Probe;
use super::rest::{Incoming, Rest, Subscription};
use super::target::Target;
use super::{ChannelId, SIGNAL_CAPACITY, Signal};
use crate::protocol::bus_message_position;

/// Pushed messages that fred buffers while this task gets no time to run. fred allocates eight such buffers for each
/// client at once: a size of 65,536 took 55 MB and lost just as many messages.
const MESSAGE_BUFFER: usize = 8192;
/// The same for each of several masters.
const MESSAGE_BUFFER_PER_MASTER: usize = 2048;

/// Between two looks at whether probes come back. A look sends nothing.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// How late the next probe may be before the listener sends a heartbeat, which is a probe of its own.
const PROBE_DELAY: Duration = Duration::from_millis(500);

/// How long after a published probe nothing may arrive before the connection is replaced.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(4);

/// What a refused SUBSCRIBE means.
const SUBSCRIBE_REFUSED: &str =
    "NOPERM this user has no permissions to run the 'subscribe' command, or to access one of the channels";

/// Listens at one server and passes signals to the relay.
#[derive(Clone)]
pub(super) struct Listener {
    by_name: Arc<HashMap<String, (ChannelId, Topic)>>,
    /// The server is one of several masters of a cluster.
    clustered: bool,
    commands: Arc<Commands>,
    probe: Arc<Probe>,
    internal: Arc<InternalChannels>,
    signals: mpsc::Sender<Signal>,
    pub pulse: Pulse,
}

/// What the messages on a pub/sub channel are.
#[derive(Clone, Copy)]
enum Topic {
    Events,
    Announcements,
}

/// Where the messages of a subscription come from.
enum Messages {
    Pushed(broadcast::Receiver<Message>),
    Streamed(Subscription),
}

/// What came on a subscription.
enum Received {
    /// The name of the pub/sub channel, and what was published.
    Message(Str, Bytes),
    Nothing,
    /// Messages were dropped.
    Dropped,
    /// The subscription has ended, for this reason.
    Ended(String),
}

impl Messages {
    /// Waits for the next message. A future that is dropped loses none.
    async fn next(&mut self) -> Received {
        match self {
            Self::Pushed(messages) => match messages.recv().await {
                Ok(Message { channel, value: Value::String(text), .. }) => {
                    Received::Message(channel, text.into_inner())
                }
                Ok(Message { channel, value: Value::Bytes(bytes), .. }) => Received::Message(channel, bytes),
                Ok(_) => Received::Nothing,
                Err(RecvError::Lagged(_)) => Received::Dropped,
                Err(RecvError::Closed) => Received::Ended("the connection was closed".into()),
            },
            Self::Streamed(subscription) => match subscription.next().await {
                Incoming::Message { channel, text } => Received::Message(channel.into(), text),
                Incoming::Subscribed(_) => Received::Nothing,
                Incoming::Ended(cause) => Received::Ended(cause),
            },
        }
    }
}

/// What a connection subscribes to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Subscriptions {
    /// The names of the pub/sub channels.
    pub channels: Vec<String>,
    /// The probe's key at this server, which is also its pub/sub channel.
    pub probe_key: String,
}

impl Listener {
    pub fn new(
        channels: &Channels,
        commands: Arc<Commands>,
        probe: Arc<Probe>,
        internal: Arc<InternalChannels>,
        signals: mpsc::Sender<Signal>,
        pulse: Pulse,
    ) -> Self {
        let topics = |(id, channel): (ChannelId, &ChannelState)| {
            let [events, announcements] = channel.subscriptions();
            [(events, (id, Topic::Events)), (announcements, (id, Topic::Announcements))]
        };
        let by_name = channels.iter().flat_map(topics).collect();
        Self { by_name: Arc::new(by_name), clustered: channels.clustered, commands, probe, internal, signals, pulse }
    }

    /// Listens until the relay has dropped the receiver of the signals, or the sender of `changes` is dropped.
    pub async fn listen(self, target: Target, mut changes: watch::Receiver<Subscriptions>) {
        let message_buffer = if self.clustered { MESSAGE_BUFFER_PER_MASTER } else { MESSAGE_BUFFER };
        let mut link = Link::new(target, "bus", message_buffer).proven_by(self.pulse.clone());
        while !self.signals.is_closed() {
            let wanted = changes.wait_for(|subscriptions| !subscriptions.channels.is_empty()).await;
            let Ok(subscriptions) = wanted.map(|subscriptions| subscriptions.clone()) else { return };
            let mut connection = match link.connect().await {
                Ok(connection) => connection,
                Err(error) => {
                    self.probe.unsubscribed(&subscriptions.probe_key, Some(error));
                    continue;
                }
            };
            let client = connection.client.clone();
            // Before subscribing, so that the first messages find a receiver.
            let messages = client.message_rx();
            if let Err(error) = self.subscribe(&client, &subscriptions).await {
                self.commands.handle_redirect(error.details());
                link.failed(&describe(&error));
                self.probe.unsubscribed(&subscriptions.probe_key, Some(from_fred(&error)));
                continue;
            }
            link.established();
            self.probe.subscribed(&subscriptions.probe_key);
            let signs = SignsOfLife::after_each(self.pulse.interval);
            let cause = tokio::select! {
                cause = connection.ended(&signs) => cause,
                cause = self.failed_delivery(Some(&client), &subscriptions, &signs) => cause,
                cause = self.forward(Messages::Pushed(messages), true, &signs) => cause,
                Ok(()) = changes.changed() => {
                    self.probe.unsubscribed(&subscriptions.probe_key, None);
                    continue;
                }
            };
            self.probe.unsubscribed(&subscriptions.probe_key, None);
            link.failed(&cause);
        }
    }

    /// As [`listen`](Self::listen), over the REST interface, which has no sharded channels.
    pub async fn listen_over_rest(self, rest: Arc<Rest>, subscriptions: Subscriptions) {
        self.internal.set_sharded(false);
        let Subscriptions { channels, probe_key } = &subscriptions;
        let internal = |name: &String| if self.has_events(name) { name.clone() } else { plain_name(name) };
        let names: Vec<_> = channels.iter().map(internal).chain(once(plain_name(probe_key))).collect();
        // Each read is a call with a price. The probe that is due now finds the logs with new events, if it looks at all.
        let reads_all = channels.len() > MAX_IN_SCRIPT;
        let mut attempts = Attempts::new(rest.name.clone(), "bus").proven_by(self.pulse.clone());
        while !self.signals.is_closed() {
            if let Some(backoff) = attempts.backoff() {
                tokio::time::sleep(backoff).await;
            }
            let subscription = match rest.subscribe(&names).await {
                Ok(subscription) => subscription,
                Err(error) => {
                    attempts.failed(&error.to_string());
                    self.probe.unsubscribed(probe_key, Some(error));
                    continue;
                }
            };
            attempts.established();
            self.probe.subscribed(probe_key);
            let signs = SignsOfLife::after_each(self.pulse.interval);
            let cause = tokio::select! {
                cause = self.failed_delivery(None, &subscriptions, &signs) => cause,
                cause = self.forward(Messages::Streamed(subscription), reads_all, &signs) => cause,
            };
            self.probe.unsubscribed(probe_key, None);
            attempts.failed(&cause);
        }
    }

    /// Subscribes, and waits until Redis has done so: fred returns before it has the reply.
    async fn subscribe(&self, client: &Client, subscriptions: &Subscriptions) -> Result<(), Error> {
        let Subscriptions { channels, probe_key } = subscriptions;
        if self.clustered {
            ssubscribe(client, channels.iter().chain(once(probe_key))).await?;
            return verified_ping(client).await;
        }
        let (events, mut internal): (Vec<_>, Vec<_>) = channels.iter().cloned().partition(|name| self.has_events(name));
        internal.push(probe_key.clone());
        let plain: Vec<_> = internal.iter().map(|name| plain_name(name)).collect();
        // Before the first subscription: with RESP2, the connection can only subscribe from then on.
        if !may_subscribe(client, &events).await? {
            // Redis' ACL LOG then has the refusal.
            client.subscribe(events).await?;
            return Err(Error::new(ErrorKind::Unknown, SUBSCRIBE_REFUSED));
        }
        let may_use_plain = may_subscribe(client, &plain).await?;
        client.subscribe(events).await?;
        let sharded = ssubscribe(client, &internal).await;
        if let Err(error) = &sharded
            && error.details().starts_with("NOPERM")
            && !may_use_plain
        {
            return sharded;
        }
        self.internal.set_sharded(sharded.is_ok());
        if let Err(error) = sharded {
            tracing::debug!(reason = describe(&error), "no sharded channels: using plain ones");
            client.subscribe(plain).await?;
        }
        verified_ping(client).await
    }

    fn has_events(&self, name: &str) -> bool {
        matches!(self.by_name.get(name), Some((_, Topic::Events)))
    }

    /// Forwards messages to the relay until the connection or the relay's receiver is closed. Returns the reason.
    ///
    /// If the relay does not keep up, messages are dropped and it gets [`Signal::Missed`]: buffered without bound, they
    /// would fill the memory, and unread they would make Redis disconnect this node. The log has the events anyway. The
    /// signal is sent when half of the relay's buffer is free, so that it is not needed again at once. With `missed` it is
    /// sent at the beginning, too.
    async fn forward(&self, mut messages: Messages, mut missed: bool, signs: &SignsOfLife) -> String {
        let mut probe = None;
        loop {
            tokio::select! {
                received = messages.next() => match received {
                    Received::Message(channel, frame) => {
                        signs.message();
                        let Some(signal) = self.signal(&channel, &frame, signs) else { continue };
                        // A lost announcement is no reason to read the logs.
                        let is_announcement = matches!(signal, Signal::Announced { .. });
                        let dropped = match signal {
                            signal if missed => signal,
                            signal => match self.signals.try_send(signal) {
                                Ok(()) => continue,
                                Err(TrySendError::Full(signal) | TrySendError::Closed(signal)) => signal,
                            },
                        };
                        missed |= !is_announcement;
                        // The last probe is kept: it is not in the log.
                        if matches!(dropped, Signal::Probe(_)) {
                            probe = Some(dropped);
                        }
                    }
                    Received::Nothing => {}
                    Received::Dropped => missed = true,
                    Received::Ended(cause) => return cause,
                },
                permits = self.signals.reserve_many(SIGNAL_CAPACITY / 2), if missed => {
                    let Ok(permits) = permits else { return "the broker is closed".into() };
                    for (signal, permit) in [Some(Signal::Missed), probe.take()].into_iter().flatten().zip(permits) {
                        permit.send(signal);
                    }
                    missed = false;
                }
            }
        }
    }

    /// The signal that a message stands for. `None` for a heartbeat, a probe that is not complete yet, or an announcement
    /// that no node sent.
    fn signal(&self, name: &str, frame: &[u8], signs: &SignsOfLife) -> Option<Signal> {
        match self.by_name.get(channel_of(name)) {
            Some(&(channel, Topic::Events)) => Some(Signal::Hint { channel, position: bus_message_position(frame) }),
            Some(&(channel, Topic::Announcements)) => {
                announced_text(frame).map(|text| Signal::Announced { channel, text })
            }
            None => {
                // What this node published comes back. So the server is the master, or a replica of it that still receives
                // everything.
                signs.proved();
                self.probe.received(name, frame).map(Signal::Probe)
            }
        }
    }

    /// Returns when probes are published but nothing at all arrives. The connection answers then, but its subscriptions are
    /// dead; a master that was demoted and does not know it yet behaves so. In a cluster, also returns when a slot has moved
    /// with its channels. Publishes a heartbeat if nobody else sends probes.
    async fn failed_delivery(
        &self,
        client: Option<&Client>,
        subscriptions: &Subscriptions,
        signs: &SignsOfLife,
    ) -> String {
        let key = &subscriptions.probe_key;
        let (mut last_messages, mut last_arrival, mut last_check) = (0, Instant::now(), Instant::now());
        loop {
            tokio::time::sleep(LOOK_INTERVAL.min(self.pulse.interval)).await;
            if let Some(client) = client.filter(|_| self.clustered)
                && last_check.elapsed() >= self.pulse.interval
            {
                if let Err(cause) = self.check_subscriptions(client, subscriptions).await {
                    return cause;
                }
                last_check = Instant::now();
                signs.proved();
            }
            let messages = signs.messages();
            if messages != last_messages {
                (last_messages, last_arrival) = (messages, Instant::now());
            }
            if self
                .probe
                .outstanding_since(key)
                .is_some_and(|since| since.max(last_arrival).elapsed() > DELIVERY_TIMEOUT)
            {
                return "what this node publishes does not come back".into();
            }
            if self.probe.last_sent(key).is_none_or(|ago| ago > self.pulse.interval + PROBE_DELAY) {
                // A failure is found by the connection for commands.
                let _ = self.probe.heartbeat(key).await;
            }
        }
    }

    /// Whether all subscriptions still exist. When a slot leaves a master, Redis ends the subscriptions to its channels,
    /// and fred does not report that. The slot may even be back before the next view of the cluster. The reply to
    /// SSUBSCRIBE is the number of subscriptions.
    async fn check_subscriptions(&self, client: &Client, subscriptions: &Subscriptions) -> Result<(), String> {
        let command = CustomCommand::new_static("SSUBSCRIBE", ClusterHash::FirstKey, false);
        let reply: Result<Vec<Value>, Error> = client.custom(command, vec![subscriptions.probe_key.as_str()]).await;
        let expected = subscriptions.channels.len() as u64 + 1;
        match reply {
            Ok(reply) if reply.last().and_then(Value::as_u64) == Some(expected) => Ok(()),
            Ok(_) => {
                self.commands.request_routes(None);
                Err("a slot has moved".into())
            }
            Err(error) => {
                self.commands.handle_redirect(error.details());
                Err(describe(&error))
            }
        }
    }
}

/// Subscribes to sharded channels, with a command for each: in a cluster each has a slot of its own, and of the replies to
/// a command for several fred awaits only the first, and takes the others for those to the next commands.
async fn ssubscribe(client: &Client, names: impl IntoIterator<Item = &String>) -> Result<(), Error> {
    try_join_all(names.into_iter().map(|name| client.ssubscribe(name))).await.map(drop)
}

/// Whether Redis lets the user subscribe to these channels, as far as it can tell. fred awaits no reply to SUBSCRIBE: it
/// takes a refusal for the reply to the next command, or drops it if no command waits for one.
async fn may_subscribe(client: &Client, channels: &[String]) -> Result<bool, Error> {
    let none: Vec<String> = Vec::new();
    let reply: Value = client.eval(include_str!("may_subscribe.lua"), none, channels.to_vec()).await?;
    Ok(!matches!(reply, Value::Integer(0)))
}
