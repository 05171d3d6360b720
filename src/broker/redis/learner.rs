//! The learner: reads the nonces of events that a log has and that this node did not see.
//!
//! A node that starts, or finds a log in a new epoch, knows only some of the events that the log has. Without the others
//! it could not tell which of them a later loss left. The learner reads their nonces in short steps, because Redis serves
//! no other client while a script runs.

use std::sync::Arc;
use std::time::Duration;

use fred::types::Value;
use tokio::sync::mpsc;

use super::channels::{Attempt, Channels};
use super::commands::{Commands, Script, unreadable};
use super::nonces::Nonce;
use super::{BrokerError, PAGE_BYTES, Signal, new_epoch, number, offset, parsed};
use crate::event::{ChannelId, Epoch, Position};

/// The most events in one step.
const STEP_EVENTS: u64 = 512;
/// Between two steps, for the other clients of Redis: many nodes may start at the same time.
const STEP_INTERVAL: Duration = Duration::from_millis(20);
/// Between two attempts after one that failed.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Learns the nonces of all channels' logs.
pub(super) struct Learner {
    channels: Arc<Channels>,
    commands: Arc<Commands>,
    script: Script,
    /// Weak, so that the signals end with the tasks that produce them.
    signals: mpsc::WeakSender<Signal>,
}

impl Learner {
    pub fn new(channels: Arc<Channels>, commands: Arc<Commands>, signals: mpsc::WeakSender<Signal>) -> Self {
        let script = Script::new(concat!(include_str!("log.lua"), include_str!("nonces.lua")));
        Self { channels, commands, script, signals }
    }

    /// Learns whenever a log is found in an epoch that was not known.
    pub async fn run(self) {
        loop {
            let mut failed = false;
            for (id, channel) in self.channels.iter() {
                while let Some(from) = channel.fingerprint.learn_from() {
                    // A step without progress is a failure, so that the learner does not run calls without a pause.
                    if self.step(id, &from).await.is_err() || channel.fingerprint.learn_from() == Some(from) {
                        failed = true;
                        break;
                    }
                    tokio::time::sleep(STEP_INTERVAL).await;
                }
            }
            match failed {
                true => tokio::time::sleep(RETRY_DELAY).await,
                false => self.channels.unlearned.notified().await,
            }
        }
    }

    /// Reads the nonces of some events from the position `from` on.
    async fn step(&self, id: ChannelId, from: &Position) -> Result<(), BrokerError> {
        let channel = self.channels.get(id);
        let attempt = Attempt::default();
        let arguments = |sending| {
            self.channels.begin_attempt(&attempt, sending);
            let fingerprint = channel.fingerprint.argument(sending).into();
            (
                channel.log_keys(),
                vec![new_epoch(), fingerprint, number(from.offset), number(STEP_EVENTS), number(PAGE_BYTES as u64)],
            )
        };
        let reply = self.commands.run(&self.script, &channel.stream, arguments).await?;
        let Value::Array(reply) = reply else { return Err(unreadable()) };
        let mut reply = reply.into_iter();
        let epoch: Epoch = parsed(reply.next())?;
        let first = offset(reply.next())?;
        let nonces: String = parsed(reply.next())?;
        let next = offset(reply.next())?;
        let new_epoch = channel.fingerprint.record(
            attempt.number(),
            &Position::new(epoch.clone(), 0),
            Nonce::parse_each(first, &nonces),
        );
        channel.fingerprint.confirm(attempt.connection());
        if new_epoch {
            if let Some(signals) = self.signals.upgrade() {
                let _ = signals.send(Signal::Hint { channel: id, position: None }).await;
            }
        } else if epoch == from.epoch {
            // A reply in another epoch may not begin where that epoch has to be learned from.
            channel.fingerprint.learned(&epoch, (next > 0).then_some(next));
        }
        Ok(())
    }
}
