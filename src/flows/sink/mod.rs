//! Sinks: the newest event of each subject, written to a store of somebody else's.
//!
//! One node writes, from a position that is kept in the broker. What comes within a second is coalesced: a store gets at most
//! one write a second of a key, with its newest event. After a crash, what was written last is written again.
//!
//! | file | what it knows |
//! |---|---|
//! | `settings.rs` | the `[[sink]]` tables |
//! | `cloudflare.rs` | the REST interface of Cloudflare KV |
//! | `pending.rs` | the newest event of each key, and how far the channels were read |

mod cloudflare;
mod pending;
mod settings;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep, sleep_until};

pub use settings::{SinkSettings, read};

use self::cloudflare::{Cloudflare, Failure, Pair};
use self::pending::Pending;
use super::{
    ChannelReader, ChannelReads, Checkpoint, DeadLetter, DeadLetters, Flow, FlowError, FlowId, Step, Turn, dead_letters,
};
use crate::broker::BrokerError;
use crate::bus::Bus;
use crate::event::{Catalog, Position};
use crate::metrics::Metrics;

/// The kind of these flows.
pub const KIND: &str = "sink";
/// From the end of one write to the beginning of the next. Cloudflare refuses a second write of a key within a second.
const INTERVAL: Duration = Duration::from_millis(1_100);
/// Events that are read at a time.
const MAX_STEPS: usize = 500;
/// Pause after a write that failed, which doubles up to [`MAX_RETRY`].
const RETRY: Duration = Duration::from_secs(1);
const MAX_RETRY: Duration = Duration::from_secs(60);
/// The characters of a key that a log line has.
const MAX_SHOWN: usize = 100;

/// Up to where each channel was written.
type Written = BTreeMap<String, Position>;

struct Sink {
    id: FlowId,
    settings: SinkSettings,
    bus: Arc<Bus>,
    catalog: Arc<Catalog>,
    metrics: Arc<Metrics>,
}

/// The flow of a table.
pub fn flow(settings: SinkSettings, bus: Arc<Bus>, catalog: Arc<Catalog>, metrics: Arc<Metrics>) -> Arc<dyn Flow> {
    let id = FlowId { kind: KIND, name: settings.name.as_str().into() };
    metrics.flows.announce(&id.label());
    metrics.sinks.announce(&id.label());
    Arc::new(Sink { id, settings, bus, catalog, metrics })
}

#[async_trait]
impl Flow for Sink {
    fn id(&self) -> &FlowId {
        &self.id
    }

    async fn run(&self, turn: &Turn) -> Result<(), FlowError> {
        let caller = self.id.caller();
        let (mut checkpoint, found) = Checkpoint::<Written>::claim(turn, "written").await?;
        let mut written = found.unwrap_or_default();
        let (mut readers, mut heads) = (Vec::new(), Vec::new());
        for name in &self.settings.channels {
            // The settings name types of the catalogue only.
            let Some(channel) = self.catalog.channel(name) else { continue };
            let begin = match written.get(name) {
                Some(position) => position.clone(),
                None => self.bus.locate(&caller, channel, &self.settings.since).await?.0,
            };
            written.insert(name.clone(), begin.clone());
            let reader = || ChannelReader::new(&self.bus, &caller, channel, begin.clone());
            readers.push((name.clone(), reader()));
            heads.push((name.clone(), reader()));
        }
        checkpoint.save(&written).await?;
        let client = Cloudflare::new(&self.settings).map_err(BrokerError::Rejected)?;
        let mut pending = Pending::default();
        // The holder before may have written a moment ago.
        let mut due = Instant::now() + INTERVAL;
        let mut reads = ChannelReads::new(readers, MAX_STEPS);
        loop {
            self.show_lag(&heads, &written, &pending);
            let is_full = pending.is_full();
            // As long as no more values can wait, the sink takes no page, and only goes on with the reads.
            let read = async {
                match is_full {
                    false => Some(reads.next().await),
                    true => reads.beside(std::future::pending()).await,
                }
            };
            let read = tokio::select! {
                read = read => read,
                () = sleep_until(due), if !pending.is_empty() => None,
                () = turn.stopping.cancelled() => return Ok(()),
            };
            if let Some((name, steps)) = read {
                self.note(&mut pending, &name, steps);
                continue;
            }
            let show_lag = |pending: &Pending| self.show_lag(&heads, &written, pending);
            let write = self.write(turn, &client, &mut pending, show_lag);
            if !reads.beside(write).await? {
                // What is not written is read again by the next holder, from the checkpoint.
                return Ok(());
            }
            written.extend(pending.take_positions());
            reads.beside(checkpoint.save(&written)).await?;
            due = Instant::now() + INTERVAL;
        }
    }
}

