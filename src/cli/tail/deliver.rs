//! The loop of `tidings tail --forward-to` and `--exec`: one event after the other, each until it is taken.
//!
//! The position moves after the answer, and is written before the next event is touched. So an event comes twice only if
//! this process, or the connection, ended between the moment at which the receiver took it and the answer.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::super::failure::{Failure, say, say_error};
use super::super::follow::{Following, Seen};
use super::super::interrupt::Stops;
use super::super::output::{self, DIM};
use super::super::reporter::ConnectionReporter;
use super::exec::Exec;
use super::forward::Forward;
use super::item::{Attempt, Item};
use super::positions::Positions;
use super::receipts::Receipts;
use crate::client::{Error, Subscriber, Update};

/// The most updates that are read ahead while an event waits for its answer. Behind them, the daemon keeps the events: the
/// connection is closed in the end and resumes.
const READ_AHEAD: usize = 256;
/// The pauses between attempts: from a half to all of a bound that doubles from the first to the last of these.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(30);

/// Who gets the events.
pub enum Destination {
    Forward(Forward),
    Exec(Exec),
}

impl Destination {
    /// What an attempt ends with.
    fn end(&self) -> &'static str {
        match self {
            Self::Forward(_) => "the answer",
            Self::Exec(_) => "the command",
        }
    }

    async fn attempt(&self, item: &Item) -> Attempt {
        match self {
            Self::Forward(forward) => forward.attempt(item).await,
            Self::Exec(exec) => exec.attempt(item).await,
        }
    }
}

/// When to give up.
pub struct Policy {
    /// Attempts of an event. `None`: without limit.
    pub attempts: Option<u32>,
    /// Whether the next event comes then. Otherwise the command ends.
    pub skip_failed: bool,
    /// How many events to deliver.
    pub count: Option<u64>,
}

/// Why the loop ends early without a failure.
enum Stopped {
    /// Ctrl-C or SIGTERM.
    Asked,
    Failed(Failure),
}

impl<E: Into<Failure>> From<E> for Stopped {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// The state of the loop.
pub struct Delivering {
    destination: Destination,
    policy: Policy,
    positions: Positions,
    receipts: Receipts,
    following: Following,
    subscriber: Subscriber,
    /// What came while an event waited for its answer.
    ahead: VecDeque<Result<Update, Error>>,
    reporter: ConnectionReporter,
    signals: Stops,
    /// A signal came while an event waited for its answer.
    stopping: bool,
    /// The channels whose subscriptions are not confirmed yet.
    unconfirmed: HashSet<Arc<str>>,
    done: u64,
    skipped: u64,
}

impl Delivering {
    /// The loop over a subscriber of what is followed, which begins with these channels.
    pub fn new(
        destination: Destination,
        policy: Policy,
        positions: Positions,
        receipts: Receipts,
        (following, subscriber, channels): (Following, Subscriber, HashSet<Arc<str>>),
        signals: Stops,
    ) -> Self {
        Self {
            destination,
            policy,
            positions,
            receipts,
            following,
            subscriber,
            ahead: VecDeque::new(),
            reporter: ConnectionReporter::default(),
            signals,
            stopping: false,
            unconfirmed: channels,
            done: 0,
            skipped: 0,
        }
    }

    /// Delivers until a signal, a failure, or the count.
    ///
    /// # Errors
    /// The daemon refuses the subscription; an event is given up; the positions cannot be written.
    pub async fn run(mut self) -> Result<(), Failure> {
        let outcome = self.deliver_all().await;
        self.reporter.flush();
        let failure = match outcome {
            Ok(()) | Err(Stopped::Asked) => None,
            Err(Stopped::Failed(failure)) => Some(failure),
        };
        if let Some(Failure::Message(message)) = &failure {
            say_error(message);
        }
        say(&self.summary());
        self.subscriber.close().await;
        match failure {
            None => Ok(()),
            Some(Failure::Message(_)) => Err(Failure::Reported),
            Some(failure) => Err(failure),
        }
    }

