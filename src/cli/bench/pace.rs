//! The publisher of `tidings bench`: publishes events at a constant rate for a fixed time.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Client, Error};
use crate::load::Shared;

/// What to publish, how fast and for how long.
pub struct Pace {
    pub client: Client,
    pub channel: String,
    pub data: Value,
    /// Events per second.
    pub rate: u32,
    pub duration: Duration,
}

/// The most events of one request. Larger requests are not faster, and their first events wait for the last.
const MAX_REQUEST_EVENTS: u64 = 250;

impl Pace {
    /// Publishes the events that are due until all are published. Counts them in `published`, so that the count survives
    /// when this future is dropped. Calls `report` with the elapsed time before each request.
    ///
    /// # Errors
    /// If the daemon does not accept a request.
    pub async fn run(
        &self,
        start: Instant,
        shared: &Shared,
        published: &mut u64,
        mut report: impl FnMut(Duration),
    ) -> Result<(), Error> {
        let total = u64::from(self.rate) * self.duration.as_secs();
        let due_at = |number: u64| start + Duration::from_secs_f64(number as f64 / f64::from(self.rate));
        // When the daemon answered the last request.
        let mut last_response = start;
        while *published < total {
            let now = Instant::now();
            report(now - start);
            let due = (((now - start).as_secs_f64() * f64::from(self.rate)) as u64 + 1).min(total);
            if due <= *published {
                tokio::time::sleep_until(due_at(*published).into()).await;
                continue;
            }
            let end = due.min(*published + MAX_REQUEST_EVENTS);
            let event = |number: u64| {
                // Count the latency from the due time if the daemon delayed the event by a slow response. Otherwise count
                // from now, since our own timer is up to a millisecond late.
                let due = if due_at(number) < last_response { due_at(number) } else { now };
                json!({ "type": self.channel, "id": shared.id(due, 0, number), "data": self.data })
            };
            let mut events: Vec<Value> = (*published..end).map(event).collect();
            self.client.publish_all(&mut events).await?;
            *published = end;
            last_response = Instant::now();
            // The daemon cannot take this rate: stop at twice the time, since a growing queue measures nothing.
            if start.elapsed() > self.duration * 2 {
                break;
            }
        }
        Ok(())
    }
}
