//! The short form of the faults, which every run of the tests has, and the long one of `make soak`.

use std::time::Duration;

pub struct Form {
    pub publishers: usize,
    /// Subscribers to one channel, at each node, beside one to all.
    pub subscribers: usize,
    /// Light subscribers who all lose their node at once; `TIDINGS_FAULT_CLIENTS` for more. All are in the test's process: with
    /// 5,000 in a debug build, two cores have not the time to answer everybody's heartbeat.
    pub clients: usize,
    /// How long the load goes on before and after a fault, at least.
    pub phase: Duration,
    /// How long Redis is paused: longer than a node waits before it sends its clients away.
    pub pause: Duration,
}

pub fn form() -> Form {
    let mut form = match std::env::var("TIDINGS_FAULT_FORM").as_deref() {
        Ok("long") => Form {
            publishers: 8,
            subscribers: 6,
            clients: 2_000,
            phase: Duration::from_secs(2),
            pause: Duration::from_secs(30),
        },
        _ => {
            Form { publishers: 4, subscribers: 1, clients: 500, phase: Duration::ZERO, pause: Duration::from_secs(20) }
        }
    };
    if let Ok(clients) = std::env::var("TIDINGS_FAULT_CLIENTS") {
        form.clients = clients.parse().expect("a number of clients");
    }
    form
}
