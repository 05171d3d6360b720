//! The amount of load: a short profile for every test run, and the long one of `make soak` (`TIDINGS_FAULT_PROFILE=long`).

use std::time::Duration;

/// How much load there is, and for how long.
pub struct Profile {
    pub publishers: usize,
    /// Subscribers to one channel at each node, besides one to all channels.
    pub subscribers: usize,
    /// Lightweight clients that all lose their node at once; `TIDINGS_FAULT_CLIENTS` overrides it. All run in the test's process:
    /// with 5,000 in a debug build, two cores cannot answer every heartbeat in time.
    pub clients: usize,
    /// The least time under load before and after a fault.
    pub phase: Duration,
    /// How long Redis is paused: longer than a node waits before it evicts its connections.
    pub pause: Duration,
}

/// The profile that the environment selects.
pub fn profile() -> Profile {
    let mut profile = match std::env::var("TIDINGS_FAULT_PROFILE").as_deref() {
        Ok("long") => Profile {
            publishers: 8,
            subscribers: 6,
            clients: 2_000,
            phase: Duration::from_secs(2),
            pause: Duration::from_secs(30),
        },
        _ => Profile {
            publishers: 4,
            subscribers: 1,
            clients: 500,
            phase: Duration::ZERO,
            pause: Duration::from_secs(20),
        },
    };
    if let Ok(clients) = std::env::var("TIDINGS_FAULT_CLIENTS") {
        profile.clients = clients.parse().expect("TIDINGS_FAULT_CLIENTS is a number");
    }
    profile
}
