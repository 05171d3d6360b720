//! The Rust cache with real daemons, real Redis servers and broken links. The cases that need a virtual clock are in
//! `tests/cache/cases.json`.

mod bus;
mod level_two;

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidings::cache::{Cache, Coherence, Invalidation, Options, Read};
use tidings::client::Client;
use tidings::event::Position;

use crate::support::node::Node;
use crate::support::{until, within};

/// The truth: a version of each key, and how often each was loaded.
#[derive(Clone, Default)]
struct Database(Arc<Mutex<HashMap<String, (u64, usize)>>>);

impl Database {
    fn set(&self, key: &str, version: u64) {
        self.0.lock().unwrap().entry(key.to_owned()).or_default().0 = version;
    }

    fn load(&self, key: &str) -> u64 {
        let mut rows = self.0.lock().unwrap();
        let row = rows.entry(key.to_owned()).or_default();
        row.1 += 1;
        row.0
    }

    fn loads(&self, key: &str) -> usize {
        self.0.lock().unwrap().get(key).map_or(0, |row| row.1)
    }
}

/// An instance of an application: a cache in front of the database.
struct Instance {
    coherence: Coherence,
    cache: Cache<u64>,
    database: Database,
    /// How long a load takes.
    delay: Duration,
}

impl Instance {
    async fn start(url: &str, database: &Database, options: Options) -> Self {
        crate::support::tls::install_cryptography();
        let connecting = Coherence::connect(Client::new(url).unwrap(), options);
        let coherence = within("the cache is connected", connecting).await.unwrap();
        let cache = coherence.shared_cache("");
        Self { coherence, cache, database: database.clone(), delay: Duration::ZERO }
    }

    /// An instance whose subscription has begun.
    async fn proven(url: &str, database: &Database, options: Options) -> Self {
        let instance = Self::start(url, database, options).await;
        // What is loaded before is dropped when it begins.
        until("the subscription has begun", async || instance.is_proven().await.then_some(())).await;
        instance
    }

    /// Whether a value that was loaded is still there for a read that asks the bus.
    async fn is_proven(&self) -> bool {
        self.read("proof").await;
        let before = self.database.loads("proof");
        self.load(self.entry("proof").strict()).await;
        self.database.loads("proof") == before
    }

    fn entry<'a>(&'a self, key: &'a str) -> Read<'a, u64, [String; 1]> {
        self.cache.entry(key).tags([tag(key)])
    }

    async fn load(&self, read: Read<'_, u64, [String; 1]>) -> u64 {
        let (database, delay) = (self.database.clone(), self.delay);
        let load = move |context: tidings::cache::LoadContext<u64>| {
            let (database, key) = (database.clone(), context.key().to_owned());
            async move {
                let version = database.load(&key);
                tokio::time::sleep(delay).await;
                Ok::<_, Infallible>(version)
            }
        };
        *within("a read", read.get_or_load(load)).await.expect("no read fails").expect("a value")
    }

    async fn read(&self, key: &str) -> u64 {
        self.load(self.entry(key)).await
    }

    fn peek(&self, key: &str) -> Option<u64> {
        self.cache.peek(key).map(|version| *version)
    }

    /// Commits a version and invalidates it.
    async fn write(&self, key: &str, version: u64) -> Position {
        self.database.set(key, version);
        let invalidating = self.coherence.invalidate(Invalidation::tag(tag(key)));
        within("an invalidation", invalidating).await.expect("it is acknowledged")
    }

    async fn has_applied(&self, position: &Position) {
        assert!(self.coherence.reached(position, crate::support::PATIENCE).await, "{position} is not applied");
    }
}

fn tag(key: &str) -> String {
    format!("tag:{key}")
}

/// The URL of a node through a proxy.
fn through(proxy: &crate::support::proxy::Proxy) -> String {
    format!("http://127.0.0.1:{}", proxy.port)
}

/// A bound that no test reaches: what a test sees then comes from invalidations alone.
fn unbounded() -> Options {
    Options::default().bound(Duration::from_secs(3_600)).ttl(Duration::from_secs(3_600))
}

/// The port of a node.
fn port(node: &Node) -> u16 {
    node.address.port()
}
