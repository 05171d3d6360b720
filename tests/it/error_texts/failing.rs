//! A backend that does what the in-process one does, and fails where a test tells it to.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tidings::broker::{self, Appended, Backend, BrokerError, Entry, Head, Located, Log, Notifier, Page, Signals};
use tidings::config::BrokerConfig;
use tidings::event::{Catalog, ChannelId, Event, Moment, Position};

use crate::support::wrapped::forward;

/// How calls of the log fail.
#[derive(Clone, Default)]
pub struct Failure(Arc<Mutex<Option<Kind>>>);

#[derive(Clone, Copy)]
pub enum Kind {
    Unavailable,
    RateLimited,
    Rejected,
    /// What is read is no JSON.
    Garbled,
}

impl Failure {
    pub fn set(&self, kind: Option<Kind>) {
        *self.0.lock().unwrap() = kind;
    }

    fn check(&self) -> Result<(), BrokerError> {
        match *self.0.lock().unwrap() {
            Some(Kind::Unavailable) => Err(BrokerError::Unavailable("no connection to the broker".into())),
            Some(Kind::RateLimited) => {
                Err(BrokerError::RateLimited { cause: "a quota".into(), retry_after: Some(Duration::from_secs(9)) })
            }
            Some(Kind::Rejected) => Err(BrokerError::Rejected("its memory is full".into())),
            _ => Ok(()),
        }
    }
}

/// Opens the broker of the configuration with this failure.
pub fn open(
    config: &BrokerConfig,
    catalog: &Arc<Catalog>,
    failure: &Failure,
) -> Result<(Arc<dyn Backend>, Signals), String> {
    let (backend, signals) = broker::open(config, catalog)?;
    Ok((Arc::new(Failing { backend, failure: failure.clone() }), signals))
}

struct Failing {
    backend: Arc<dyn Backend>,
    failure: Failure,
}

#[async_trait]
impl Log for Failing {
    async fn append(&self, events: &[Event]) -> Result<Vec<Appended>, BrokerError> {
        self.failure.check()?;
        self.backend.append(events).await
    }

    async fn read(&self, channel: ChannelId, known: Option<&Position>, limit: usize) -> Result<Page, BrokerError> {
        self.failure.check()?;
        let mut page = self.backend.read(channel, known, limit).await?;
        if let Some(Kind::Garbled) = *self.failure.0.lock().unwrap() {
            page.entries = page.entries.iter().map(|entry| Entry { offset: entry.offset, json: "{".into() }).collect();
        }
        Ok(page)
    }

    async fn position_at(&self, channel: ChannelId, from: Moment) -> Result<Located, BrokerError> {
        self.failure.check()?;
        self.backend.position_at(channel, from).await
    }

    async fn heads(&self) -> Vec<(ChannelId, Head)> {
        self.backend.heads().await
    }
}

forward!(Failing, Backend and Notifier);
