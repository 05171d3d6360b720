//! The source that a client is: one task that follows the channel of invalidations.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::error::Error;
use super::source::{CHANNEL, DeliveredInvalidation, Publication, Source, SourceHandler};
use crate::client::{Client, Delivery, Error as ClientError, Subscriber, Subscription, SyncId, Update};
use crate::event::{CacheInvalidate, Position};

/// As many syncs as a subscriber takes.
const MAX_SYNCS: usize = 8;
/// How long to wait before connecting again after a refusal.
const REFUSED_DELAY: Duration = Duration::from_secs(5);

/// How far the first connection is.
#[derive(Debug, Clone)]
pub enum Beginning {
    Connecting,
    /// The subscription has begun, or the daemon is away for the moment.
    Following,
    Refused(ClientError),
}

/// A client, as the cache sees it.
pub struct BusSource {
    client: Client,
    is_connected: Arc<AtomicBool>,
    /// `None` when it was stopped.
    syncs: Mutex<Option<mpsc::Sender<u64>>>,
    /// Taken by the task.
    requests: Mutex<Option<mpsc::Receiver<u64>>>,
    handler: Mutex<Option<Weak<dyn SourceHandler>>>,
    beginning: watch::Sender<Beginning>,
}

impl BusSource {
    pub fn new(client: Client) -> Self {
        let (syncs, requests) = mpsc::channel(MAX_SYNCS);
        Self {
            client,
            is_connected: Arc::default(),
            syncs: Mutex::new(Some(syncs)),
            requests: Mutex::new(Some(requests)),
            handler: Mutex::new(None),
            beginning: watch::Sender::new(Beginning::Connecting),
        }
    }

    /// Waits until the first connection has succeeded or failed.
    pub async fn begun(&self) -> Result<(), Error> {
        let mut beginning = self.beginning.subscribe();
        match beginning.wait_for(|beginning| !matches!(beginning, Beginning::Connecting)).await.as_deref() {
            Ok(Beginning::Refused(error)) => Err(error.clone().into()),
            _ => Ok(()),
        }
    }
}

impl Source for BusSource {
    fn start(&self, handler: Weak<dyn SourceHandler>, replay: bool) {
        let Some(requests) = self.requests.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        *self.handler.lock().unwrap_or_else(PoisonError::into_inner) = Some(handler.clone());
        let subscription = Subscription::to(CHANNEL);
        let subscription = if replay { subscription.since("start") } else { subscription };
        let follower = Follower {
            subscriber: self.client.subscribe([subscription]),
            client: self.client.clone(),
            position: None,
            replay,
            handler,
            is_connected: self.is_connected.clone(),
            beginning: self.beginning.clone(),
            syncs: Vec::new(),
        };
        tokio::spawn(follower.run(requests));
    }

    fn is_connected(&self) -> bool {
        self.is_connected.load(Ordering::Relaxed)
    }

    fn sync(&self, number: u64) {
        let syncs = self.syncs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if syncs.is_none_or(|syncs| syncs.try_send(number).is_err())
            && let Some(handler) = &*self.handler.lock().unwrap_or_else(PoisonError::into_inner)
            && let Some(handler) = handler.upgrade()
        {
            handler.synced(number, None);
        }
    }

    fn stop(&self) {
        // The task ends when nobody can ask it any more.
        self.syncs.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.is_connected.store(false, Ordering::Relaxed);
    }

    fn publish(&self, publication: Publication) -> BoxFuture<'static, Result<Position, Error>> {
        #[derive(Serialize)]
        struct Event {
            #[serde(rename = "type")]
            event_type: &'static str,
            id: String,
            #[serde(skip_serializing_if = "Option::is_none")]
            causationid: Option<String>,
            data: CacheInvalidate,
        }
        let Publication { data, id, cause, limit } = publication;
        let event = Event { event_type: CHANNEL, id, causationid: cause, data };
        let client = match limit {
            Some(limit) => self.client.clone().with_retry_timeout(limit),
            None => self.client.clone(),
        };
        async move { Ok(client.publish(&event).await?.position) }.boxed()
    }
}

/// The task that follows the channel. It ends with the cache.
struct Follower {
    subscriber: Subscriber,
    client: Client,
    /// The last position that was reported.
    position: Option<Position>,
    /// Whether the log is read from its beginning.
    replay: bool,
    handler: Weak<dyn SourceHandler>,
    is_connected: Arc<AtomicBool>,
    beginning: watch::Sender<Beginning>,
    /// The requests without an answer.
    syncs: Vec<(SyncId, u64)>,
}