impl Sink {
    fn note(&self, pending: &mut Pending, channel: &str, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Event { position, json } => pending.note(channel, position, &json, &self.settings.prefix),
                Step::Gap { from, to } => {
                    self.metrics.flows.gaps.get_or_create(&self.id.label()).inc();
                    tracing::warn!(sink = %self.id.name, channel, %from, %to, "events are lost to a sink");
                    pending.skip(channel, to);
                }
            }
        }
    }

    /// Writes all that is pending, and tries until it succeeds. What is refused for good is kept as a dead letter. `false`: the
    /// node stops, and something is not written. `show_lag` is called before each attempt: the lag grows while none succeeds.
    async fn write(
        &self,
        turn: &Turn,
        client: &Cloudflare,
        pending: &mut Pending,
        show_lag: impl Fn(&Pending) + Send,
    ) -> Result<bool, FlowError> {
        let mut batches = vec![pending.take_pairs()];
        let (mut retry, label) = (RETRY, self.id.label());
        while let Some(mut batch) = batches.pop() {
            if batch.is_empty() {
                continue;
            }
            turn.check()?;
            show_lag(pending);
            let (count, written) = (batch.len(), client.write(&batch).await);
            let mut again = |reason: String, after: Option<Duration>| {
                self.metrics.sinks.failures.get_or_create(&label).inc();
                let pause = after.unwrap_or_else(|| retry.mul_f64(rand::random_range(0.5..1.0))).max(INTERVAL);
                retry = (retry * 2).min(MAX_RETRY);
                tracing::warn!(sink = %self.id.name, reason, ?pause, "a sink cannot be written; it is tried again");
                pause
            };
            let pause = match written {
                Ok(left_out) => {
                    batch.retain(|pair| left_out.contains(&pair.key));
                    let left = batch.len();
                    self.metrics.sinks.written.get_or_create(&label).inc_by((count - left) as u64);
                    if left > 0 {
                        again(format!("the store has left out {left} of {count} values"), None)
                    } else {
                        retry = RETRY;
                        INTERVAL
                    }
                }
                Err(Failure::Invalid(reason)) if batch.len() == 1 => {
                    self.give_up(turn, &batch[0], reason).await?;
                    batch.clear();
                    INTERVAL
                }
                // One of them is wrong: the half that has it is found.
                Err(Failure::Invalid(_)) => {
                    batches.push(batch.split_off(batch.len() / 2));
                    INTERVAL
                }
                Err(Failure::Later { reason, after }) => again(reason, after),
            };
            batches.push(batch);
            let more = batches.iter().any(|batch| !batch.is_empty());
            if more && turn.stopping.run_until_cancelled(sleep(pause)).await.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn give_up(&self, turn: &Turn, pair: &Pair, reason: String) -> Result<(), FlowError> {
        self.metrics.flows.dead.get_or_create(&self.id.label()).inc();
        let key = crate::suggest::cut(&pair.key, MAX_SHOWN);
        tracing::warn!(sink = %self.id.name, %key, position = pair.position, reason, "a value was refused for good");
        let (id, body, position) = (pair.key.clone(), pair.value.clone(), Some(pair.position.clone()));
        let letter = DeadLetter { id, reason, at: dead_letters::now(), attempts: 1, position, body };
        DeadLetters::new(turn.store.clone()).add(letter).await
    }

    fn show_lag(&self, heads: &[(String, ChannelReader)], written: &Written, pending: &Pending) {
        let behind = heads.iter().map(|(name, reader)| written.get(name).map_or(0, |at| reader.behind(at)));
        let label = self.id.label();
        self.metrics.flows.lag_events.get_or_create(&label).set(i64::try_from(behind.sum::<u64>()).unwrap_or(i64::MAX));
        self.metrics.flows.lag_seconds.get_or_create(&label).set(pending.age());
    }
}
