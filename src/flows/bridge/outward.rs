//! `direction = "out"`: sends events as messages in the legacy shape, from a position that is kept in the broker.
//!
//! At least once: what was sent after the last checkpoint is sent again by the next holder of the lease.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::sleep;

use super::super::dead_letters::now;
use super::super::{
    ChannelReader, ChannelReads, Checkpoint, DeadLetter, DeadLetters, Flow, FlowError, FlowId, Step, Turn, event_time,
};
use super::origin::{Origins, encoded};
use super::{Connected, Parts};
use crate::broker::{BrokerError, PubSub, PubSubConnection};
use crate::event::{Json, Moment, Position, Since};

/// Events between two checkpoints.
const MAX_BATCH: usize = 100;
/// How often the lag is measured while there is no connection.
const TICK: Duration = Duration::from_secs(1);

pub(super) struct Outward(pub Parts);

/// Up to where the events of each type were sent.
type Sent = BTreeMap<String, Position>;

/// What one run of the flow works with.
struct Run<'a> {
    parts: &'a Parts,
    turn: &'a Turn,
    redis: PubSub,
    connected: Connected,
    origins: Origins<'a>,
    /// Readers that tell how far the channel of each type is.
    heads: Vec<(String, ChannelReader)>,
    sent: Sent,
    oldest: Oldest,
}

/// The time of the first event after a position, by type. It is read once for each position.
type Oldest = BTreeMap<String, (Position, u64)>;

#[async_trait]
impl Flow for Outward {
    fn id(&self) -> &FlowId {
        &self.0.id
    }

    async fn run(&self, turn: &Turn) -> Result<(), FlowError> {
        let parts = &self.0;
        let caller = parts.id.caller();
        let (mut checkpoint, found) = Checkpoint::<Sent>::claim(turn, "sent").await?;
        let mut sent = found.unwrap_or_default();
        let (mut readers, mut heads) = (Vec::new(), Vec::new());
        for name in parts.settings.types() {
            // The settings name types of the catalogue only.
            let Some(channel) = parts.catalog.channel(name) else { continue };
            let begin = match sent.get(name) {
                Some(position) => position.clone(),
                None => {
                    // What is published while the node starts, or waits for its broker, is not before `now`.
                    let now = Since::AcceptedFrom(Moment::Ago(parts.made.elapsed()));
                    let begin = parts.bus.locate(&caller, channel, &now).await?.0;
                    ChannelReader::lost_before(&parts.bus, &caller, channel, &begin).unwrap_or(begin)
                }
            };
            sent.insert(name.to_owned(), begin.clone());
            let reader = || ChannelReader::new(&parts.bus, &caller, channel, begin.clone());
            readers.push((name.to_owned(), reader()));
            heads.push((name.to_owned(), reader()));
        }
        checkpoint.save(&sent).await?;
        let redis = PubSub::new(&parts.settings.redis, &parts.id.name).map_err(BrokerError::Rejected)?;
        let origins = Origins::new(&parts.settings.name, &parts.settings.redis, &parts.settings.listeners);
        let (connected, oldest) = (Connected::new(parts), Oldest::new());
        let run = Run { parts, turn, redis, connected, origins, heads, sent, oldest };
        run.send_always(ChannelReads::new(readers, MAX_BATCH), checkpoint).await
    }
}