impl Follower {
    async fn run(mut self, mut requests: mpsc::Receiver<u64>) {
        loop {
            let update = tokio::select! {
                request = requests.recv() => match request {
                    Some(number) => {
                        self.sync(number);
                        continue;
                    }
                    None => break,
                },
                update = self.subscriber.next() => update,
            };
            match update {
                Ok(update) => self.handle(update),
                Err(error) => {
                    tracing::warn!(%error, "the cache cannot follow its invalidations; it connects again");
                    self.is_connected.store(false, Ordering::Relaxed);
                    self.begun(Beginning::Refused(error.clone()));
                    if let Some(handler) = self.handler.upgrade() {
                        handler.refused(error.into());
                    }
                    self.unsynced();
                    if !self.pause(&mut requests).await {
                        break;
                    }
                    let since = self.position.as_ref().map(Position::to_string);
                    let since = since.or_else(|| self.replay.then(|| "start".to_owned()));
                    let subscription = Subscription { since, ..Subscription::to(CHANNEL) };
                    self.subscriber = self.client.subscribe([subscription]);
                }
            }
        }
        self.subscriber.close().await;
    }

    /// Waits before the next connection. False if the cache is gone.
    async fn pause(&mut self, requests: &mut mpsc::Receiver<u64>) -> bool {
        let resting = sleep(REFUSED_DELAY);
        tokio::pin!(resting);
        loop {
            tokio::select! {
                () = &mut resting => return true,
                request = requests.recv() => match request {
                    Some(number) => self.synced(number, None),
                    None => return false,
                },
            }
        }
    }

    fn begun(&self, how: Beginning) {
        self.beginning.send_if_modified(|beginning| {
            let is_first = matches!(beginning, Beginning::Connecting);
            if is_first {
                *beginning = how;
            }
            is_first
        });
    }

    fn sync(&mut self, number: u64) {
        match self.subscriber.sync() {
            Some(id) => self.syncs.push((id, number)),
            None => self.synced(number, None),
        }
    }

    fn synced(&self, number: u64, position: Option<&Position>) {
        if let Some(handler) = self.handler.upgrade() {
            handler.synced(number, position);
        }
    }

    /// The answer to a sync.
    fn answered(&mut self, sync: SyncId, position: Option<&Position>) {
        if let Some(index) = self.syncs.iter().position(|(id, _)| *id == sync) {
            let (_, number) = self.syncs.swap_remove(index);
            self.synced(number, position);
        }
    }

    fn unsynced(&mut self) {
        for (_, number) in std::mem::take(&mut self.syncs) {
            self.synced(number, None);
        }
    }

    fn handle(&mut self, update: Update) {
        match update {
            Update::Connected { .. } => self.is_connected.store(true, Ordering::Relaxed),
            Update::Disconnected { reason, .. } => {
                tracing::debug!(reason, "the cache has no connection");
                self.is_connected.store(false, Ordering::Relaxed);
                self.begun(Beginning::Following);
            }
            Update::Subscribed { position, .. } => {
                self.position.get_or_insert(position);
                self.begun(Beginning::Following);
            }
            Update::Delayed { .. } => self.begun(Beginning::Following),
            Update::Event(delivery) => self.deliver(delivery),
            Update::Gap { position, .. } => self.lost(position),
            Update::Synced { sync, positions } => {
                let position = positions.get(CHANNEL);
                if position.is_some() {
                    self.position = position.cloned();
                }
                self.answered(sync, position);
            }
            Update::NotSynced { sync, .. } => self.answered(sync, None),
            Update::NotRenewed { reason } => tracing::warn!(reason, "the token of the cache was not renewed"),
        }
    }

    fn deliver(&mut self, delivery: Delivery) {
        #[derive(Deserialize)]
        struct Event {
            id: String,
            #[serde(default)]
            causationid: Option<String>,
            data: CacheInvalidate,
        }
        let Delivery { position, event, .. } = delivery;
        // The daemon has validated the event. One that cannot be read is of a newer version: nothing is trusted then.
        let Ok(Event { id, causationid: cause, data }) = serde_json::from_str(event.get()) else {
            return self.lost(position);
        };
        self.position = Some(position.clone());
        if let Some(handler) = self.handler.upgrade() {
            handler.invalidated(&DeliveredInvalidation { position, id, cause, data });
        }
    }

    fn lost(&mut self, position: Position) {
        if let Some(handler) = self.handler.upgrade() {
            handler.lost(&position);
        }
        self.position = Some(position);
    }
}
