//! The registry of nodes: one key, so that a Cluster has it in one place, and one script, so that Redis' clock judges.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use fred::types::Value;

use super::commands::{Commands, Script, unreadable};
use super::{BrokerConfig, Unavailable, millis, parsed};
use crate::broker::nodes::{FORGOTTEN, Heard, NodeState, Nodes};

pub(super) struct Registry {
    commands: Arc<Commands>,
    script: Script,
    key: String,
}

impl Registry {
    pub fn new(config: &BrokerConfig, commands: Arc<Commands>) -> Self {
        let key = format!("{}{}:nodes", config.prefix, config.namespace);
        Self { commands, script: Script::new(include_str!("nodes.lua")), key }
    }

    async fn run(&self, args: &[&str]) -> Result<Vec<Value>, Unavailable> {
        let arguments = |_| {
            let args = args.iter().map(|&arg| arg.into());
            (vec![self.key.as_str().into()], std::iter::once(millis(FORGOTTEN)).chain(args).collect())
        };
        match self.commands.run(&self.script, &self.key, arguments).await? {
            Value::Array(entries) => Ok(entries),
            _ => Err(unreadable()),
        }
    }
}

#[async_trait]
impl Nodes for Registry {
    async fn beat(&self, node: &NodeState) -> Result<(), Unavailable> {
        // Strings and numbers: there is nothing that could fail.
        let said = serde_json::to_string(node).unwrap_or_default();
        self.run(&[&node.id, &said]).await.map(drop)
    }

    async fn leave(&self, id: &str) -> Result<(), Unavailable> {
        self.run(&[id]).await.map(drop)
    }

    async fn list(&self) -> Result<Vec<Heard>, Unavailable> {
        let reply = self.run(&[]).await?;
        let (now, entries) = reply.split_first().ok_or_else(unreadable)?;
        let now: u64 = parsed(Some(now.clone()))?;
        // What somebody else wrote there is passed over.
        Ok(entries.iter().filter_map(|entry| heard(entry, now)).collect())
    }
}

fn heard(entry: &Value, now: u64) -> Option<Heard> {
    let entry = entry.as_str()?;
    let (at, node) = entry.split_once(' ')?;
    let at: u64 = at.parse().ok()?;
    Some(Heard {
        node: serde_json::from_str(node).ok()?,
        at: UNIX_EPOCH.checked_add(Duration::from_millis(at))?,
        ago: Duration::from_millis(now.saturating_sub(at)),
    })
}