impl Run<'_> {
    /// Sends what is published, until the node stops.
    async fn send_always(mut self, mut reads: ChannelReads, mut checkpoint: Checkpoint<Sent>) -> Result<(), FlowError> {
        let Some(mut connection) = self.connect().await else { return Ok(()) };
        loop {
            if self.behind() == 0 {
                show_lag(self.parts, 0, None);
            }
            let read = tokio::select! {
                read = reads.next() => Ok(read),
                cause = connection.ended() => Err(cause),
                () = self.turn.stopping.cancelled() => return Ok(()),
            };
            match read {
                Ok((name, steps)) => {
                    let sending = self.send_all(&mut connection, &mut checkpoint, name, steps);
                    if !reads.beside(sending).await? {
                        return Ok(());
                    }
                }
                Err(cause) => {
                    let Some(again) = reads.beside(self.reconnect(&cause)).await else { return Ok(()) };
                    connection = again;
                }
            }
        }
    }

    /// Sends the events of a page, and saves how far it came. `false`: the node stops.
    ///
    /// # Errors
    /// As [`send`](Self::send), and those of the broker.
    async fn send_all(
        &mut self,
        connection: &mut PubSubConnection,
        checkpoint: &mut Checkpoint<Sent>,
        name: String,
        steps: Vec<Step>,
    ) -> Result<bool, FlowError> {
        let first = steps.iter().find_map(|step| match step {
            Step::Event { json, .. } => event_time(json),
            Step::Gap { .. } => None,
        });
        show_lag(self.parts, self.behind(), first);
        let mut is_sent = true;
        for step in steps {
            let at = match step {
                Step::Event { position, json } => {
                    is_sent = self.send(connection, &position, &json).await?;
                    if !is_sent {
                        break;
                    }
                    position
                }
                Step::Gap { from, to } => {
                    self.parts.metrics.flows.gaps.get_or_create(&self.parts.id.label()).inc();
                    let bridge = &*self.parts.id.name;
                    tracing::warn!(bridge, channel = name, %from, %to, "events are lost to a bridge");
                    to
                }
            };
            self.sent.insert(name.clone(), at);
        }
        checkpoint.save(&self.sent).await?;
        Ok(is_sent)
    }

    /// Sends an event to all channels but the one that it came from, over a new connection if this one fails. `false`: the node
    /// stops.
    ///
    /// # Errors
    /// Redis refuses the message, and a new connection would change nothing.
    async fn send(
        &mut self,
        connection: &mut PubSubConnection,
        position: &Position,
        json: &str,
    ) -> Result<bool, FlowError> {
        let settings = &self.parts.settings;
        let (label, metrics) = (self.parts.id.label(), &self.parts.metrics.bridges);
        let event = Json::parse(json);
        let origin = match &event {
            Ok(event) => self.origins.of(event).await.map(str::to_owned),
            Err(_) => None,
        };
        let message = event.map_err(|error| format!("the event cannot be read: {error}"));
        let message = match message.and_then(|event| settings.shape.message(event)) {
            Ok(Some(message)) => message,
            Ok(None) => return Ok(true),
            Err(reason) => {
                metrics.refused.get_or_create(&label).inc();
                self.keep(position, json, reason).await?;
                return Ok(true);
            }
        };
        let mut sent = false;
        for channel in &settings.channels {
            // The readers of this channel have the message already.
            if origin.as_deref().is_some_and(|origin| origin == encoded(channel)) {
                metrics.ignored.get_or_create(&label).inc();
                continue;
            }
            loop {
                self.turn.check()?;
                match connection.publish(channel, &message).await {
                    Ok(()) => break,
                    Err(error @ BrokerError::Rejected(_)) => return Err(error.into()),
                    Err(error) => {
                        let Some(again) = self.reconnect(&error.to_string()).await else { return Ok(false) };
                        *connection = again;
                    }
                }
            }
            sent = true;
        }
        metrics.sent.get_or_create(&label).inc_by(sent.into());
        Ok(true)
    }

    /// Keeps an event that has no message.
    async fn keep(&self, position: &Position, event: &str, reason: String) -> Result<(), FlowError> {
        self.parts.metrics.flows.dead.get_or_create(&self.parts.id.label()).inc();
        let (id, position) = (position.to_string(), Some(position.to_string()));
        let letter = DeadLetter { id, reason, at: now(), attempts: 1, position, body: event.to_owned() };
        DeadLetters::new(self.turn.store.clone()).add(letter).await
    }

    async fn reconnect(&mut self, cause: &str) -> Option<PubSubConnection> {
        self.parts.metrics.bridges.disconnections.get_or_create(&self.parts.id.label()).inc();
        self.redis.failed(cause);
        self.origins.forget();
        self.connect().await
    }

    /// Connects, and shows the lag that grows meanwhile. `None`: the node stops.
    async fn connect(&mut self) -> Option<PubSubConnection> {
        self.connected.show(false);
        let Self { parts, turn, redis, heads, sent, oldest, .. } = self;
        let connection = tokio::select! {
            connection = redis.connect(&[], &[]) => connection,
            never = measure_always(parts, heads, sent, oldest) => match never {},
            () = turn.stopping.cancelled() => return None,
        };
        self.connected.show(true);
        Some(connection)
    }

    fn behind(&self) -> u64 {
        behind(&self.heads, &self.sent).map(|(.., behind)| behind).sum()
    }
}

/// Each type with its reader, the position up to which it was sent, and the number of events behind that.
fn behind<'r>(
    heads: &'r [(String, ChannelReader)],
    sent: &'r Sent,
) -> impl Iterator<Item = (&'r str, &'r ChannelReader, &'r Position, u64)> {
    heads.iter().filter_map(move |(name, reader)| {
        let at = sent.get(name)?;
        Some((&**name, reader, at, reader.behind(at)))
    })
}

/// Shows the lag again and again, while nothing is sent.
async fn measure_always(
    parts: &Parts,
    heads: &[(String, ChannelReader)],
    sent: &Sent,
    oldest: &mut Oldest,
) -> Infallible {
    loop {
        let (mut events, mut first) = (0, None);
        for (name, reader, at, behind) in behind(heads, sent).filter(|(.., behind)| *behind > 0) {
            events += behind;
            if oldest.get(name).is_none_or(|(known, _)| known != at)
                && let Some(time) = reader.oldest_after(at).await
            {
                oldest.insert(name.to_owned(), (at.clone(), time));
            }
            let time = oldest.get(name).filter(|(known, _)| known == at).map(|(_, time)| *time);
            first = [first, time].into_iter().flatten().min();
        }
        show_lag(parts, events, first);
        sleep(TICK).await;
    }
}

/// Shows how many events are not sent, and the age of the oldest, by its time.
fn show_lag(parts: &Parts, events: u64, oldest: Option<u64>) {
    let (flows, label) = (&parts.metrics.flows, parts.id.label());
    flows.lag_events.get_or_create(&label).set(i64::try_from(events).unwrap_or(i64::MAX));
    let age = oldest.map_or(0.0, |oldest| now().saturating_sub(oldest) as f64 / 1_000.0);
    flows.lag_seconds.get_or_create(&label).set(age);
}
