//! The store on Redis: two hashes in each namespace, one with values and one with leases, each changed by one script.
//!
//! Each hash is one key, so that a cluster has it in one slot. Redis' own clock ends leases.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fred::types::Value;
use tokio_util::sync::CancellationToken;

use super::commands::{Commands, Script, unreadable};
use super::{BrokerConfig, BrokerError, number};
use crate::broker::store::{Store, check_keys, check_ttl, check_values};

pub(super) struct RedisStore {
    commands: Arc<Commands>,
    /// Cancelled when the broker is closed. A connection may outlive its task for a moment, and must not be used then.
    closing: CancellationToken,
    values: Hash,
    leases: Hash,
}

/// A hash and the script that changes it.
struct Hash {
    key: String,
    script: Script,
}

impl RedisStore {
    /// In a cluster the keys have the hash tag `{store}`.
    pub fn new(config: &BrokerConfig, clustered: bool, commands: Arc<Commands>, closing: CancellationToken) -> Self {
        let tag = if clustered { "{store}" } else { "store" };
        let key = |name: &str| format!("{}{}:{tag}:{name}", config.prefix, config.namespace);
        let values = Hash { key: key("values"), script: Script::new(include_str!("store.lua")) };
        let leases = Hash { key: key("leases"), script: Script::new(include_str!("lease.lua")) };
        Self { commands, closing, values, leases }
    }

    async fn run(&self, hash: &Hash, args: &[Value]) -> Result<Value, BrokerError> {
        if self.closing.is_cancelled() {
            return Err(BrokerError::closed());
        }
        self.commands.run(&hash.script, &hash.key, |_| (vec![hash.key.as_str().into()], args.to_vec())).await
    }

    /// Runs a change of a value; whether it was made.
    async fn change(&self, args: &[Value]) -> Result<bool, BrokerError> {
        match self.run(&self.values, args).await?.as_u64() {
            Some(changed @ (0 | 1)) => Ok(changed == 1),
            _ => Err(unreadable()),
        }
    }
}

#[async_trait]
impl Store for RedisStore {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, BrokerError> {
        check_keys(&[key])?;
        match self.run(&self.values, &["get".into(), key.into()]).await? {
            Value::Null => Ok(None),
            value => value.into_bytes().map(Some).ok_or_else(unreadable),
        }
    }

    async fn put(&self, key: &str, value: &[u8]) -> Result<(), BrokerError> {
        check_keys(&[key])?;
        check_values(&[Some(value)])?;
        self.change(&["put".into(), key.into(), value.into()]).await.map(drop)
    }

    async fn compare_and_set(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> Result<bool, BrokerError> {
        check_keys(&[key])?;
        check_values(&[expected, new])?;
        let optional = |value: Option<&[u8]>| match value {
            Some(value) => [b"=", value].concat().as_slice().into(),
            None => "".into(),
        };
        self.change(&["compare-and-set".into(), key.into(), optional(expected), optional(new)]).await
    }

    async fn lease(&self, name: &str, holder: &str, ttl: Duration) -> Result<Option<u64>, BrokerError> {
        check_keys(&[name, holder])?;
        let ttl = check_ttl(ttl)?;
        let token = self.run(&self.leases, &[name.into(), holder.into(), number(ttl)]).await?;
        match &*token.as_str().ok_or_else(unreadable)? {
            "" => Ok(None),
            token => token.parse().map(Some).map_err(|_| unreadable()),
        }
    }

    async fn release(&self, name: &str, holder: &str) -> Result<(), BrokerError> {
        check_keys(&[name, holder])?;
        self.run(&self.leases, &[name.into(), holder.into(), "".into()]).await.map(drop)
    }
}
