//! A look at the heads of all logs: one HMGET for each channel, sent together to each server.
//!
//! It finds an event that Redis appended but did not publish, and a log that was lost while nobody used it. A head is only
//! a reason to read the log, so a reply of an old master does no harm. The commands are no script, because in a cluster a
//! script may only name keys of one slot.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fred::interfaces::HashesInterface;
use fred::types::Value;
use futures_util::future::join_all;

use super::channels::Channels;
use super::commands::Commands;
use super::errors::from_fred;
use super::server::Server;
use crate::broker::{BrokerError, Head};
use crate::event::{ChannelId, Position};

/// Commands that are sent together: few enough for the queue of a connection.
const PIPELINE: usize = 256;

/// How long a server may take. The readiness probe waits longer, so that it gets the heads of the other servers.
const SERVER_TIMEOUT: Duration = Duration::from_millis(1500);

/// The head of each channel's log. Leaves out the channels whose server does not answer.
pub(super) async fn heads(channels: &Channels, commands: &Commands) -> Vec<(ChannelId, Head)> {
    let mut by_server: HashMap<usize, (Arc<Server>, Vec<ChannelId>)> = HashMap::new();
    for (id, channel) in channels.iter() {
        if let Ok(server) = commands.server_of(&channel.meta) {
            by_server.entry(Arc::as_ptr(&server).addr()).or_insert_with(|| (server, Vec::new())).1.push(id);
        }
    }
    let heads = by_server.into_values().map(async |(server, ids)| {
        let mut heads = Vec::with_capacity(ids.len());
        let look = async {
            for ids in ids.chunks(PIPELINE) {
                match heads_at(&server, channels, commands, ids).await {
                    Ok(found) => heads.extend(found),
                    Err(_) => return,
                }
            }
        };
        let _ = tokio::time::timeout(SERVER_TIMEOUT, look).await;
        heads
    });
    join_all(heads).await.into_iter().flatten().collect()
}

/// The heads of some channels whose logs are on this server.
async fn heads_at(
    server: &Server,
    channels: &Channels,
    commands: &Commands,
    ids: &[ChannelId],
) -> Result<Vec<(ChannelId, Head)>, BrokerError> {
    let pipeline = server.connection().await?.client.pipeline();
    for id in ids {
        // In a pipeline this only queues the command.
        let queued = pipeline.hmget::<(), _, _>(channels.get(*id).meta.as_str(), vec!["epoch", "offset"]).await;
        queued.map_err(|error| from_fred(&error))?;
    }
    let replies = ids.iter().zip(pipeline.try_all::<Value>().await);
    let heads = replies.filter_map(|(id, reply)| match reply {
        Ok(fields) => Some((*id, head(fields).map_or(Head::Unknown, Head::At))),
        // The slot moves.
        Err(error) if commands.handle_redirect(&error) => None,
        Err(error) => matches!(from_fred(&error), BrokerError::Rejected(_)).then_some((*id, Head::Unknown)),
    });
    Ok(heads.collect())
}

/// The position in a log's `meta` hash; `None` if the hash has none.
fn head(fields: Value) -> Option<Position> {
    let Value::Array(fields) = fields else { return None };
    let [epoch, offset] = &fields[..] else { return None };
    Some(Position::new(epoch.as_str()?.parse().ok()?, offset.as_str()?.parse().ok()?))
}
