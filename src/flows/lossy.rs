//! For tests: a backend whose store makes a change and loses the answer, when a test says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::tests::backend;
use crate::broker::nodes::Nodes;
use crate::broker::{Appended, Backend, BrokerError, Head, Latest, Located, Log, Notifier, Page, Store};
use crate::event::{ChannelId, Event, Moment, Position};

/// The in-process broker, and what a test lets its answers do.
pub struct Lossy {
    backend: Arc<dyn Backend>,
    /// So many further changes of a value are made, and fail.
    pub lost_answers: AtomicUsize,
}

impl Lossy {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { backend: backend(), lost_answers: AtomicUsize::new(0) })
    }
}

#[async_trait]
impl Store for Lossy {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, BrokerError> {
        self.backend.store().get(key).await
    }

    async fn put(&self, key: &str, value: &[u8]) -> Result<(), BrokerError> {
        self.backend.store().put(key, value).await
    }

    async fn compare_and_set(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> Result<bool, BrokerError> {
        let changed = self.backend.store().compare_and_set(key, expected, new).await;
        let one_less = |left: usize| left.checked_sub(1);
        match self.lost_answers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less) {
            Ok(_) => Err(BrokerError::Unavailable("the answer is lost".into())),
            Err(_) => changed,
        }
    }

    async fn lease(&self, name: &str, holder: &str, ttl: Duration) -> Result<Option<u64>, BrokerError> {
        self.backend.store().lease(name, holder, ttl).await
    }

    async fn release(&self, name: &str, holder: &str) -> Result<(), BrokerError> {
        self.backend.store().release(name, holder).await
    }
}

#[async_trait]
impl Log for Lossy {
    async fn append(&self, events: &[Event]) -> Result<Vec<Appended>, BrokerError> {
        self.backend.append(events).await
    }

    async fn read(&self, channel: ChannelId, known: Option<&Position>, limit: usize) -> Result<Page, BrokerError> {
        self.backend.read(channel, known, limit).await
    }

    async fn position_at(&self, channel: ChannelId, moment: Moment) -> Result<Located, BrokerError> {
        self.backend.position_at(channel, moment).await
    }

    async fn heads(&self) -> Vec<(ChannelId, Head)> {
        self.backend.heads().await
    }
}

#[async_trait]
impl Notifier for Lossy {
    async fn probe(&self, number: u64) -> Result<(), BrokerError> {
        self.backend.probe(number).await
    }
}

#[async_trait]
impl Backend for Lossy {
    fn nodes(&self) -> &dyn Nodes {
        self.backend.nodes()
    }

    fn latest(&self) -> &dyn Latest {
        self.backend.latest()
    }

    fn store(&self) -> &dyn Store {
        self
    }

    async fn close(&self) {
        self.backend.close().await;
    }
}
