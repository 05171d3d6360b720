//! Webhooks: events as signed HTTP requests, for receivers that can hold no connection.
//!
//! | file | what it does |
//! |---|---|
//! | `settings.rs` | reads the `[[webhook]]` tables |
//! | `delivery.rs` | the loop of the node that has the lease |
//! | `attempt.rs` | one attempt, and the dead letter after the last |
//! | `lanes.rs` | which event may be sent next: order for each subject, pauses of retries |
//! | `progress.rs`, `state.rs` | how far it came, and what else the store has |
//! | `client.rs`, `secrets.rs` | one request: where it may go, and its signature |
//! | `message.rs` | what is read of events, and the events that tidings makes |
//! | `operator.rs` | what an operator sees and does: list, test, dead letters, replay, resume |

mod attempt;
mod client;
mod delivery;
mod lanes;
mod message;
mod operator;
mod progress;
mod secrets;
mod settings;
mod state;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep};
use tracing::Instrument;

use super::dead_letters::now;
use super::{ChannelReader, Flow, FlowError, FlowId, Turn};
use crate::access::Caller;
use crate::bus::Bus;
use crate::config::{FlowTables, WEBHOOK};
use crate::event::{Catalog, ChannelId, Moment, Position, Since};
use crate::metrics::{AttemptLabel, FlowLabel, Metrics, WebhookLabel};
use client::OUTCOMES;
pub use client::{Client, Message, Outcome};
use delivery::{Delivery, Ended};
pub use message::gap;
pub use operator::{Replayed, Tested, WebhookSummary, Webhooks};
pub use secrets::Secrets;
pub use settings::{Settings, url_of};
use state::{State, Stopped};

/// How often a stopped webhook looks whether it may go on.
const STOPPED_LOOK: Duration = Duration::from_secs(2);

/// A webhook of this node.
pub struct Webhook {
    id: FlowId,
    label: FlowLabel,
    settings: Settings,
    bus: Arc<Bus>,
    metrics: Arc<Metrics>,
    node: String,
    /// When this node made it. A new webhook with `since = "now"` begins there.
    made: Instant,
}

/// The webhooks of the configuration, and what is suspicious about them.
///
/// # Errors
/// Every mistake, with the file, the line and the table.
pub fn compile(tables: &FlowTables, catalog: &Catalog) -> Result<(Vec<Settings>, Vec<String>), Vec<String>> {
    tables.of(WEBHOOK).map_or_else(|| Ok(Default::default()), |tables| settings::compile(tables, catalog))
}

impl Webhook {
    /// The webhook of these settings. `node` is the id of this node.
    pub fn new(settings: Settings, bus: Arc<Bus>, metrics: Arc<Metrics>, node: String) -> Self {
        let id = FlowId { kind: "webhook", name: settings.name.clone() };
        let webhook = Self { label: id.label(), id, settings, bus, metrics, node, made: Instant::now() };
        webhook.metrics.flows.announce(&webhook.label);
        for outcome in OUTCOMES {
            drop(webhook.metrics.flows.webhook_attempts.get_or_create(&webhook.attempt_label(outcome)));
        }
        webhook.show_stopped(false);
        webhook
    }

    /// Sends a message once, and counts the outcome.
    async fn send(&self, message: &Message, attempt: u32) -> Outcome {
        let span = tracing::debug_span!("webhook attempt", webhook = &*self.id.name, id = &*message.id, attempt);
        let outcome = self.settings.client.send(message, &self.settings.secrets).instrument(span.clone()).await;
        let kind = match &outcome {
            Outcome::Delivered { .. } => "delivered",
            Outcome::Gone => "gone",
            Outcome::Failed(failure) => failure.kind,
        };
        span.in_scope(|| tracing::debug!(?outcome, "sent"));
        self.metrics.flows.webhook_attempts.get_or_create(&self.attempt_label(kind)).inc();
        outcome
    }

