//! Delivers the events of a webhook's channels, as long as this node has its lease.
//!
//! One loop holds everything: reads of the channels, attempts under way, the write of the progress. Dropping it ends all of
//! them. An event counts as done when the broker has the progress with it. Only then comes the next of its subject, and only
//! then is its turn among the `concurrency` free. So a node that dies leaves at most so many events that the next one
//! delivers again.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, sleep_until};

use super::Webhook;
use super::attempt::{Attempted, attempt};
use super::client::{Failure, Message};
use super::lanes::{LaneKey, Lanes, Pending, What};
use super::message;
use super::progress::Progress;
use super::state::{LastFailure, State};
use crate::event::{Position, Since};
use crate::flows::dead_letters::now;
use crate::flows::{ChannelReader, Checkpoint, FlowError, Step, Turn};

/// The most events that wait in memory, of all channels of a webhook. Each has a share of them.
const MAX_PENDING: usize = 1_000;
/// The most bytes of them.
const MAX_PENDING_BYTES: usize = 8 << 20;
/// The least share of a channel, in events.
const MIN_SHARE: usize = 10;
/// The most events in one read of the log.
const PAGE: usize = 256;
/// How often progress is written that no delivery waits for: past events that a filter leaves out.
const IDLE_SAVE: Duration = Duration::from_secs(5);
/// How often the lag is measured while events wait.
const TICK: Duration = Duration::from_secs(1);
/// The longest reason of a failure that is kept, in characters.
const MAX_REASON: usize = 500;

/// Why delivering ended without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The node stops.
    Stopping,
    /// The receiver answered 410.
    Gone,
}

/// One run of the loop.
pub struct Delivery<'a> {
    webhook: &'a Webhook,
    turn: &'a Turn,
    channels: Vec<ChannelState>,
    lanes: Lanes,
    reads: FuturesUnordered<BoxFuture<'a, (usize, ChannelReader, Vec<Step>)>>,
    attempts: FuturesUnordered<BoxFuture<'a, Result<(LaneKey, Attempted), FlowError>>>,
    /// Attempts under way, and what is done and not yet saved.
    active: usize,
    /// Lanes whose first is done, and goes with the next write.
    unsaved: Vec<LaneKey>,
    /// `None` while it is being written.
    checkpoint: Option<Checkpoint<State>>,
    saving: Option<Saving<'a>>,
    /// Progress, or a failure, that no write has yet.
    dirty: bool,
    saved: Instant,
    failure: Option<LastFailure>,
    gone: bool,
}

/// A write of the progress.
struct Saving<'a> {
    write: BoxFuture<'a, (Checkpoint<State>, Result<(), FlowError>)>,
    /// The lanes that it frees.
    lanes: Vec<LaneKey>,
}

struct ChannelState {
    /// `None` while it is reading.
    reader: Option<ChannelReader>,
    /// Another one, which tells how far the channel is.
    head: ChannelReader,
    progress: Progress,
    pending: usize,
    bytes: usize,
    /// A gap that is told when everything before it is done. Nothing is read until then.
    gap: Option<(Position, Position)>,
    /// Whether it waits in its lane.
    gap_queued: bool,
}

impl<'a> Delivery<'a> {
    /// Takes over where the last holder of the lease was, or begins where the configuration says.
    ///
    /// # Errors
    /// Those of the broker.
    pub async fn begin(webhook: &'a Webhook, turn: &'a Turn) -> Result<Self, FlowError> {
        let caller = webhook.id.caller();
        let (checkpoint, stored) = Checkpoint::claim(turn, super::state::STATE).await?;
        let stored: State = stored.unwrap_or_default();
        let (mut channels, mut dirty) = (Vec::new(), false);
        for channel in &webhook.settings.channels {
            let progress = match stored.channels.get(&*channel.name) {
                Some(progress) => progress.clone(),
                None => {
                    dirty = true;
                    let (position, lost) = webhook.bus.locate(&caller, channel.id, &webhook.since()).await?;
                    // A time to which the log does not reach back begins with a gap; `now` and `start` only do if a log was lost.
                    let asked = matches!(webhook.settings.since, Since::AcceptedFrom(_));
                    let begin = lost.filter(|_| asked).or_else(|| webhook.lost_before(&caller, channel.id, &position));
                    Progress::new(begin.unwrap_or(position))
                }
            };
            let reader = || ChannelReader::new(&webhook.bus, &caller, channel.id, progress.position().clone());
            channels.push(ChannelState {
                reader: Some(reader()),
                head: reader(),
                progress: progress.clone(),
                pending: 0,
                bytes: 0,
                gap: None,
                gap_queued: false,
            });
        }
        let mut delivery = Self {
            webhook,
            turn,
            channels,
            lanes: Lanes::default(),
            reads: FuturesUnordered::new(),
            attempts: FuturesUnordered::new(),
            active: 0,
            unsaved: Vec::new(),
            checkpoint: Some(checkpoint),
            saving: None,
            dirty,
            saved: Instant::now(),
            failure: stored.failure,
            gone: false,
        };
        if dirty || stored.node != webhook.node {
            // So that a new webhook begins here whatever happens, and that operators see which node delivers.
            delivery.save_all().await?;
        }
        Ok(delivery)
    }

