//! Reads of the newest event of each subject. The script is `latest.lua`; `keep_latest.lua` says how Redis has them.

use std::sync::Arc;

use fred::types::{Key, Value};

use super::channels::{Attempt, Channels};
use super::commands::{Commands, Script, unreadable};
use super::{BrokerError, millis, new_epoch, number, offset, parsed};
use crate::broker::{Entry, LatestOf, LatestPage, LatestRetention, LatestTally, Limits, PAGE_BYTES};
use crate::event::{ChannelId, Position};

/// Reads the channels' newest events.
pub(super) struct LatestReads {
    channels: Arc<Channels>,
    commands: Arc<Commands>,
    limits: Limits,
    script: Script,
}

impl LatestReads {
    pub fn new(channels: Arc<Channels>, commands: Arc<Commands>, limits: Limits) -> Self {
        let script = Script::new(concat!(include_str!("log.lua"), include_str!("latest.lua")));
        Self { channels, commands, limits, script }
    }

    /// How the channel keeps newest events; `None` if it does not.
    pub fn retention(&self, id: ChannelId) -> Option<LatestRetention> {
        self.limits.retention(id).latest
    }

    pub fn tally(&self, id: ChannelId) -> &LatestTally {
        &self.channels.get(id).tally
    }

    /// The newest event of a subject.
    ///
    /// # Errors
    /// As [`Log::read`](crate::broker::Log::read).
    pub async fn of_subject(&self, id: ChannelId, subject: &str) -> Result<LatestOf, BrokerError> {
        let LatestPage { head, mut entries, .. } = self.read(id, vec![subject.into()]).await?;
        Ok(LatestOf { head, entry: entries.pop() })
    }

    /// A page of the newest events.
    ///
    /// # Errors
    /// As [`Log::read`](crate::broker::Log::read).
    pub async fn page(&self, id: ChannelId, after: u64, limit: usize) -> Result<LatestPage, BrokerError> {
        let wanted = ["".into(), number(after), number(limit as u64), number(PAGE_BYTES as u64)];
        self.read(id, wanted.into()).await
    }

    async fn read(&self, id: ChannelId, wanted: Vec<Value>) -> Result<LatestPage, BrokerError> {
        let channel = self.channels.get(id);
        let attempt = Attempt::default();
        let max_age = self.retention(id).map_or_else(|| number(0), |kept| millis(kept.max_age));
        let arguments = |sending| {
            self.channels.begin_attempt(&attempt, sending);
            let keys: Vec<Key> = channel.log_keys().into_iter().chain(channel.latest_keys()).collect();
            let mut args = vec![new_epoch(), channel.fingerprint.argument(sending).into(), max_age.clone()];
            args.extend(wanted.iter().cloned());
            (keys, args)
        };
        let reply = self.commands.run(&self.script, &channel.stream, arguments).await?;
        let page = read_latest(reply)?;
        channel.fingerprint.record(attempt.number(), &page.head, None);
        Ok(page)
    }
}

/// Reads a reply of `latest.lua`.
///
/// # Errors
/// The script returned something else: the values are not as tidings writes them.
pub(super) fn read_latest(reply: Value) -> Result<LatestPage, BrokerError> {
    let Value::Array(reply) = reply else { return Err(unreadable()) };
    let mut reply = reply.into_iter();
    let head = Position::new(parsed(reply.next())?, offset(reply.next())?);
    let more = parsed::<u8>(reply.next())? == 1;
    let mut entries: Vec<Entry> = Vec::with_capacity(reply.len() / 2);
    while let Some(at) = reply.next() {
        let (offset, json) = (offset(Some(at))?, reply.next());
        let json = json.as_ref().and_then(Value::as_str).ok_or_else(unreadable)?;
        if entries.last().is_some_and(|last| last.offset >= offset) || offset > head.offset {
            return Err(unreadable());
        }
        entries.push(Entry { offset, json: json.as_ref().into() });
    }
    Ok(LatestPage { head, entries, more })
}
