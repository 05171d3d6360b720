//! Reads of the logs: a page of one, and a moment in one. The scripts are `read.lua` and `position_at.lua`.

use std::sync::Arc;

use fred::types::Value;

use super::channels::{Attempt, Channels};
use super::commands::{Commands, Script, unreadable};
use super::nonces::Nonce;
use super::{BrokerError, max_events, millis, new_epoch, number, offset, parsed};
use crate::broker::{Bounds, Entry, Limits, Located, PAGE_BYTES, Page, Retention};
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
    pub retention: Retention,
    /// The epoch and offset after which to read; `("", 0)` for the bounds only.
    pub after: (&'a str, u64),
    pub limit: usize,
    pub bytes: usize,
    pub evidence: String,
}

/// What `read.lua` returns.
pub(super) struct PageReply {
    pub page: Page,
    /// The offset of the first entry, and of the first nonce.
    pub first: u64,
    /// The newest event that the log and this node have in common; 0 if nothing was compared.
    pub common: u64,
    pub nonces: String,
}

impl PageRequest<'_> {
    /// The script's ARGV.
    pub fn arguments(self) -> Vec<Value> {
        vec![
            new_epoch(),
            self.fingerprint.into(),
            max_events(self.retention),
            millis(self.retention.max_age),
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
                retention: self.limits.retention(id),
                after: known.map_or(("", 0), |known| (known.epoch.as_str(), known.offset)),
                limit,
                bytes: PAGE_BYTES,
                evidence,
            };
            (channel.log_keys(), request.arguments())
        };
        let reply = self.commands.run(&self.page_script, &channel.stream, arguments).await?;
        let PageReply { page, first, common, nonces } = PageReply::read(reply)?;
        channel.fingerprint.record(attempt.number(), &page.bounds.head(), Nonce::parse_each(first, &nonces));
        channel.fingerprint.confirm(attempt.connection());
        if let Some(known) = known.filter(|_| common > 0) {
            channel.fingerprint.survived(&known.epoch, &page.bounds.epoch, common);
        }
        Ok(page)
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
            let retention = self.limits.retention(id);
            let (events, age) = (max_events(retention), millis(retention.max_age));
            let fingerprint = channel.fingerprint.argument(sending).into();
            (channel.log_keys(), vec![new_epoch(), fingerprint, events, age, at.into(), ago.into()])
        };
        let reply = self.commands.run(&self.moment_script, &channel.stream, arguments).await?;
        let located = read_moment(reply)?;
        channel.fingerprint.record(attempt.number(), &located.bounds.head(), None);
        Ok(located)
    }
}

impl PageReply {
    /// Reads a reply of `read.lua`.
    ///
    /// # Errors
    /// The script returned something else: the log is not as tidings writes it.
    pub fn read(reply: Value) -> Result<Self, BrokerError> {
        let Value::Array(reply) = reply else { return Err(unreadable()) };
        let mut reply = reply.into_iter();
        let bounds = read_bounds(&mut reply)?;
        let (first, common) = (offset(reply.next())?, offset(reply.next())?);
        let nonces: String = parsed(reply.next())?;
        let entries = (first..)
            .zip(reply)
            .map(|(offset, json)| Ok(Entry { offset, json: json.as_str().ok_or_else(unreadable)?.into() }))
            .collect::<Result<Vec<_>, BrokerError>>()?;
        Ok(Self { page: Page { bounds, entries }, first, common, nonces })
    }
}

/// Reads a reply of `position_at.lua`.
///
/// # Errors
/// As [`PageReply::read`].
pub(super) fn read_moment(reply: Value) -> Result<Located, BrokerError> {
    let Value::Array(reply) = reply else { return Err(unreadable()) };
    let mut reply = reply.into_iter();
    let bounds = read_bounds(&mut reply)?;
    Ok(Located { position: Position::new(parsed(reply.next())?, offset(reply.next())?), bounds })
}

/// Reads the bounds with which both begin.
fn read_bounds(reply: &mut impl Iterator<Item = Value>) -> Result<Bounds, BrokerError> {
    let (epoch, head, oldest) = (parsed(reply.next())?, offset(reply.next())?, offset(reply.next())?);
    // Offsets begin with 1.
    if oldest == 0 { Err(unreadable()) } else { Ok(Bounds { epoch, head, oldest }) }
}