    /// Delivers until the node stops, or the receiver wants no more. Then nothing is under way, and everything is saved.
    ///
    /// # Errors
    /// The lease was lost, or a refusal of the broker.
    pub async fn run(mut self) -> Result<Ended, FlowError> {
        loop {
            let ending = self.gone || self.turn.stopping.is_cancelled();
            if !ending {
                self.queue_gaps();
                self.start_reads();
                self.start_attempts();
            }
            self.start_save(ending);
            self.measure();
            if ending && self.active == 0 && self.saving.is_none() && !self.dirty {
                return Ok(if self.gone { Ended::Gone } else { Ended::Stopping });
            }
            let saving = async {
                match &mut self.saving {
                    Some(saving) => (&mut saving.write).await,
                    None => std::future::pending().await,
                }
            };
            let busy = !self.lanes.is_empty() || self.dirty;
            // A retry that is due waits for a free turn, which an attempt or a write brings.
            let has_turn = !ending && self.active < self.webhook.settings.concurrency;
            let wake = [busy.then(|| Instant::now() + TICK), self.lanes.next_turn().filter(|_| has_turn)];
            let wake = wake.into_iter().flatten().min();
            let due = async {
                match wake {
                    Some(wake) => sleep_until(wake).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(finished) = self.attempts.next(), if !self.attempts.is_empty() => {
                    let (key, attempted) = finished?;
                    self.finish(key, attempted);
                }
                (checkpoint, saved) = saving => {
                    saved?;
                    self.checkpoint = Some(checkpoint);
                    self.saved = Instant::now();
                    for key in self.saving.take().map(|saving| saving.lanes).unwrap_or_default() {
                        self.active -= 1;
                        self.lanes.release(key);
                    }
                }
                Some((number, reader, steps)) = self.reads.next(), if !self.reads.is_empty() && !ending => {
                    self.channels[number].reader = Some(reader);
                    self.take_in(number, steps);
                }
                () = due => {}
                () = self.turn.stopping.cancelled(), if !ending => {}
            }
        }
    }

    /// Reads on in every channel that has room for more.
    fn start_reads(&mut self) {
        let share = (MAX_PENDING / self.channels.len().max(1)).max(MIN_SHARE);
        let share_bytes = MAX_PENDING_BYTES / self.channels.len().max(1);
        for (number, channel) in self.channels.iter_mut().enumerate() {
            let has_room = channel.pending < share && channel.bytes < share_bytes && channel.gap.is_none();
            if has_room && let Some(mut reader) = channel.reader.take() {
                let limit = (share - channel.pending).min(PAGE);
                self.reads.push(Box::pin(async move {
                    let steps = reader.next(limit).await;
                    (number, reader, steps)
                }));
            }
        }
    }

    /// Puts what was read into its lanes.
    fn take_in(&mut self, number: usize, steps: Vec<Step>) {
        let channel = &mut self.channels[number];
        let settings = &self.webhook.settings.channels[number];
        for step in steps {
            match step {
                Step::Gap { from, to } => {
                    self.webhook.metrics.flows.gaps.get_or_create(&self.webhook.label).inc();
                    channel.gap = Some((from, to));
                }
                // The last holder of the lease has delivered it.
                Step::Event { position, .. } if channel.progress.is_done(position.offset) => {}
                Step::Event { position, json } => {
                    let event = message::read(&json);
                    if !event.matches(&settings.selector) {
                        channel.progress.done(position.offset);
                        self.dirty = true;
                        continue;
                    }
                    let id = event.id.map_or_else(|| position.to_string().into(), Arc::from);
                    let key = (number, event.subject.map(Arc::from));
                    let pending = Pending {
                        what: What::Event(position),
                        time: event.time.unwrap_or_else(now),
                        message: Message { id, body: json.as_bytes().to_vec().into() },
                    };
                    channel.pending += 1;
                    channel.bytes += pending.message.body.len();
                    self.lanes.push(key, pending);
                }
            }
        }
    }

    /// Puts each gap into its lane before which everything is done.
    fn queue_gaps(&mut self) {
        for (number, channel) in self.channels.iter_mut().enumerate() {
            if let Some((from, to)) = &channel.gap
                && channel.pending == 0
                && !channel.gap_queued
            {
                let name = &self.webhook.settings.channels[number].name;
                let pending =
                    Pending { what: What::Gap(to.clone()), message: message::gap(name, from, to), time: now() };
                channel.gap_queued = true;
                self.lanes.push((number, None), pending);
            }
        }
    }

    /// Sends as many as may be under way.
    fn start_attempts(&mut self) {
        while self.active < self.webhook.settings.concurrency {
            let Some((key, pending, failures)) = self.lanes.next(Instant::now()) else { return };
            self.active += 1;
            self.attempts.push(Box::pin(attempt(self.webhook, self.turn, key, pending, failures)));
        }
    }

    fn finish(&mut self, key: LaneKey, attempted: Attempted) {
        let reason = |failure: &Failure| failure.reason.chars().take(MAX_REASON).collect();
        let failed = |failure: &Failure| Some(LastFailure { at: now(), reason: reason(failure), given_up: false });
        let (is_delivered, is_dead) =
            (matches!(attempted, Attempted::Delivered), matches!(attempted, Attempted::Dead(_)));
        if let Attempted::Failed(failure) | Attempted::Dead(failure) = &attempted
            && let Some(pause) = failure.hold()
        {
            self.lanes.hold(Instant::now() + pause);
        }
        match attempted {
            Attempted::Gone => {
                self.gone = true;
                self.active -= 1;
                return self.lanes.release(key);
            }
            Attempted::Failed(failure) => {
                if self.failure.is_none() {
                    let (webhook, reason) = (&*self.webhook.id.name, &*failure.reason);
                    tracing::warn!(webhook, reason, "a delivery of the webhook failed; it is tried again");
                }
                (self.failure, self.dirty) = (failed(&failure), true);
                self.active -= 1;
                return self.lanes.retry(key, Instant::now(), failure.retry_after.unwrap_or_default());
            }
            Attempted::Dead(failure) => self.failure = failed(&failure),
            Attempted::Delivered => {}
        }
        let channel = &mut self.channels[key.0];
        match self.lanes.done(&key) {
            Some(Pending { what: What::Event(position), message, .. }) => {
                channel.pending -= 1;
                channel.bytes -= message.body.len();
                channel.progress.done(position.offset);
            }
            Some(Pending { what: What::Gap(to), .. }) => {
                channel.progress.pass(to);
                (channel.gap, channel.gap_queued) = (None, false);
            }
            None => {}
        }
        // One subject may fail for long, while the receiver takes the events of others.
        if is_delivered && self.failure.is_some() && !self.lanes.is_failing() {
            self.failure = None;
            tracing::info!(webhook = &*self.webhook.id.name, "the webhook's receiver takes events again");
        }
        if is_dead && let Some(failure) = &mut self.failure {
            failure.given_up = !self.lanes.is_failing();
        }
        self.dirty = true;
        self.unsaved.push(key);
    }

    /// Writes the progress if a delivery waits for that, or if it is time.
    fn start_save(&mut self, ending: bool) {
        let due = self.dirty && (ending && self.active == self.unsaved.len() || self.saved.elapsed() >= IDLE_SAVE);
        if self.unsaved.is_empty() && !due {
            return;
        }
        let Some(mut checkpoint) = self.checkpoint.take() else { return };
        let (state, lanes) = (self.state(), std::mem::take(&mut self.unsaved));
        self.dirty = false;
        let write = Box::pin(async move {
            let saved = checkpoint.save(&state).await;
            (checkpoint, saved)
        });
        self.saving = Some(Saving { write, lanes });
    }

    async fn save_all(&mut self) -> Result<(), FlowError> {
        let state = self.state();
        if let Some(checkpoint) = &mut self.checkpoint {
            checkpoint.save(&state).await?;
        }
        self.dirty = false;
        Ok(())
    }

    fn state(&self) -> State {
        let channels = self.webhook.settings.channels.iter().zip(&self.channels);
        let channels = channels.map(|(settings, channel)| (settings.name.to_string(), channel.progress.clone()));
        State { node: self.webhook.node.clone(), channels: channels.collect(), failure: self.failure.clone() }
    }

    /// Shows how far the webhook is behind.
    fn measure(&self) {
        let behind = |channel: &ChannelState| {
            channel.head.behind(channel.progress.position()).saturating_sub(channel.progress.done_beyond())
        };
        let events: u64 = self.channels.iter().map(behind).sum();
        let seconds = self.lanes.oldest().map_or(0.0, |oldest| now().saturating_sub(oldest) as f64 / 1_000.0);
        self.webhook.show_lag(events, seconds);
    }
}
