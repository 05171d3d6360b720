//! The probe's own log on a server: one script appends the probe to it and reads it, as the scripts do that work on channels.
//!
//! So a probe needs every right, and meets every refusal, that a publication and a read meet. The script also looks at the
//! heads of the channels' logs. The log is no channel. It has a name of its own for each node, at most some hundred entries,
//! and it expires a minute after its node ended.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fred::types::{Key, Value};

use super::commands::{Commands, Script, Sending, unreadable};
use super::errors::from_reply;
use super::reads::PageRequest;
use super::{BrokerError, millis, new_epoch, number};
use crate::broker::Retention;

/// How long the probe's log keeps an event.
const RETAINED: Duration = Duration::from_secs(60);

/// The scripts that work on the probe's logs.
pub(super) struct ProbeScripts {
    /// Appends and publishes on a sharded channel, and reads.
    sharded: Script,
    /// The same on a plain channel, for a Redis without sharded ones.
    plain: Script,
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

/// What the probe's script did.
pub(super) struct Probed {
    /// Why the probe was not appended and published.
    pub published: Result<(), BrokerError>,
    /// Why its log was not read.
    pub read: Result<(), BrokerError>,
    /// What the script found in the `meta` hashes; see `probe.lua`.
    pub heads: Vec<Value>,
    /// The id of the connection that carried the call.
    pub connection: u64,
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
                    include_str!("keep_latest.lua"),
                    include_str!($ids),
                    $publish,
                    "local function append(ARGV)\n",
                    include_str!("append.lua"),
                    "\nend\nlocal function read(ARGV)\n",
                    include_str!("read.lua"),
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
        Self { sharded, plain, clustered, ids: AtomicU64::new(0) }
    }

    /// Appends an event, whose JSON is `message`, publishes it on the log's own channel, or on `plain_channel`, reads the
    /// log, and looks at the `meta` hashes of channels on the same server.
    ///
    /// # Errors
    /// As [`Commands::run`]: the script itself failed.
    pub async fn run(
        &self,
        commands: &Commands,
        log: &ProbeLog,
        plain_channel: Option<&str>,
        message: &str,
        metas: &[&str],
    ) -> Result<Probed, BrokerError> {
        let id = self.ids.fetch_add(1, Ordering::Relaxed).to_string();
        let script = if plain_channel.is_some() { &self.plain } else { &self.sharded };
        let connection = AtomicU64::new(0);
        let arguments = |sending: Sending| {
            connection.store(sending.connection, Ordering::Relaxed);
            let mut keys = vec![log.stream.as_str().into(), log.meta.as_str().into()];
            keys.push(if self.clustered { log.ids.as_str().into() } else { format!("{}:id:{id}", log.channel).into() });
            let channel = plain_channel.unwrap_or(&log.channel);
            // One channel; one event is kept, for a minute; ids are forgotten at once.
            let mut args = vec![number(1), number(1), new_epoch(), channel.into(), "".into()];
            args.extend([number(1), millis(RETAINED), "".into(), "".into()]);
            args.extend([number(1), number(1), message.into(), "".into()]);
            args.extend(self.clustered.then(|| id.as_str().into()));
            let read = PageRequest {
                fingerprint: String::new(),
                retention: Retention { max_events: 1, max_age: RETAINED, latest: None },
                after: ("probe", 0),
                limit: 1,
                bytes: 1,
                evidence: "-".into(),
            };
            args.extend(read.arguments());
            match self.clustered {
                // The keys that a script names must be in one slot. Redis lets it use others of the same server.
                true => args.extend(metas.iter().map(|&meta| Value::from(meta))),
                false => keys.extend(metas.iter().map(|&meta| Key::from(meta))),
            }
            (keys, args)
        };
        let Value::Array(mut reply) = commands.run(script, &log.stream, arguments).await? else {
            return Err(unreadable());
        };
        if reply.len() != 2 + metas.len() {
            return Err(unreadable());
        }
        let heads = reply.split_off(2);
        let outcome = |index: usize| match reply[index].as_str().as_deref() {
            Some("") => Ok(()),
            Some(error) => Err(from_reply(error)),
            None => Err(unreadable()),
        };
        Ok(Probed { published: outcome(0), read: outcome(1), heads, connection: connection.into_inner() })
    }
}
