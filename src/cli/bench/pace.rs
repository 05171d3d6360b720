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

/// What was published so far.
#[derive(Default)]
pub struct Published {
    pub count: u64,
    /// The offset of the last event.
    pub last: u64,
}

/// The most events of one request: above a few hundred nothing is won, and the first of them wait for the last.
const LARGEST_REQUEST: u64 = 250;

impl Pace {
    /// Publishes what is due, again and again, and notes it, so that it is known when this is given up. `tell` is called
    /// now and then.
    pub async fn run(
        &self,
        start: Instant,
        shared: &Shared,
        published: &mut Published,
        mut tell: impl FnMut(Duration),
    ) -> Result<(), Error> {
        let total = u64::from(self.rate) * self.duration.as_secs();
        let due_at = |number: u64| Duration::from_secs_f64(number as f64 / f64::from(self.rate));
        while published.count < total {
            let elapsed = start.elapsed();
            tell(elapsed);
            let due = ((elapsed.as_secs_f64() * f64::from(self.rate)) as u64 + 1).min(total);
            if due <= published.count {
                tokio::time::sleep(due_at(published.count).saturating_sub(elapsed)).await;
                continue;
            }
            let end = due.min(published.count + LARGEST_REQUEST);
            let event = |number: u64| {
                let id = shared.id(start + due_at(number), number);
                json!({ "type": self.channel, "id": id, "data": self.data })
            };
            let mut events: Vec<Value> = (published.count..end).map(event).collect();
            let accepted = self.client.publish_all(&mut events).await?;
            published.last = accepted.iter().map(|accepted| accepted.position.offset).max().unwrap_or(published.last);
            published.count = end;
            // Behind by more than a while: the daemon takes no more than this, and a queue is no measurement.
            if start.elapsed() > self.duration * 2 {
                break;
            }
        }
        Ok(())
    }
}