    /// Where a channel begins of which the store has no progress.
    fn since(&self) -> Since {
        match &self.settings.since {
            // What is published while the node starts, or waits for its broker, is not before `now`. As an age, it does not depend
            // on this machine's clock.
            Since::Now => Since::AcceptedFrom(Moment::Ago(self.made.elapsed())),
            since => since.clone(),
        }
    }

    /// Where it begins if the log was lost, perhaps with its progress. What was published before is then a gap.
    fn lost_before(&self, caller: &Caller, channel: ChannelId, now: &Position) -> Option<Position> {
        let first = || ChannelReader::lost_before(&self.bus, caller, channel, now);
        match self.settings.since {
            Since::Now => first(),
            // Everything that the lost log had, or had had, was to be delivered.
            Since::Start => first().map(|first| Position { offset: 0, ..first }),
            // `locate` tells what is missing.
            _ => None,
        }
    }

    fn attempt_label(&self, outcome: &'static str) -> AttemptLabel {
        AttemptLabel { webhook: self.id.name.clone(), outcome }
    }

    fn show_lag(&self, events: u64, seconds: f64) {
        let flows = &self.metrics.flows;
        flows.lag_events.get_or_create(&self.label).set(i64::try_from(events).unwrap_or(i64::MAX));
        flows.lag_seconds.get_or_create(&self.label).set(seconds);
    }

    fn show_stopped(&self, stopped: bool) {
        let label = WebhookLabel { webhook: self.id.name.clone() };
        self.metrics.flows.webhook_stopped.get_or_create(&label).set(stopped.into());
    }

    /// Shows how far the webhook is behind while it is stopped, and reads nothing.
    async fn measure_stopped(&self, turn: &Turn) -> Result<(), FlowError> {
        let Some(state) = State::peek(&turn.store).await? else { return Ok(()) };
        let (caller, mut oldest) = (self.id.caller(), None);
        for channel in &self.settings.channels {
            let Some(progress) = state.channels.get(&*channel.name) else { continue };
            let at = progress.position();
            let reader = ChannelReader::new(&self.bus, &caller, channel.id, at.clone());
            if reader.behind(at) > progress.done_beyond() {
                oldest = [oldest, reader.oldest_after(at).await].into_iter().flatten().min();
            }
        }
        let age = oldest.map_or(0.0, |oldest| now().saturating_sub(oldest) as f64 / 1_000.0);
        self.show_lag(self.lag(&state), age);
        Ok(())
    }

    /// Waits until the webhook is not stopped. `false`: the node stops.
    async fn may_deliver(&self, turn: &Turn) -> Result<bool, FlowError> {
        while !turn.stopping.is_cancelled() {
            match Stopped::get(&turn.store).await? {
                None => {
                    self.show_stopped(false);
                    return Ok(true);
                }
                Some(_) => {
                    self.show_stopped(true);
                    self.measure_stopped(turn).await?;
                }
            }
            let _ = turn.stopping.run_until_cancelled(sleep(STOPPED_LOOK)).await;
        }
        Ok(false)
    }
}

/// What a node that does not run the webhook shows.
struct Shown<'a>(&'a Webhook);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        self.0.show_lag(0, 0.0);
        self.0.show_stopped(false);
    }
}

#[async_trait]
impl Flow for Webhook {
    fn id(&self) -> &FlowId {
        &self.id
    }

    async fn run(&self, turn: &Turn) -> Result<(), FlowError> {
        let _shown = Shown(self);
        while self.may_deliver(turn).await? {
            match Delivery::begin(self, turn).await?.run().await? {
                Ended::Stopping => break,
                Ended::Gone => {
                    let name = &*self.id.name;
                    tracing::warn!(
                        webhook = name,
                        "the receiver answered 410: the webhook is stopped until it is resumed"
                    );
                    Stopped { at: now(), reason: "the receiver answered 410".into() }.put(&turn.store).await?;
                }
            }
        }
        Ok(())
    }
}
