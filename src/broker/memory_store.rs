//! The store of the in-process broker: values and leases in maps, gone when the process ends.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;

use super::BrokerError;
use super::store::{Store, check_keys, check_ttl, check_values, next_token};

/// Values and leases in memory.
#[derive(Default)]
pub(super) struct MemoryStore(Mutex<Contents>);

#[derive(Default)]
struct Contents {
    closed: bool,
    values: HashMap<String, Bytes>,
    leases: HashMap<String, Lease>,
}

struct Lease {
    token: u64,
    /// The holder and the end of the lease; `None` after a release.
    holder: Option<(String, Instant)>,
}

impl MemoryStore {
    /// Refuses every later call.
    pub fn close(&self) {
        self.lock().closed = true;
    }

    fn open(&self) -> Result<MutexGuard<'_, Contents>, BrokerError> {
        let contents = self.lock();
        if contents.closed { Err(BrokerError::closed()) } else { Ok(contents) }
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, BrokerError> {
        check_keys(&[key])?;
        Ok(self.open()?.values.get(key).cloned())
    }

    async fn put(&self, key: &str, value: &[u8]) -> Result<(), BrokerError> {
        check_keys(&[key])?;
        check_values(&[Some(value)])?;
        self.open()?.values.insert(key.into(), Bytes::copy_from_slice(value));
        Ok(())
    }

    async fn compare_and_set(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> Result<bool, BrokerError> {
        check_keys(&[key])?;
        check_values(&[expected, new])?;
        let values = &mut self.open()?.values;
        if values.get(key).map(|value| &**value) != expected {
            return Ok(false);
        }
        match new {
            Some(new) => values.insert(key.into(), Bytes::copy_from_slice(new)),
            None => values.remove(key),
        };
        Ok(true)
    }

    async fn lease(&self, name: &str, holder: &str, ttl: Duration) -> Result<Option<u64>, BrokerError> {
        check_keys(&[name, holder])?;
        check_ttl(ttl)?;
        let now = Instant::now();
        let leases = &mut self.open()?.leases;
        let lease = leases.entry(name.into()).or_insert(Lease { token: 0, holder: None });
        match &lease.holder {
            Some((other, end)) if now < *end && other != holder => return Ok(None),
            Some((_, end)) if now < *end => {}
            _ => {
                let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                lease.token = next_token(lease.token, wall.as_millis() as u64);
            }
        }
        lease.holder = Some((holder.into(), now + ttl));
        Ok(Some(lease.token))
    }

    async fn release(&self, name: &str, holder: &str) -> Result<(), BrokerError> {
        check_keys(&[name, holder])?;
        if let Some(lease) = self.open()?.leases.get_mut(name)
            && lease.holder.as_ref().is_some_and(|(last, _)| last == holder)
        {
            lease.holder = None;
        }
        Ok(())
    }
}
