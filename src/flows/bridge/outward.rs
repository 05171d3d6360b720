//! `direction = "out"`: sends events as messages in the legacy shape, from a position that is kept in the broker.
//!
//! At least once: what was sent after the last checkpoint is sent again by the next holder of the lease.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::select_all;
use tokio::time::sleep;

use super::super::{ChannelReader, Checkpoint, Flow, FlowError, FlowId, Step, Turn};
use super::Parts;
use crate::broker::{BrokerError, PubSub, PubSubConnection};
use crate::event::{Json, Moment, Position, Since};

/// Events between two checkpoints.
const MAX_BATCH: usize = 100;
/// How often the lag is measured while there is no connection.
const TICK: Duration = Duration::from_secs(1);

pub(super) struct Outward(pub Parts);

/// Up to where the events of each type were sent.
type Sent = BTreeMap<String, Position>;

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
        let mut readers = Vec::new();
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
            readers.push((name.to_owned(), ChannelReader::new(&parts.bus, &caller, channel, begin)));
        }
        checkpoint.save(&sent).await?;
        let mut redis = PubSub::new(&parts.settings.redis).map_err(BrokerError::Rejected)?;
        let connected = connect(&mut redis, turn, || self.show_lag(&readers, &sent)).await;
        let Some(mut connection) = connected else { return Ok(()) };
        loop {
            self.show_lag(&readers, &sent);
            let next = readers
                .iter_mut()
                .map(|(name, reader)| async move { (name.clone(), reader.next(MAX_BATCH).await) }.boxed());
            let read = tokio::select! {
                ((name, steps), ..) = select_all(next) => Ok((name, steps)),
                cause = connection.ended() => Err(cause),
                () = turn.stopping.cancelled() => return Ok(()),
            };
            let (name, steps) = match read {
                Ok(read) => read,
                Err(cause) => {
                    redis.failed(&cause);
                    let connected = connect(&mut redis, turn, || self.show_lag(&readers, &sent)).await;
                    let Some(connected) = connected else { return Ok(()) };
                    connection = connected;
                    continue;
                }
            };
            for step in steps {
                let at = match step {
                    Step::Event { position, json } => {
                        if let Some(message) = self.message(&json) {
                            let show_lag = || self.show_lag(&readers, &sent);
                            if !self.send(turn, &mut redis, &mut connection, &message, show_lag).await? {
                                return checkpoint.save(&sent).await;
                            }
                        }
                        position
                    }
                    Step::Gap { from, to } => {
                        parts.metrics.flows.gaps.get_or_create(&parts.id.label()).inc();
                        tracing::warn!(bridge = %parts.id.name, channel = name, %from, %to, "events are lost to a bridge");
                        to
                    }
                };
                sent.insert(name.clone(), at);
            }
            checkpoint.save(&sent).await?;
        }
    }
}

impl Outward {
    /// The message of an event. `None` for an event that came from there.
    fn message(&self, event: &str) -> Option<String> {
        let parsed = Json::parse(event).ok()?;
        let source = parsed.get("source").and_then(Json::as_str).unwrap_or_default();
        if self.0.settings.skipped_sources.iter().any(|skipped| skipped == source) {
            return None;
        }
        self.0.settings.shape.message(event)
    }

    /// Sends a message to all channels, over a new connection if this one fails. `false`: the node stops.
    ///
    /// # Errors
    /// Redis refuses the message, and a new connection would change nothing.
    async fn send(
        &self,
        turn: &Turn,
        redis: &mut PubSub,
        connection: &mut PubSubConnection,
        message: &str,
        show_lag: impl Fn() + Send + Sync,
    ) -> Result<bool, FlowError> {
        for channel in &self.0.settings.channels {
            loop {
                turn.check()?;
                match connection.publish(channel, message).await {
                    Ok(()) => break,
                    Err(error @ BrokerError::Rejected(_)) => return Err(error.into()),
                    Err(error) => {
                        redis.failed(&error.to_string());
                        let Some(connected) = connect(redis, turn, &show_lag).await else { return Ok(false) };
                        *connection = connected;
                    }
                }
            }
        }
        self.0.metrics.bridges.sent.get_or_create(&self.0.id.label()).inc();
        Ok(true)
    }

    fn show_lag(&self, readers: &[(String, ChannelReader)], sent: &Sent) {
        let behind: u64 = readers.iter().map(|(name, reader)| sent.get(name).map_or(0, |at| reader.behind(at))).sum();
        let lag = self.0.metrics.flows.lag_events.get_or_create(&self.0.id.label()).clone();
        lag.set(i64::try_from(behind).unwrap_or(i64::MAX));
    }
}

/// Connects, and shows the lag that grows meanwhile. `None`: the node stops.
async fn connect(redis: &mut PubSub, turn: &Turn, show_lag: impl Fn() + Send) -> Option<PubSubConnection> {
    let connecting = redis.connect(&[], &[]);
    tokio::pin!(connecting);
    loop {
        show_lag();
        tokio::select! {
            connection = &mut connecting => return Some(connection),
            () = sleep(TICK) => {}
            () = turn.stopping.cancelled() => return None,
        }
    }
}
