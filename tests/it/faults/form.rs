//! The short form of the faults, which every run of the tests has, and the long one of `make soak`.

use std::time::Duration;

pub struct Form {
    pub publishers: usize,
    /// Subscribers to one channel, at each node, beside one to all.
    pub subscribers: usize,
    /// Light subscribers who all lose their node at once.
    pub clients: usize,
    /// How long the load goes on before and after a fault, at least.
    pub phase: Duration,
    /// How long Redis is paused: longer than a node waits before it sends its clients away.
    pub pause: Duration,
}

pub fn form() -> Form {
    match std::env::var("TIDINGS_FAULT_FORM").as_deref() {
        Ok("long") => Form {
            publishers: 8,
            subscribers: 6,
            clients: 5_000,
            phase: Duration::from_secs(4),
            pause: Duration::from_secs(30),
        },
        _ => {
            Form { publishers: 4, subscribers: 1, clients: 500, phase: Duration::ZERO, pause: Duration::from_secs(20) }
        }
    }
}