    fn summary(&self) -> String {
        let done = output::thousands(self.done);
        let skipped = match self.skipped {
            0 => String::new(),
            count => format!(", {} given up", output::thousands(count)),
        };
        match self.positions.cursor() {
            Some(cursor) if !self.positions.is_kept() => {
                format!("delivered: {done}{skipped}; to go on from here: --since {cursor}")
            }
            _ => format!("delivered: {done}{skipped}"),
        }
    }

    /// When an event comes again that is not done. The summary has the cursor.
    fn next_time(&self) -> &'static str {
        match self.positions.is_kept() {
            true => "the next time",
            false => "in a run with the --since below",
        }
    }

    async fn deliver_all(&mut self) -> Result<(), Stopped> {
        while self.policy.count.is_none_or(|count| self.done + self.skipped < count) {
            let item = match self.next_update().await? {
                Update::Event(delivery) => Item::event(&delivery.channel, &delivery.position, &delivery.event),
                Update::Gap { channel, from, position } => Item::gap(&channel, &from, &position),
                Update::Subscribed { channel, position } => {
                    // Where nothing was delivered yet, the channel begins here, also next time. Otherwise a gap may follow, which
                    // is not delivered yet.
                    if self.positions.of(&channel).is_none() {
                        self.positions.done(&channel, &position)?;
                    }
                    if self.unconfirmed.remove(&channel) && self.unconfirmed.is_empty() {
                        say(&format!("{DIM}following; press Ctrl-C to stop{DIM:#}"));
                    }
                    continue;
                }
                _ => continue,
            };
            self.deliver(&item).await?;
            if self.stopping {
                return Err(Stopped::Asked);
            }
        }
        Ok(())
    }

    /// The next event, gap or subscription. Reports the rest.
    async fn next_update(&mut self) -> Result<Update, Stopped> {
        loop {
            let update = match self.ahead.pop_front() {
                Some(update) => update,
                None => tokio::select! {
                    update = self.subscriber.next() => update,
                    more = self.following.more() => {
                        more.into_iter().for_each(|one| self.subscriber.add(self.positions.resume(one)));
                        continue;
                    }
                    _ = self.signals.next() => return Err(Stopped::Asked),
                    () = output::reader_gone() => return Err(Failure::ClosedPipe.into()),
                },
            };
            let update = match self.following.saw(update)? {
                Seen::Update(update) => update,
                Seen::Ended(channel) => {
                    self.unconfirmed.remove(&channel);
                    continue;
                }
            };
            match update {
                Update::Event(_) | Update::Subscribed { .. } => return Ok(update),
                Update::Gap { .. } => {
                    self.reporter.report(&update);
                    self.reporter.flush();
                    return Ok(update);
                }
                other => self.reporter.report(&other),
            }
        }
    }

