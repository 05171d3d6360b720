//! What there is: the channels, their schemas, and the nodes of the cluster.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use futures_util::future::try_join_all;
use serde_json::Value;

use super::{Bus, LongPolls, Namespace, unreadable};
use crate::access::{AdminRight, Caller, Principal, Rule};
use crate::broker::nodes::{Heard, NodeState};
use crate::event::{Catalog, ChannelId, EventType, Moment, Position};
use crate::incidents::Incident;
use crate::protocol::{ErrorCode, Problem};
use crate::suggest::{self, Known};

/// A node is lost after the time of so many heartbeats without one.
const LOST_HEARTBEATS: u32 = 3;

/// A channel, and where it stands.
#[derive(Debug)]
pub struct ChannelSummary {
    /// The name of the channel and of its event type.
    pub name: String,
    /// The URI of the schema of `data`.
    pub schema: String,
    /// The position of the newest event.
    pub position: Position,
    /// `None` for a caller who may not know it.
    pub counts: Option<ChannelCounts>,
}

/// How much there is of a channel's events and subscribers. Who sees a part of the events must not know.
#[derive(Debug, Clone, Copy)]
pub struct ChannelCounts {
    /// Events that the log has.
    pub retained: u64,
    /// Connections of this node that are subscribed.
    pub subscribers: u64,
    /// Events of all nodes, over the last ten seconds.
    pub rate_per_second: f64,
    /// Events that were appended through this node since it started.
    pub published: u64,
    /// Events published through this node whose `id` had been published before.
    pub duplicates: u64,
    /// Events that this node refused: with a mistake, or outside of their publisher's grants.
    pub refused: u64,
}

/// A node, and how it is.
#[derive(Debug)]
pub struct NodeSummary {
    pub id: String,
    pub address: String,
    pub version: String,
    /// RFC 3339, by the node's clock.
    pub started: String,
    /// As of the last heartbeat.
    pub connections: u64,
    /// By the broker's clock.
    pub last_heartbeat: SystemTime,
    pub status: NodeStatus,
}

/// How much of a channel a caller may know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    /// That there is one, and a part of its events.
    Part,
    Whole,
}

/// How a node is, by its last heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeStatus {
    Up,
    Draining,
    Lost,
}

impl Bus {
    /// The channels that the caller may see.
    ///
    /// # Errors
    /// `broker-unavailable`.
    pub async fn channels(&self, caller: &Caller) -> Result<Vec<ChannelSummary>, Problem> {
        let namespace = self.namespace(caller);
        let visible = self.catalog.channels().filter_map(|channel| Some((channel, self.sight(caller, channel)?)));
        try_join_all(visible.map(|(channel, sight)| self.channel(namespace, channel, sight))).await
    }

    /// What the caller may know of a channel. `None`: not that there is one.
    fn sight(&self, caller: &Caller, channel: ChannelId) -> Option<Sight> {
        let Some(principal) = caller.principal() else { return Some(Sight::Whole) };
        match principal.grants.subscribe(channel) {
            _ if principal.grants.has_any_admin_right() => Some(Sight::Whole),
            Some(Rule::All) => Some(Sight::Whole),
            Some(Rule::Pinned(_)) => Some(Sight::Part),
            None => None,
        }
    }

    /// Whether the caller may know of an event type.
    pub fn sees_type(&self, caller: &Caller, channel: ChannelId) -> bool {
        let publishes = |principal: &Arc<Principal>| principal.grants.publish(channel).is_some();
        self.sight(caller, channel).is_some() || caller.principal().is_some_and(publishes)
    }

    async fn channel(
        &self,
        namespace: &Namespace,
        channel: ChannelId,
        sight: Sight,
    ) -> Result<ChannelSummary, Problem> {
        let bounds = namespace.log().bounds(channel, None).await.map_err(unreadable)?;
        let known = self.catalog.get(channel);
        let traffic = namespace.traffic().of(channel);
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Ok(ChannelSummary {
            name: known.name.to_string(),
            schema: known.id().to_owned(),
            position: bounds.head(),
            counts: (sight == Sight::Whole).then(|| ChannelCounts {
                retained: (bounds.head + 1).saturating_sub(bounds.oldest),
                subscribers: namespace.subscriber_count(channel),
                rate_per_second: namespace.traffic().rate(channel),
                published: count(&traffic.published),
                duplicates: count(&traffic.duplicates),
                refused: count(&traffic.refused),
            }),
        })
    }

