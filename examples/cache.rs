//! A near cache that the bus keeps coherent, with a write under a hold.
//!
//! `cargo run --example cache`, with a daemon at `TIDINGS_URL` (`http://127.0.0.1:7400` by default).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidings::cache::{Cache, Coherence, Error, Invalidation, Options};
use tidings::client::Client;

/// What stands for a database here.
#[derive(Clone, Default)]
struct Database(Arc<Mutex<HashMap<u32, String>>>);

impl Database {
    async fn read(&self, id: u32) -> Result<Option<String>, std::io::Error> {
        println!("the database is asked for {id}");
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned())
    }

    async fn write(&self, id: u32, name: &str) -> Result<(), std::io::Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, name.to_owned());
        Ok(())
    }
}

async fn product(cache: &Cache<String>, database: &Database, id: u32) -> Result<Option<Arc<String>>, Error> {
    let database = database.clone();
    cache
        .entry(&id.to_string())
        .tags([format!("products:{id}")])
        .ttl(Duration::from_secs(300))
        .get_or_load(move |_| {
            let database = database.clone();
            async move { database.read(id).await }
        })
        .await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let url = std::env::var("TIDINGS_URL").unwrap_or_else(|_| "http://127.0.0.1:7400".into());
    let database = Database::default();
    // Two of them, as if they were two processes.
    let ours = Coherence::connect(Client::new(&url)?, Options::default()).await?;
    let theirs = Coherence::connect(Client::new(&url)?, Options::default()).await?;
    let (cache, other) = (ours.cache("product"), theirs.cache("product"));

    println!("at first: {:?}", product(&cache, &database, 1).await?);
    println!("again: {:?}", product(&cache, &database, 1).await?);
    // Nobody keeps a value from before the write, even if this process dies after its commit.
    theirs.mutate(Invalidation::tag("products:1"), async || database.write(1, "a chair").await).await?;
    // Another way, if the write cannot be wrapped: `theirs.invalidate(…)` after the commit.
    let position =
        other.entry("2").tags(["products:2"]).put("a table".to_owned(), async |name| database.write(2, name).await);
    let position = position.await?;
    // Only needed by who cannot wait for the bound, 2 s.
    ours.reached(&position, Duration::from_secs(5)).await;
    println!("after the write: {:?}", product(&cache, &database, 1).await?);
    println!("written through: {:?}", product(&other, &database, 2).await?);
    println!("hit rate: {:.0} %", 100.0 * ours.stats().hit_rate);
    Ok(())
}
