//! A cache in Rust for the coherence checker (`make coherence`): one process, which is the cache of one instance or writer.
//!
//! A process of Node starts it, and keeps the clock, the truth and the log of the reads. It asks this one to read a key or to
//! invalidate one (`parent.rs`). This one asks back when its cache loads. Which cache it is stands in the argument, a JSON
//! object (`caches.rs`).

mod caches;
mod parent;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tidings::cache::BoxError;

use caches::CheckedCache;
use parent::{Call, Parent, Request};

/// One thread, as the event loop of Node is.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let setup = std::env::args().nth(1).ok_or("the argument is missing: a JSON object with the system")?;
    let parent = Parent::default();
    let mut calls = parent.listen();
    let cache = Arc::new(CheckedCache::open(serde_json::from_str(&setup)?, parent.clone()).await?);
    parent.say(&json!({ "isReady": true }))?;
    while let Some(Request { id, call }) = calls.recv().await {
        if let Call::Block { ms } = call {
            std::thread::sleep(Duration::from_millis(ms));
            parent.say(&json!({ "id": id }))?;
            continue;
        }
        let (cache, parent) = (cache.clone(), parent.clone());
        tokio::spawn(async move {
            let answer = match cache.call(id, call).await {
                Ok(version) => json!({ "id": id, "version": version }),
                Err(error) => json!({ "id": id, "error": error.to_string() }),
            };
            // An error: the parent has ended, and so will this process.
            let _ = parent.say(&answer);
        });
    }
    Ok(())
}