    /// The incidents of the caller's namespace on this node, the oldest first: those of `since` and later.
    ///
    /// # Errors
    /// `forbidden` without the admin right `nodes`.
    pub fn incidents(&self, caller: &Caller, since: Option<Moment>) -> Result<Vec<Incident>, Problem> {
        self.require(caller, AdminRight::Nodes)?;
        let time = match since {
            None => Some(SystemTime::UNIX_EPOCH),
            Some(Moment::Ago(age)) => SystemTime::now().checked_sub(age),
            Some(Moment::At(millis)) => {
                SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(u64::try_from(millis).unwrap_or_default()))
            }
        };
        // A time before the clock's begin is before everything.
        Ok(self.namespace(caller).incidents().since(time.unwrap_or(SystemTime::UNIX_EPOCH)))
    }

    /// The long-polls of the caller's namespace that wait at this node.
    ///
    /// # Errors
    /// `forbidden` without the admin right `connections`.
    pub fn long_polls(&self, caller: &Caller) -> Result<&LongPolls, Problem> {
        self.require(caller, AdminRight::Connections)?;
        Ok(self.namespace(caller).long_polls())
    }

    /// The name of the caller's namespace.
    pub fn namespace_name(&self, caller: &Caller) -> &str {
        self.namespace(caller).name()
    }

    /// The event types that the caller may see.
    pub fn types(&self, caller: &Caller) -> impl Iterator<Item = &EventType> {
        self.catalog
            .channels()
            .filter(|channel| self.sees_type(caller, *channel))
            .map(|channel| self.catalog.get(channel))
    }

    /// The event types of the channels to which the caller may subscribe.
    pub(super) fn granted_types(&self, caller: &Caller) -> impl Iterator<Item = &EventType> {
        let granted = |channel: &ChannelId| match caller.principal() {
            None => true,
            Some(principal) => principal.grants.subscribe(*channel).is_some(),
        };
        self.catalog.channels().filter(granted).map(|channel| self.catalog.get(channel))
    }

    /// The names of the event types that the caller may see, for the refusal of another name. `plural` says what the
    /// names are there, and `listed` where all of them are listed.
    pub(super) fn known_types(&self, caller: &Caller, plural: &'static str, listed: &'static str) -> Known<'_> {
        let names = self.types(caller).map(|known| &*known.name).collect();
        Known { plural, names, listed }
    }

    /// The schema of the `data` of one event type.
    ///
    /// # Errors
    /// `not-found`.
    pub fn schema(&self, caller: &Caller, name: &str) -> Result<&Value, Problem> {
        let known = self.catalog.channel(name).filter(|channel| self.sees_type(caller, *channel));
        let known = known.map(|channel| &self.catalog.get(channel).schema);
        known.ok_or_else(|| {
            let known = self.known_types(caller, "event types", "GET /v1/schemas");
            let refusal = format!("there is no event type {} here", suggest::quoted(name));
            Problem::new(ErrorCode::NotFound, known.refuse(&refusal, name))
        })
    }

    /// The event types: [`Bus::sees_type`] says which of them a caller may see.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The schema of the whole event, with every type that the caller may see.
    pub fn event_schema(&self, caller: &Caller) -> Value {
        self.catalog.event_schema(|channel| self.sees_type(caller, channel), &[])
    }

    /// The nodes of the cluster, by id. A node registers with the broker of its first namespace.
    ///
    /// # Errors
    /// `forbidden`, `broker-unavailable`.
    pub async fn nodes(&self, caller: &Caller) -> Result<Vec<NodeSummary>, Problem> {
        self.require(caller, AdminRight::Nodes)?;
        let heard = self.namespaces[0].backend().nodes().list().await.map_err(unreadable)?;
        let mut nodes: Vec<_> = heard.into_iter().map(summary).collect();
        nodes.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(nodes)
    }
}

fn summary(Heard { node, at, ago }: Heard) -> NodeSummary {
    let status = status(&node, ago);
    let NodeState { id, address, version, started, connections, .. } = node;
    NodeSummary { id, address, version, started, connections, last_heartbeat: at, status }
}

/// A node that stopped without a word is lost, whatever it said last.
fn status(node: &NodeState, ago: Duration) -> NodeStatus {
    match node.draining {
        _ if ago >= Duration::from_millis(node.heartbeat_ms).saturating_mul(LOST_HEARTBEATS) => NodeStatus::Lost,
        true => NodeStatus::Draining,
        false => NodeStatus::Up,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_node_is_lost_whatever_it_said_last() {
        let mut node = NodeState {
            id: String::new(),
            address: String::new(),
            version: String::new(),
            started: String::new(),
            connections: 0,
            draining: false,
            heartbeat_ms: 5_000,
        };
        let at = |node: &NodeState, millis| status(node, Duration::from_millis(millis));
        assert_eq!([at(&node, 14_999), at(&node, 15_000)], [NodeStatus::Up, NodeStatus::Lost]);
        node.draining = true;
        assert_eq!([at(&node, 14_999), at(&node, 15_000)], [NodeStatus::Draining, NodeStatus::Lost]);
        node.heartbeat_ms = 60_000;
        assert_eq!([at(&node, 179_999), at(&node, 180_000)], [NodeStatus::Draining, NodeStatus::Lost]);
    }
}
