//! The caches that are compared: the near cache of this crate, and what teams write by hand: moka, and a subscription of Redis
//! whose messages delete.

use std::sync::Arc;
use std::time::Duration;

use fred::clients::Client as RedisClient;
use fred::interfaces::{ClientLike, EventInterface, PubsubInterface};
use fred::types::Builder;
use fred::types::config::{Config, ReconnectPolicy};
use serde::Deserialize;
use tidings::cache::{BoxError, Cache, Coherence, Invalidation, Options, RedisL2};
use tidings::client::Client;
use tokio::sync::broadcast::error::RecvError;

use crate::parent::{Call, Parent};

const TTL: Duration = Duration::from_secs(300);
const MAX_ENTRIES: usize = 10_000;
/// How long the lock of L2 is waited for, and how long it lasts without being renewed.
const LOCK_WAIT: Duration = Duration::from_millis(500);
const LOCK_LEASE: Duration = Duration::from_secs(1);
/// The channel of Redis on which `MokaPubsub` invalidates.
const CHANNEL: &str = "invalidate";

/// The cache that the parent wants. `bus` is a port of this machine: of a daemon, or of Redis. `l2` is that of a Redis.
#[derive(Debug, Deserialize)]
#[serde(tag = "cache", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Setup {
    Tidings { bus: u16, bound_ms: u64, l2: Option<u16> },
    MokaPubsub { bus: u16 },
}

pub enum CheckedCache {
    Tidings(NearCache),
    MokaPubsub(MokaPubsub),
}

impl CheckedCache {
    pub async fn open(setup: Setup, parent: Parent) -> Result<Self, BoxError> {
        Ok(match setup {
            Setup::Tidings { bus, bound_ms, l2 } => {
                let bound = Duration::from_millis(bound_ms);
                Self::Tidings(NearCache::open(bus, l2, bound, parent).await?)
            }
            Setup::MokaPubsub { bus } => Self::MokaPubsub(MokaPubsub::open(bus, parent).await?),
        })
    }

    /// Carries out a call of the parent. The version is that of a read.
    pub async fn call(&self, id: u64, call: Call) -> Result<Option<u64>, BoxError> {
        match (self, call) {
            (Self::Tidings(cache), Call::Read { key }) => cache.read(key).await,
            (Self::Tidings(cache), Call::Invalidate { key }) => cache.invalidate(&key).await,
            (Self::Tidings(cache), Call::Mutate { key }) => cache.mutate(&key, id).await,
            (Self::MokaPubsub(cache), Call::Read { key }) => cache.read(key).await,
            (Self::MokaPubsub(cache), Call::Invalidate { key }) => cache.invalidate(&key).await,
            (Self::MokaPubsub(_), Call::Mutate { .. }) => Err("there is no mutate".into()),
            (_, Call::Block { .. }) => Err("block is no call of the cache".into()),
        }
    }
}

/// `tidings::cache`.
pub struct NearCache {
    coherence: Coherence,
    cache: Cache<u64>,
    has_l2: bool,
    parent: Parent,
}

impl NearCache {
    async fn open(daemon: u16, l2: Option<u16>, bound: Duration, parent: Parent) -> Result<Self, BoxError> {
        let client = Client::new(&format!("http://127.0.0.1:{daemon}"))?;
        let options = Options::default().bound(bound).ttl(TTL).max_entries(MAX_ENTRIES);
        let options = match l2 {
            Some(redis) => options.l2(RedisL2::connect(&format!("redis://127.0.0.1:{redis}"))?),
            None => options,
        };
        let coherence = Coherence::connect(client, options).await?;
        Ok(Self { cache: coherence.shared_cache("row"), coherence, has_l2: l2.is_some(), parent })
    }

    async fn read(&self, key: String) -> Result<Option<u64>, BoxError> {
        let (parent, loaded) = (self.parent.clone(), key.clone());
        let load = move |_| {
            let (parent, key) = (parent.clone(), loaded.clone());
            async move { parent.load(&key).await }
        };
        let read = self.cache.entry(&key).tags([tag(&key)]);
        let read = if self.has_l2 { read.lock_with(LOCK_WAIT, LOCK_LEASE) } else { read };
        let version = read.get_or_load(load).await?;
        Ok(version.map(|version| *version))
    }

    async fn invalidate(&self, key: &str) -> Result<Option<u64>, BoxError> {
        self.coherence.invalidate(Invalidation::tag(tag(key))).await?;
        Ok(None)
    }

    async fn mutate(&self, key: &str, call: u64) -> Result<Option<u64>, BoxError> {
        let write = async || self.parent.write(call).await;
        self.coherence.mutate(Invalidation::tag(tag(key)), write).await?;
        Ok(None)
    }
}

fn tag(key: &str) -> String {
    format!("row:{key}")
}

/// moka with a TTL, and a subscription that deletes, by fred: it reconnects, and subscribes again.
pub struct MokaPubsub {
    cache: moka::future::Cache<String, Option<u64>>,
    publisher: RedisClient,
    parent: Parent,
}

impl MokaPubsub {
    async fn open(redis: u16, parent: Parent) -> Result<Self, BoxError> {
        let cache = moka::future::Cache::builder().max_capacity(MAX_ENTRIES as u64).time_to_live(TTL).build();
        let mut builder = Builder::from_config(Config::from_url(&format!("redis://127.0.0.1:{redis}"))?);
        builder.set_policy(ReconnectPolicy::new_exponential(0, 100, 2_000, 2));
        let publisher = builder.build()?;
        publisher.init().await?;
        let subscriber = builder.build_subscriber_client()?;
        subscriber.init().await?;
        let mut messages = subscriber.message_rx();
        subscriber.manage_subscriptions();
        subscriber.subscribe(CHANNEL).await?;
        let invalidated = cache.clone();
        tokio::spawn(async move {
            // It unsubscribes when it is dropped.
            let _subscriber = subscriber;
            loop {
                match messages.recv().await {
                    Ok(message) => {
                        if let Ok(key) = message.value.convert::<String>() {
                            invalidated.invalidate(&key).await;
                        }
                    }
                    Err(RecvError::Lagged(_)) => invalidated.invalidate_all(),
                    Err(RecvError::Closed) => break,
                }
            }
        });
        Ok(Self { cache, publisher, parent })
    }

    async fn read(&self, key: String) -> Result<Option<u64>, BoxError> {
        let load = async { self.parent.load(&key).await };
        let version = self.cache.try_get_with_by_ref(key.as_str(), load).await;
        version.map_err(|error: Arc<BoxError>| error.to_string().into())
    }

    async fn invalidate(&self, key: &str) -> Result<Option<u64>, BoxError> {
        self.publisher.publish::<(), _, _>(CHANNEL, key).await?;
        Ok(None)
    }
}
