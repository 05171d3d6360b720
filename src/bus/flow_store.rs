//! A flow's part of the store: its values and its lease, apart from those of other flows and of the daemon.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Bus;
use crate::access::Caller;
use crate::broker::{Backend, BrokerError};

/// The values and the lease of one flow. Made by [`Bus::flow_store`] only.
#[derive(Clone)]
pub struct FlowStore {
    backend: Arc<dyn Backend>,
    /// What all its keys begin with, which is also the name of the lease.
    name: Arc<str>,
}

impl Bus {
    /// The part of the store that belongs to this flow: `webhook/NAME`. Every node has the same one.
    pub fn flow_store(&self, caller: &Caller, flow: &str) -> FlowStore {
        FlowStore::new(self.namespace(caller).shared_backend(), flow)
    }
}

impl FlowStore {
    fn new(backend: Arc<dyn Backend>, flow: &str) -> Self {
        Self { backend, name: format!("flow/{flow}").into() }
    }

    /// A store for a flow's own tests.
    #[cfg(test)]
    pub fn for_test(backend: Arc<dyn Backend>, flow: &str) -> Self {
        Self::new(backend, flow)
    }

    fn key(&self, key: &str) -> String {
        format!("{}/{key}", self.name)
    }

    /// The value of a key; see [`Store::get`](crate::broker::Store::get).
    ///
    /// # Errors
    /// As there.
    pub async fn get(&self, key: &str) -> Result<Option<Bytes>, BrokerError> {
        self.backend.store().get(&self.key(key)).await
    }

    /// Sets the value of a key; see [`Store::put`](crate::broker::Store::put).
    ///
    /// # Errors
    /// As there.
    pub async fn put(&self, key: &str, value: &[u8]) -> Result<(), BrokerError> {
        self.backend.store().put(&self.key(key), value).await
    }

    /// Changes a value if it is the expected one; see
    /// [`Store::compare_and_set`](crate::broker::Store::compare_and_set).
    ///
    /// # Errors
    /// As there.
    pub async fn compare_and_set(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> Result<bool, BrokerError> {
        self.backend.store().compare_and_set(&self.key(key), expected, new).await
    }

    /// Takes or renews the flow's lease; see [`Store::lease`](crate::broker::Store::lease).
    ///
    /// # Errors
    /// As there.
    pub async fn lease(&self, holder: &str, ttl: Duration) -> Result<Option<u64>, BrokerError> {
        self.backend.store().lease(&self.name, holder, ttl).await
    }

    /// Gives the flow's lease back.
    ///
    /// # Errors
    /// As [`Store::release`](crate::broker::Store::release).
    pub async fn release(&self, holder: &str) -> Result<(), BrokerError> {
        self.backend.store().release(&self.name, holder).await
    }
}
