//! The short form of the faults, which every run of the tests has, and the long one of `make soak`.

use std::time::Duration;

pub struct Form {
    pub publishers: usize,
    /// Subscribers to one channel, at each node, beside one to all.
    pub subscribers: usize,
    /// How many times the events of the short form.
    pub load: usize,
    /// How long Redis is paused: longer than a node waits before it sends its clients away.
    pub pause: Duration,
}

pub fn form() -> Form {
    match std::env::var("TIDINGS_FAULT_FORM").as_deref() {
        Ok("long") => Form { publishers: 8, subscribers: 6, load: 10, pause: Duration::from_secs(30) },
        _ => Form { publishers: 4, subscribers: 1, load: 1, pause: Duration::from_secs(20) },
    }
}
