//! Publishing at an even rate, whatever the server does.

use std::io;
use std::time::{Duration, Instant};

use tidings::load::Shared;
use tokio::sync::mpsc;

use crate::audience::lanes;
use crate::dialects::Lane;
use crate::events::Content;
use crate::systems::Running;

/// Events that may wait for one publisher: more than it should ever be behind.
const BEHIND: usize = 10_000;

/// Publishers that take turns.
pub struct Pace {
    lanes: Vec<Lane>,
    /// Events a second.
    rate: u32,
}

impl Pace {
    pub async fn start(server: &Running, publishers: usize, rate: u32) -> io::Result<Self> {
        Ok(Self { lanes: lanes(server, publishers).await?, rate })
    }

    /// Publishes for a while, and answers with the number of events. An event bears the moment at which it was due, even if
    /// its publisher still waits for the answer to the one before.
    pub async fn publish(&mut self, shared: &Shared, time: Duration, content: &Content) -> io::Result<u64> {
        let total = u64::from(self.rate) * time.as_millis() as u64 / 1_000;
        let (queues, turns): (Vec<_>, Vec<_>) = self.lanes.iter().map(|_| mpsc::channel::<Instant>(BEHIND)).unzip();
        let rate = self.rate;
        // A thread of its own: the runtime's timer knows only milliseconds, which is longer than what is measured.
        let clock = std::thread::spawn(move || {
            let begun = Instant::now();
            for number in 0..total {
                let due = begun + Duration::from_secs_f64(number as f64 / f64::from(rate));
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                // The moment that it is, not `due`: how late this thread is says nothing of the server.
                if queues[number as usize % queues.len()].try_send(Instant::now()).is_err() {
                    return Err(io::Error::other(format!("a publisher is more than {BEHIND} events behind")));
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
        clock.join().map_err(|_| io::Error::other("the clock has died"))?
    }
}
