//! Looks at the heads of the logs, which find an event that Redis appended but did not publish, and a log that was lost
//! while nobody used it.
//!
//! The script of the [`probe`](super::probe) looks at the heads of its server on the way, so that an idle node makes one
//! call for all of them. While no probe can be sent, and for [`Log::heads`](crate::broker::Log::heads), there is an HMGET
//! for each channel. A head is only a reason to read the log, so a reply of an old master does no harm.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fred::types::Value;
use futures_util::future::join_all;

use super::channels::Channels;
use super::commands::Commands;
use super::errors::from_reply;
use super::server::Server;
use super::{offset, parsed};
use crate::broker::{BrokerError, Head};
use crate::event::{ChannelId, Position};

/// Commands that are sent together: few enough for the queue of a connection.
const PIPELINE: usize = 256;

/// Heads that one script looks at. Redis does nothing else meanwhile: it takes about a millisecond.
pub(super) const MAX_IN_SCRIPT: usize = 1000;

/// How long a server may take. The readiness probe waits longer, so that it gets the heads of the other servers.
const SERVER_TIMEOUT: Duration = Duration::from_millis(1500);

/// What a cluster's node says of a key in a slot that it does not have.
const ELSEWHERE: &str = "non local key";

/// What servers say that let a script use no keys but those in one slot, or those that it names. In lower case.
const NO_OTHER_SLOTS: [&str; 3] = ["same slot", "undeclared", "crossslot"];

/// Looks at heads.
pub(super) struct Heads {
    channels: Arc<Channels>,
    commands: Arc<Commands>,
    /// A script may look at keys of other slots. Always so without a cluster.
    in_script: AtomicBool,
}

impl Heads {
    pub fn new(channels: Arc<Channels>, commands: Arc<Commands>) -> Self {
        Self { channels, commands, in_script: AtomicBool::new(true) }
    }

    /// The head of each channel's log. Leaves out the channels whose server does not answer.
    pub async fn all(&self) -> Vec<(ChannelId, Head)> {
        let mut by_server: HashMap<usize, (Arc<Server>, Vec<ChannelId>)> = HashMap::new();
        for (id, channel) in self.channels.iter() {
            if let Ok(server) = self.commands.server_of(&channel.meta) {
                by_server.entry(Arc::as_ptr(&server).addr()).or_insert_with(|| (server, Vec::new())).1.push(id);
            }
        }
        let heads = by_server.into_values().map(async |(server, ids)| self.look(&server, &ids).await);
        join_all(heads).await.into_iter().flatten().collect()
    }

    /// The heads of the logs on the server that has `key`, as [`all`](Self::all) returns them.
    pub async fn beside(&self, key: &str) -> Vec<(ChannelId, Head)> {
        match self.commands.server_of(key) {
            Ok(server) => self.look(&server, &self.channels_at(&server)).await,
            Err(_) => Vec::new(),
        }
    }

    /// The channels whose heads the probe's script looks at on the server that has `key`: all, or the next ones if there
    /// are more than one script may look at. `None` if the server allows no such script.
    pub fn for_script(&self, key: &str, probe: u64) -> Option<Vec<ChannelId>> {
        if !self.in_script.load(Ordering::Relaxed) {
            return None;
        }
        let server = self.commands.server_of(key);
        let channels = server.map(|server| self.channels_at(&server)).unwrap_or_default();
        let parts: Vec<_> = channels.chunks(MAX_IN_SCRIPT).collect();
        let part = parts.len().checked_sub(1).map(|last| (probe % (last as u64 + 1)) as usize);
        Some(part.map(|part| parts[part].to_vec()).unwrap_or_default())
    }

    /// The `meta` hash of a channel's log, which has the head.
    pub fn meta(&self, id: ChannelId) -> &str {
        &self.channels.get(id).meta
    }

    /// The heads in the reply of the probe's script; `probe.lua` describes it.
    pub fn found_by_script(&self, ids: &[ChannelId], replies: Vec<Value>) -> Vec<(ChannelId, Head)> {
        let replies = ids.iter().zip(replies);
        let heads = replies.filter_map(|(id, reply)| {
            let text = reply.as_str().unwrap_or_default();
            match text.strip_prefix('!') {
                None => Some((*id, text.parse().map_or(Head::Unknown, Head::At))),
                Some(error) if error.contains(ELSEWHERE) => {
                    // The slot moves, or has moved.
                    self.commands.request_routes(None);
                    None
                }
                Some(error) if NO_OTHER_SLOTS.iter().any(|text| error.to_ascii_lowercase().contains(text)) => {
                    self.in_script.store(false, Ordering::Relaxed);
                    None
                }
                Some(error) => matches!(from_reply(error), BrokerError::Rejected(_)).then_some((*id, Head::Unknown)),
            }
        });
        heads.collect()
    }

