//! The probe's own log on a server: the probe is appended to it and read from it by the scripts that work on channels.
//!
//! So a probe needs every right, and meets every refusal, that a publication and a read meet. The log is no channel: it
//! has a name of its own for each node, at most some hundred entries, and it expires a minute after its node ended.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fred::types::Value;

use super::commands::{Commands, Script, unreadable};
use super::errors::from_reply;
use super::reads::PageRequest;
use super::{BrokerError, millis, new_epoch, number};

/// How long the probe's log keeps an event.
const RETAINED: Duration = Duration::from_secs(60);

/// The scripts that work on the probe's logs.
pub(super) struct ProbeScripts {
    /// Appends and publishes on a sharded channel.
    sharded: Script,
    /// The same on a plain channel, for a Redis without sharded ones.
    plain: Script,
    read: Script,
    clustered: bool,
    /// The number of the next event id. A script would take an id that it knows for a duplicate.
    ids: AtomicU64,
}

/// The keys of the probe's log on one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProbeLog {
    pub stream: String,
    pub meta: String,
    /// In a cluster, the hash of ids.
    pub ids: String,
    /// The pub/sub channel, and the beginning of the keys.
    pub channel: String,
}

impl ProbeLog {
    pub fn new(channel: &str) -> Self {
        let [stream, meta, ids] = ["log", "meta", "ids"].map(|key| format!("{channel}:{key}"));
        Self { stream, meta, ids, channel: channel.to_owned() }
    }
}

impl ProbeScripts {
    pub fn new(clustered: bool) -> Self {
        macro_rules! script {
            ($ids:literal, $publish:literal) => {
                Script::new(concat!(
                    include_str!("log.lua"),
                    include_str!($ids),
                    $publish,
                    "local function append()\n",
                    include_str!("append.lua"),
                    "\nend\n",
                    include_str!("probe.lua")
                ))
                .appending()
            };
        }
        let (sharded, plain) = match clustered {
            true => (script!("ids_in_hash.lua", ""), script!("ids_in_hash.lua", "")),
            // Somebody who watches the bus with PSUBSCRIBE sees no sharded messages, and so no probes.
            false => (script!("ids_by_key.lua", "PUBLISH = 'SPUBLISH'\n"), script!("ids_by_key.lua", "")),
        };
        Self { sharded, plain, read: PageRequest::script(), clustered, ids: AtomicU64::new(0) }
    }

    /// Appends an event, whose JSON is `message`, and publishes it on the log's own channel, or on `plain_channel`.
    ///
    /// # Errors
    /// As [`Log::append`](crate::broker::Log::append).
    pub async fn publish(
        &self,
        commands: &Commands,
        log: &ProbeLog,
        plain_channel: Option<&str>,
        message: &str,
    ) -> Result<(), BrokerError> {
        let id = self.ids.fetch_add(1, Ordering::Relaxed).to_string();
        let script = if plain_channel.is_some() { &self.plain } else { &self.sharded };
        let arguments = |_| {
            let mut keys = vec![log.stream.as_str().into(), log.meta.as_str().into()];
            keys.push(if self.clustered { log.ids.as_str().into() } else { format!("{}:id:{id}", log.channel).into() });
            let channel = plain_channel.unwrap_or(&log.channel);
            // One channel; one event is kept, for a minute; ids are forgotten at once.
            let mut args =
                vec![number(1), number(1), millis(RETAINED), number(1), new_epoch(), channel.into(), "".into()];
            args.extend([number(1), number(1), message.into()]);
            args.extend(self.clustered.then(|| id.as_str().into()));
            (keys, args)
        };
        let Value::Array(reply) = commands.run(script, &log.stream, arguments).await? else {
            return Err(unreadable());
        };
        match reply.first().and_then(Value::as_str).as_deref() {
            Some("") => Ok(()),
            Some(error) => Err(from_reply(error)),
            None => Err(unreadable()),
        }
    }

    /// Reads the log.
    ///
    /// # Errors
    /// As [`Log::read`](crate::broker::Log::read).
    pub async fn read(&self, commands: &Commands, log: &ProbeLog) -> Result<(), BrokerError> {
        let arguments = |_| {
            let request = PageRequest {
                fingerprint: String::new(),
                retained: (number(1), RETAINED),
                after: ("probe", 0),
                limit: 1,
                bytes: 1,
                evidence: "-".into(),
            };
            (vec![log.stream.as_str().into(), log.meta.as_str().into()], request.arguments())
        };
        commands.run(&self.read, &log.stream, arguments).await.map(drop)
    }
}
