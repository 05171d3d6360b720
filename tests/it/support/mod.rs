//! What tests need around the daemon. Tests wait for conditions, never for times.

pub mod broker;
pub mod certificates;
pub mod clock;
pub mod cluster;
pub mod daemon;
pub mod deflate;
pub mod disk;
pub mod each_broker;
pub mod events;
pub mod http;
pub mod node;
pub mod proxy;
pub mod raw;
pub mod redis;
pub mod sentinel;
pub mod subscriber;

use std::time::{Duration, Instant};

/// How long a condition may take that is sure to come: long, for a machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Asks again and again until the answer is there; `what` is said where it never comes.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What comes of `future`; the test fails where nothing does.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited in vain for: {what}"))
}

/// What all random choices of a test come from: printed, so that `TIDINGS_FAULT_SEED` can repeat them.
pub fn seed() -> u64 {
    let given = std::env::var("TIDINGS_FAULT_SEED");
    let seed = given.map_or_else(|_| rand::random(), |seed| seed.parse().expect("a seed is a number"));
    println!("TIDINGS_FAULT_SEED={seed}");
    seed
}
