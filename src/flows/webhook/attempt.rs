//! One attempt to deliver an event, and the dead letter if it was the last.

use std::time::Duration;

use tokio::time::sleep;

use super::Webhook;
use super::client::{Failure, Outcome};
use super::lanes::{LaneKey, Pending, What};
use crate::flows::dead_letters::now;
use crate::flows::{DeadLetter, DeadLetters, FlowError, Turn};

/// Pause after a dead letter could not be stored.
const LETTER_RETRY: Duration = Duration::from_secs(1);

/// What an attempt came to.
#[derive(Debug)]
pub enum Attempted {
    Delivered,
    /// It failed for the last time, and is among the dead letters.
    Dead(Failure),
    Failed(Failure),
    Gone,
}

/// One attempt to deliver, and the dead letter if it was the last.
pub async fn attempt(
    webhook: &Webhook,
    turn: &Turn,
    key: LaneKey,
    pending: Pending,
    failures: u32,
) -> Result<(LaneKey, Attempted), FlowError> {
    // This process may have stood still since the lease was renewed.
    turn.check()?;
    let outcome = webhook.send(&pending.message, failures + 1).await;
    let attempted = match outcome {
        Outcome::Delivered { .. } => Attempted::Delivered,
        Outcome::Gone => Attempted::Gone,
        Outcome::Failed(failure) if failures + 1 < webhook.settings.max_attempts => Attempted::Failed(failure),
        Outcome::Failed(failure) => {
            bury(webhook, turn, pending, failures + 1, &failure).await?;
            Attempted::Dead(failure)
        }
    };
    Ok((key, attempted))
}

/// Puts what failed for the last time among the dead letters.
async fn bury(
    webhook: &Webhook,
    turn: &Turn,
    pending: Pending,
    attempts: u32,
    failure: &Failure,
) -> Result<(), FlowError> {
    let (letters, id) = (DeadLetters::new(turn.store.clone()), pending.message.id.to_string());
    let (What::Event(position) | What::Gap(position)) = pending.what;
    let letter = DeadLetter {
        id: id.clone(),
        reason: failure.reason.clone(),
        at: now(),
        attempts,
        position: Some(position.to_string()),
        body: String::from_utf8_lossy(&pending.message.body).into_owned(),
    };
    while let Err(error) = letters.add(letter.clone()).await {
        match error {
            FlowError::Broker(error) => tracing::debug!(%error, "a dead letter cannot be stored; it is tried again"),
            error => return Err(error),
        }
        sleep(LETTER_RETRY).await;
    }
    webhook.metrics.flows.dead.get_or_create(&webhook.label).inc();
    let (name, reason) = (&*webhook.id.name, &*failure.reason);
    tracing::warn!(webhook = name, id, attempts, reason, "an event could not be delivered, and is a dead letter");
    Ok(())
}
