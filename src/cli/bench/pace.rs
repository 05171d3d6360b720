//! The publisher: an even rate, for a while.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Client, Error};
use crate::load::Shared;

/// What is published, and how fast.
pub struct Pace {
    pub client: Client,
    pub channel: String,
    pub data: Value,
    /// Events a second.
    pub rate: u32,
    pub duration: Duration,
}

/// The most events of one request: above a few hundred nothing is won, and the first of them wait for the last.
const LARGEST_REQUEST: u64 = 250;

impl Pace {
    /// Publishes what is due, again and again, and counts it in `published`, so that it is known when this is given up.
    /// `tell` is called now and then.
    ///
    /// # Errors
    /// Where the daemon does not take it.
    pub async fn run(
        &self,
        start: Instant,
        shared: &Shared,
        published: &mut u64,
        mut tell: impl FnMut(Duration),
    ) -> Result<(), Error> {
        let total = u64::from(self.rate) * self.duration.as_secs();
        let due_at = |number: u64| start + Duration::from_secs_f64(number as f64 / f64::from(self.rate));
        // Since when the daemon has not held us up.
        let mut free = start;
        while *published < total {
            let now = Instant::now();
            tell(now - start);
            let due = (((now - start).as_secs_f64() * f64::from(self.rate)) as u64 + 1).min(total);
            if due <= *published {
                tokio::time::sleep_until(due_at(*published).into()).await;
                continue;
            }
            let end = due.min(*published + LARGEST_REQUEST);
            let event = |number: u64| {
                // The daemon answers for an event that it kept from being sent, not for our timer, which is late by up to a
                // millisecond.
                let due = if due_at(number) < free { due_at(number) } else { now };
                json!({ "type": self.channel, "id": shared.id(due, 0, number), "data": self.data })
            };
            let mut events: Vec<Value> = (*published..end).map(event).collect();
            self.client.publish_all(&mut events).await?;
            *published = end;
            free = Instant::now();
            // Behind by more than a while: the daemon takes no more than this, and a queue is no measurement.
            if start.elapsed() > self.duration * 2 {
                break;
            }
        }
        Ok(())
    }
}
