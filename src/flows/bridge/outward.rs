//! `direction = "out"`: sends events as messages in the legacy shape, from a position that is kept in the broker.
//!
//! At least once: what was sent after the last checkpoint is sent again by the next holder of the lease.

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::select_all;

use super::super::{ChannelReader, Checkpoint, Flow, FlowError, FlowId, Step, Turn};
use super::Parts;
use crate::broker::{BrokerError, PubSub, PubSubConnection};
use crate::event::{Json, Moment, Position, Since};

/// Events between two checkpoints.
const MAX_BATCH: usize = 100;

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
                // What is published while the node starts, or waits for its broker, is not before `now`.
                None => {
                    parts.bus.locate(&caller, channel, &Since::AcceptedFrom(Moment::Ago(parts.made.elapsed()))).await?.0
                }
            };
            sent.insert(name.to_owned(), begin.clone());
            readers.push((name.to_owned(), ChannelReader::new(&parts.bus, &caller, channel, begin)));
        }
        checkpoint.save(&sent).await?;
        let mut redis = PubSub::new(&parts.settings.redis).map_err(BrokerError::Rejected)?;
        let connecting = redis.connect(&[], &[]);
        let Some(mut connection) = turn.stopping.run_until_cancelled(connecting).await else { return Ok(()) };
        loop {
            let behind: u64 =
                readers.iter().map(|(name, reader)| sent.get(name).map_or(0, |at| reader.behind(at))).sum();
            parts.metrics.flows.lag_events.get_or_create(&parts.id.label()).set(behind as i64);
            let next = readers
                .iter_mut()
                .map(|(name, reader)| async move { (name.clone(), reader.next(MAX_BATCH).await) }.boxed());
            let (name, steps) = tokio::select! {
                ((name, steps), ..) = select_all(next) => (name, steps),
                cause = connection.ended() => {
                    redis.failed(&cause);
                    let connecting = redis.connect(&[], &[]);
                    let Some(connected) = turn.stopping.run_until_cancelled(connecting).await else { return Ok(()) };
                    connection = connected;
                    continue;
                }
                () = turn.stopping.cancelled() => return Ok(()),
            };
            for step in steps {
                let at = match step {
                    Step::Event { position, json } => {
                        if let Some(message) = self.message(&json) {
                            self.send(turn, &mut redis, &mut connection, &message).await?;
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

    /// Sends a message to all channels, over a new connection if this one fails.
    async fn send(
        &self,
        turn: &Turn,
        redis: &mut PubSub,
        connection: &mut PubSubConnection,
        message: &str,
    ) -> Result<(), FlowError> {
        for channel in &self.0.settings.channels {
            loop {
                turn.check()?;
                match connection.publish(channel, message).await {
                    Ok(()) => break,
                    Err(error) => {
                        redis.failed(&error.to_string());
                        *connection = redis.connect(&[], &[]).await;
                    }
                }
            }
        }
        self.0.metrics.bridges.sent.get_or_create(&self.0.id.label()).inc();
        Ok(())
    }
}
