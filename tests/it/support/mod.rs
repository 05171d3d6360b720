//! Helpers of the integration tests: daemons, brokers, clients, a network proxy, a clock and a disk that can be broken.
//!
//! Tests wait for a condition ([`until`], [`within`]) and never sleep for a fixed time.

pub mod broker;
pub mod certificates;
pub mod clock;
pub mod cluster;
pub mod daemon;
pub mod deflate;
pub mod disk;
pub mod each_broker;
pub mod events;
pub mod flows;
pub mod http;
pub mod node;
pub mod proxy;
pub mod raw;
pub mod redis;
pub mod resp;
pub mod sentinel;
pub mod slow;
pub mod subscriber;
pub mod terminal;
pub mod tls;
pub mod upstash;
pub mod wrapped;

use std::time::{Duration, Instant};

/// The timeout of every condition that a test waits for. It is long because other tests share the machine; no test uses it to
/// check how fast the daemon is.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Polls `ask` every 10 ms until it returns a value. Panics with `what` after [`PATIENCE`].
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "timed out waiting until: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Awaits `future` and returns its output. Panics with `what` after [`PATIENCE`].
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("timed out waiting for: {what}"))
}

/// The seed of a test's random choices: `TIDINGS_FAULT_SEED`, or a random number. It is printed, so that a failed run can be
/// repeated.
pub fn seed() -> u64 {
    let given = std::env::var("TIDINGS_FAULT_SEED");
    let seed = given.map_or_else(|_| rand::random(), |seed| seed.parse().expect("a seed is a number"));
    println!("TIDINGS_FAULT_SEED={seed}");
    seed
}
