//! Reads of the logs: a page of one, and a moment in one. The scripts are `read.lua` and `position_at.lua`.

use std::sync::Arc;
use std::time::Duration;

use fred::types::Value;

use super::channels::{Attempt, Channels};
use super::commands::{Commands, Script, unreadable};
use super::nonces::Nonce;
use super::{BrokerError, log_max_events, millis, new_epoch, number, parsed};
use crate::broker::{Bounds, Entry, Limits, Located, PAGE_BYTES, Page};
use crate::event::{ChannelId, Moment, Position};

/// Reads the channels' logs.
pub(super) struct Reads {
    channels: Arc<Channels>,
    commands: Arc<Commands>,
    limits: Limits,
    page_script: Script,
    moment_script: Script,
}

/// What `read.lua` is asked for; its head describes each argument.
pub(super) struct PageRequest<'a> {
    pub fingerprint: String,
    /// `log_max_events` and `log_max_age`.
    pub retained: (Value, Duration),
    /// The epoch and offset after which to read; `("", 0)` for the bounds only.
    pub after: (&'a str, u64),
    pub limit: usize,
    pub bytes: usize,
    pub evidence: String,
}

impl PageRequest<'_> {
    /// The script's ARGV.
    pub fn arguments(self) -> Vec<Value> {
        vec![
            new_epoch(),
            self.fingerprint.into(),
            self.retained.0,
            millis(self.retained.1),
            self.after.0.into(),
            number(self.after.1),
            number(self.limit as u64),
            number(self.bytes as u64),
            self.evidence.into(),
        ]
    }
}

impl Reads {
    pub fn new(channels: Arc<Channels>, commands: Arc<Commands>, limits: Limits) -> Self {
        let page_script = Script::new(concat!(include_str!("log.lua"), include_str!("read.lua")));
        let moment_script = Script::new(concat!(include_str!("log.lua"), include_str!("position_at.lua")));
        Self { channels, commands, limits, page_script, moment_script }
    }

    /// Reads a page. `delivered` says that this node's relay has delivered everything up to `known`.
    ///
    /// # Errors
    /// As [`Log::read`](crate::broker::Log::read).
    pub async fn page(
        &self,
        id: ChannelId,
        known: Option<&Position>,
        limit: usize,
        delivered: bool,
    ) -> Result<Page, BrokerError> {
        let channel = self.channels.get(id);
        let attempt = Attempt::default();
        let arguments = |sending| {
            self.channels.begin_attempt(&attempt, sending);
            let (fingerprint, evidence) = match known.filter(|_| delivered) {
                Some(known) => channel.fingerprint.arguments_for_relay(sending, known),
                None => (channel.fingerprint.argument(sending), "-".into()),
            };
            let request = PageRequest {
                fingerprint,
                retained: (log_max_events(&self.limits), self.limits.log_max_age),
                after: known.map_or(("", 0), |known| (known.epoch.as_str(), known.offset)),
                limit,
                bytes: PAGE_BYTES,
                evidence,
            };
            (channel.log_keys(), request.arguments())
        };
        let reply = self.commands.run(&self.page_script, &channel.stream, arguments).await?;
        let Value::Array(reply) = reply else { return Err(unreadable()) };
        let mut reply = reply.into_iter();
        let bounds =
            Bounds { epoch: parsed(reply.next())?, head: parsed(reply.next())?, oldest: parsed(reply.next())? };
        let first: u64 = parsed(reply.next())?;
        let common: u64 = parsed(reply.next())?;
        let nonces: String = parsed(reply.next())?;
        let entries = (first..)
            .zip(reply)
            .map(|(offset, json)| Ok(Entry { offset, json: json.as_str().ok_or_else(unreadable)?.into() }))
            .collect::<Result<Vec<_>, BrokerError>>()?;
        channel.fingerprint.record(attempt.number(), &bounds.head(), Nonce::parse_each(first, &nonces));
        channel.fingerprint.confirm(attempt.connection());
        if let Some(known) = known.filter(|_| common > 0) {
            channel.fingerprint.survived(&known.epoch, &bounds.epoch, common);
        }
        Ok(Page { bounds, entries })
    }

    /// Finds a moment in a channel's log.
    ///
    /// # Errors
    /// As [`Log::position_at`](crate::broker::Log::position_at).
    pub async fn position_at(&self, id: ChannelId, moment: Moment) -> Result<Located, BrokerError> {
        let channel = self.channels.get(id);
        let attempt = Attempt::default();
        let arguments = |sending| {
            self.channels.begin_attempt(&attempt, sending);
            let (at, ago) = match moment {
                Moment::At(millis) => (millis.to_string(), String::new()),
                Moment::Ago(age) => (String::new(), age.as_millis().to_string()),
            };
            let (events, age) = (log_max_events(&self.limits), millis(self.limits.log_max_age));
            let fingerprint = channel.fingerprint.argument(sending).into();
            (channel.log_keys(), vec![new_epoch(), fingerprint, events, age, at.into(), ago.into()])
        };
        let reply = self.commands.run(&self.moment_script, &channel.stream, arguments).await?;
        let Value::Array(reply) = reply else { return Err(unreadable()) };
        let mut reply = reply.into_iter();
        let bounds =
            Bounds { epoch: parsed(reply.next())?, head: parsed(reply.next())?, oldest: parsed(reply.next())? };
        let position = Position::new(parsed(reply.next())?, parsed(reply.next())?);
        channel.fingerprint.record(attempt.number(), &bounds.head(), None);
        Ok(Located { position, bounds })
    }
}
