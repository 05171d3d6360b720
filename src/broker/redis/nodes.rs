//! The registry of nodes on Redis: a hash with the last heartbeat of each node.
//!
//! The hash is one key, so that a cluster has it in one slot. All changes go through one script, which takes the times
//! from Redis' clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use fred::types::Value;

use super::commands::{Commands, Script, unreadable};
use super::{BrokerConfig, BrokerError, millis, parsed};
use crate::broker::nodes::{FORGOTTEN, Heard, NodeState, Nodes};

/// The registry of nodes.
pub(super) struct Registry {
    commands: Arc<Commands>,
    script: Script,
    key: String,
    /// Distinguishes this process from another one with the same node id.
    session: String,
    /// The last heartbeat of this id was this process's own.
    registered: AtomicBool,
}

impl Registry {
    pub fn new(config: &BrokerConfig, commands: Arc<Commands>) -> Self {
        let key = format!("{}{}:nodes", config.prefix, config.namespace);
        let session = uuid::Uuid::now_v7().to_string();
        Self {
            commands,
            script: Script::new(include_str!("nodes.lua")),
            key,
            session,
            registered: AtomicBool::new(false),
        }
    }

    /// Runs the script; `nodes.lua` describes `args` after the first. Returns Redis' time in ms, the session that had the
    /// node id before, and the entries.
    async fn run(&self, args: &[&str]) -> Result<(u64, Option<String>, Vec<Value>), BrokerError> {
        let arguments = |_| {
            let args = args.iter().map(|&arg| arg.into());
            (vec![self.key.as_str().into()], std::iter::once(millis(FORGOTTEN)).chain(args).collect())
        };
        let Value::Array(answer) = self.commands.run(&self.script, &self.key, arguments).await? else {
            return Err(unreadable());
        };
        let mut answer = answer.into_iter();
        let now = parsed(answer.next())?;
        let session = answer.next().and_then(Value::into_string);
        Ok((now, session, answer.collect()))
    }
}

#[async_trait]
impl Nodes for Registry {
    async fn beat(&self, node: &NodeState) -> Result<(), BrokerError> {
        // The state has strings and numbers only, so serializing it does not fail.
        let json = serde_json::to_string(node).unwrap_or_default();
        let (_, session, _) = self.run(&[&node.id, &self.session, &json]).await?;
        let another = session.is_some_and(|session| !session.is_empty() && session != self.session);
        // An entry found at startup most likely belongs to a dead process. One that appears later belongs to a live one.
        if self.registered.swap(!another, Ordering::Relaxed) && another {
            tracing::warn!(id = node.id, "another node has the same id: only one of them is seen in the registry");
        }
        Ok(())
    }

    async fn leave(&self, id: &str) -> Result<(), BrokerError> {
        self.run(&[id, &self.session]).await.map(drop)
    }

    async fn list(&self) -> Result<Vec<Heard>, BrokerError> {
        let (now, _, entries) = self.run(&[]).await?;
        // Entries in another format are skipped: somebody else wrote them.
        Ok(entries.iter().filter_map(|entry| heard(entry, now)).collect())
    }
}

/// Parses an entry: `TIME SESSION JSON`. `now` is Redis' time in ms.
pub(super) fn heard(entry: &Value, now: u64) -> Option<Heard> {
    let entry = entry.as_str()?;
    let mut parts = entry.splitn(3, ' ');
    let (at, _session, node) = (parts.next()?, parts.next()?, parts.next()?);
    let at: u64 = at.parse().ok()?;
    Some(Heard {
        node: serde_json::from_str(node).ok()?,
        at: UNIX_EPOCH.checked_add(Duration::from_millis(at))?,
        ago: Duration::from_millis(now.saturating_sub(at)),
    })
}