    fn channels_at(&self, server: &Arc<Server>) -> Vec<ChannelId> {
        let here = |meta: &str| self.commands.server_of(meta).is_ok_and(|one| Arc::ptr_eq(&one, server));
        self.channels.iter().filter(|(_, channel)| here(&channel.meta)).map(|(id, _)| id).collect()
    }

    /// The heads of these channels, whose logs are on this server.
    async fn look(&self, server: &Server, ids: &[ChannelId]) -> Vec<(ChannelId, Head)> {
        let mut heads = Vec::with_capacity(ids.len());
        let look = async {
            for ids in ids.chunks(PIPELINE) {
                match self.look_together(server, ids).await {
                    Ok(found) => heads.extend(found),
                    Err(_) => return,
                }
            }
        };
        let _ = tokio::time::timeout(SERVER_TIMEOUT, look).await;
        heads
    }

    async fn look_together(&self, server: &Server, ids: &[ChannelId]) -> Result<Vec<(ChannelId, Head)>, BrokerError> {
        let transport = server.connection().await?.transport;
        let look = |id: &ChannelId| ("HMGET", vec![self.meta(*id).into(), "epoch".into(), "offset".into()]);
        let replies = transport.call_each(ids.iter().map(look).collect()).await.map_err(|error| error.cause)?;
        let replies = ids.iter().zip(replies);
        let heads = replies.filter_map(|(id, reply)| match reply {
            Ok(fields) => Some((*id, head(fields).map_or(Head::Unknown, Head::At))),
            // The slot moves.
            Err(error) if self.commands.handle_redirect(&error.text) => None,
            Err(error) => matches!(error.cause, BrokerError::Rejected(_)).then_some((*id, Head::Unknown)),
        });
        Ok(heads.collect())
    }
}

/// The position in a log's `meta` hash; `None` if the hash has none.
pub(super) fn head(fields: Value) -> Option<Position> {
    let Value::Array(fields) = fields else { return None };
    let [epoch, head] = <[Value; 2]>::try_from(fields).ok()?;
    Some(Position::new(parsed(Some(epoch)).ok()?, offset(Some(head)).ok()?))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::watch;

    use super::*;
    use crate::broker::redis::attempts::Pulse;
    use crate::broker::redis::routes::Routes;
    use crate::broker::redis::target::Target;
    use crate::config::RedisUrl;

    /// The heads of a server that nothing connects to. The second value keeps its routes.
    fn heads() -> (Heads, watch::Sender<Routes>) {
        let target = Target::new(&RedisUrl::parse("redis://localhost").unwrap().unwrap()).unwrap();
        let server = Server::new(target, Pulse::each(Duration::from_secs(1))).0;
        let (routes, known) = watch::channel(Routes::Single(Arc::new(server)));
        (Heads::new(Channels::for_test(true), Arc::new(Commands::new(known, None))), routes)
    }

    #[test]
    fn the_replies_of_the_script_become_heads() {
        let (heads, _routes) = heads();
        let ids = heads.for_script("key", 7).unwrap();
        assert_eq!(ids.len(), 5);
        let replies = [
            "abc:7",
            "",
            "!WRONGTYPE Operation against a key holding the wrong kind of value",
            "!ERR Script attempted to access a non local key in a cluster node",
            "!LOADING Redis is loading the dataset in memory",
        ];
        let found = heads.found_by_script(&ids, replies.map(Value::from).into());
        let at = Head::At("abc:7".parse().unwrap());
        assert_eq!(found, [(ids[0], at), (ids[1], Head::Unknown), (ids[2], Head::Unknown)]);
    }

    #[test]
    fn a_server_that_keeps_scripts_in_one_slot_gets_commands_from_then_on() {
        let (heads, _routes) = heads();
        let ids = heads.for_script("key", 1).unwrap();
        let refusal = "!ERR Script attempted to access keys that do not hash to the same slot";
        assert_eq!(heads.found_by_script(&ids[..1], vec![refusal.into()]), []);
        assert_eq!(heads.for_script("key", 2), None);
    }
}