    /// Delivers one event, in as many attempts as it takes.
    async fn deliver(&mut self, item: &Item) -> Result<(), Stopped> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let begun = Instant::now();
            let outcome = self.attempt(item).await;
            let took = begun.elapsed();
            let refusal = match outcome {
                Attempt::Taken { status } => {
                    self.positions.done(&item.channel, &item.position).map_err(|error| {
                        format!("{error}\nThe event {} was delivered, and will be delivered again.", item.message.id)
                    })?;
                    self.done += 1;
                    return Ok(self.receipts.taken(item, attempt, status, took)?);
                }
                Attempt::Refused(refusal) => refusal,
            };
            if matches!(self.destination, Destination::Exec(_)) && output::is_reader_gone().await {
                // The command had nobody to write to.
                return Err(Failure::ClosedPipe.into());
            }
            let given_up = self.policy.attempts.is_some_and(|most| attempt >= most);
            if !refusal.is_final && self.stopping {
                self.receipts.refused(item, attempt, &refusal, took, None)?;
                let next = self.next_time();
                say(&format!("the event {} was not taken, and comes first {next}", item.message.id));
                return Err(Stopped::Asked);
            }
            if refusal.is_final || given_up && !self.policy.skip_failed {
                self.receipts.refused(item, attempt, &refusal, took, None)?;
                let attempts = if attempt == 1 { String::new() } else { format!(" after {attempt} attempts") };
                return Err(Stopped::Failed(
                    format!(
                        "{}{attempts}: {} of {} (id {}) is not done, and comes first {}",
                        refusal.reason,
                        item.position,
                        item.channel,
                        item.message.id,
                        self.next_time()
                    )
                    .into(),
                ));
            }
            if given_up {
                self.receipts.refused(item, attempt, &refusal, took, None)?;
                self.positions.done(&item.channel, &item.position)?;
                self.skipped += 1;
                return Ok(());
            }
            let pause = pause(attempt).max(refusal.retry_after.unwrap_or_default());
            self.receipts.refused(item, attempt, &refusal, took, Some(pause))?;
            self.pause(pause).await?;
        }
    }

    /// One attempt. Reads ahead meanwhile, which also answers the daemon's heartbeats.
    async fn attempt(&mut self, item: &Item) -> Attempt {
        let mut attempt = std::pin::pin!(self.destination.attempt(item));
        loop {
            let room = has_room(&self.ahead);
            tokio::select! {
                outcome = &mut attempt => return outcome,
                update = self.subscriber.next(), if room => put(update, &mut self.ahead, &mut self.reporter),
                _ = self.signals.next() => {
                    if std::mem::replace(&mut self.stopping, true) {
                        say(&format!("stopped before an answer: the event {} may come twice", item.message.id));
                        // A command of --exec is waited for by a thread, which only the end of the process ends.
                        std::process::exit(1);
                    }
                    let end = self.destination.end();
                    say(&format!("stopping after {end}; press Ctrl-C again to stop at once"));
                }
            }
        }
    }

    /// Waits for the next attempt. Nothing is under way: a signal ends the command at once.
    async fn pause(&mut self, pause: Duration) -> Result<(), Stopped> {
        let mut over = std::pin::pin!(sleep(pause));
        loop {
            let room = has_room(&self.ahead);
            tokio::select! {
                () = &mut over => return Ok(()),
                update = self.subscriber.next(), if room => put(update, &mut self.ahead, &mut self.reporter),
                _ = self.signals.next() => return Err(Stopped::Asked),
                () = output::reader_gone() => return Err(Failure::ClosedPipe.into()),
            }
        }
    }
}

/// Whether more may be read ahead. Nothing is read after an error, which comes after the events before it.
fn has_room(ahead: &VecDeque<Result<Update, Error>>) -> bool {
    ahead.len() < READ_AHEAD && !ahead.back().is_some_and(Result::is_err)
}

/// Keeps what must stay in order, and reports the rest at once. What is followed sees all of it in its order.
fn put(update: Result<Update, Error>, ahead: &mut VecDeque<Result<Update, Error>>, reporter: &mut ConnectionReporter) {
    match update {
        Ok(Update::Event(_) | Update::Gap { .. } | Update::Subscribed { .. } | Update::Connected { .. }) | Err(_) => {
            if let Ok(connected @ Update::Connected { .. }) = &update {
                reporter.report(connected);
            }
            ahead.push_back(update);
        }
        Ok(other) => reporter.report(&other),
    }
}

/// The pause after so many failed attempts in a row.
fn pause(attempts: u32) -> Duration {
    let bound = FIRST_PAUSE.saturating_mul(2u32.saturating_pow(attempts.saturating_sub(1))).min(LAST_PAUSE);
    bound.mul_f64(rand::random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_half_a_minute() {
        for (attempts, most) in [(1, 500), (2, 1_000), (6, 16_000), (7, 30_000), (1_000, 30_000)] {
            let most = Duration::from_millis(most);
            assert!((0..100).map(|_| pause(attempts)).all(|pause| pause >= most / 2 && pause <= most), "{attempts}");
        }
    }
}
