//! A cache in this process that `cache-invalidate` events keep true.
//!
//! `cargo run --example invalidate`, with a daemon at `TIDINGS_URL` (`http://127.0.0.1:7400` by default). Then:
//! `tidings publish cache-invalidate --data '{"tags":["users"]}'`.

use std::collections::HashMap;

use serde::Deserialize;
use tidings::client::{Client, Error, Subscription, Update};
use tidings::event::CacheInvalidate;

/// A cached value, with the tags by which it can be invalidated.
struct Entry {
    tags: &'static [&'static str],
    value: &'static str,
}

#[derive(Default)]
struct Cache(HashMap<&'static str, Entry>);

impl Cache {
    /// Reads everything from where it is kept: a database, in a real program.
    fn load(&mut self) {
        self.0.insert("user:1", Entry { tags: &["users"], value: "Ada" });
        self.0.insert("user:2", Entry { tags: &["users", "admins"], value: "Grace" });
        self.0.insert("page:/", Entry { tags: &["pages"], value: "<h1>Welcome</h1>" });
    }

    /// Removes every entry that the event names by key, by tag, or by a prefix of its key.
    fn invalidate(&mut self, event: &CacheInvalidate) {
        self.0.retain(|key, entry| {
            !(event.keys.iter().any(|named| named == key)
                || event.tags.iter().any(|tag| entry.tags.contains(&tag.as_str()))
                || event.prefixes.iter().any(|prefix| key.starts_with(prefix.as_str())))
        });
    }

    fn show(&self) {
        let mut entries: Vec<_> = self.0.iter().map(|(key, entry)| format!("{key}={}", entry.value)).collect();
        entries.sort();
        println!("cached: {}", if entries.is_empty() { "nothing".into() } else { entries.join(", ") });
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    /// The part of a CloudEvent that this program needs.
    #[derive(Deserialize)]
    struct Event {
        data: CacheInvalidate,
    }

    let url = std::env::var("TIDINGS_URL").unwrap_or_else(|_| "http://127.0.0.1:7400".into());
    let mut subscriber = Client::new(&url)?.subscribe([Subscription::to("cache-invalidate")]);
    let mut cache = Cache::default();
    let mut loaded = false;
    loop {
        match subscriber.next().await? {
            // Load after the subscription stands: an invalidation that comes during the load is then delivered after it.
            // A reconnect resumes the subscription, so what is cached stays true.
            Update::Subscribed { .. } if !loaded => {
                cache.load();
                loaded = true;
                cache.show();
            }
            Update::Event(delivery) => {
                // The daemon has validated the event. One that cannot be read is of a newer version: trust nothing then.
                match serde_json::from_str::<Event>(delivery.event.get()) {
                    Ok(event) => cache.invalidate(&event.data),
                    Err(_) => cache.0.clear(),
                }
                cache.show();
            }
            // Any entry may be stale: an invalidation is among the lost events, perhaps.
            Update::Gap { .. } => {
                cache.0.clear();
                cache.show();
            }
            // While there is no connection, entries can be stale. A program that must not serve them bypasses the cache
            // from here until the next `Subscribed`.
            Update::Disconnected { reason, .. } => eprintln!("disconnected: {reason}"),
            _ => {}
        }
    }
}
