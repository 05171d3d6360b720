//! Publishes events at a constant rate that does not depend on the server's speed.

use std::io;
use std::time::{Duration, Instant};

use tidings::load::Shared;
use tokio::sync::mpsc;

use crate::audience::lanes;
use crate::dialects::Lane;
use crate::events::Content;
use crate::systems::Running;

/// The most events that wait for one publisher. A publisher that is further behind fails the measurement.
const MAX_BEHIND: usize = 10_000;

/// Publishers that take turns at a constant rate.
pub struct Pace {
    lanes: Vec<Lane>,
    /// Events a second.
    rate: u32,
}

impl Pace {
    pub async fn start(server: &Running, publishers: usize, rate: u32) -> io::Result<Self> {
        Ok(Self { lanes: lanes(server, publishers).await?, rate })
    }

    /// Publishes for this time, and returns the number of events.
    ///
    /// The id of an event holds the moment at which it was due, even if its publisher still waits for an earlier
    /// response. So a slow server cannot hide its latency.
    pub async fn publish(&mut self, shared: &Shared, time: Duration, content: &Content) -> io::Result<u64> {
        let total = u64::from(self.rate) * time.as_millis() as u64 / 1_000;
        let (queues, turns): (Vec<_>, Vec<_>) = self.lanes.iter().map(|_| mpsc::channel::<Instant>(MAX_BEHIND)).unzip();
        let rate = self.rate;
        // A thread, because the runtime's timer has a resolution of one millisecond, which is longer than the
        // latencies.
        let clock = std::thread::spawn(move || {
            let begun = Instant::now();
            for number in 0..total {
                let due = begun + Duration::from_secs_f64(number as f64 / f64::from(rate));
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                // The current time and not `due`: a delay of this thread is not the server's.
                if queues[number as usize % queues.len()].try_send(Instant::now()).is_err() {
                    return Err(io::Error::other(format!("a publisher is more than {MAX_BEHIND} events behind")));
                }
            }
            Ok(total)
        });
        let publishing = self.lanes.iter_mut().zip(turns).map(|(lane, mut turns)| async move {
            while let Some(due) = turns.recv().await {
                lane.publish_due(shared, due, content).await?;
            }
            io::Result::Ok(())
        });
        futures_util::future::try_join_all(publishing).await?;
        clock.join().map_err(|_| io::Error::other("the clock thread panicked"))?
    }
}
