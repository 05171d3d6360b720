//! The publisher: an even rate, for a while.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Client, Error};

/// What is published.
pub struct Load {
    client: Client,
    channel: String,
    data: Value,
    rate: u32,
    duration: Duration,
    run_id: String,
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

impl Load {
    pub fn new(client: Client, channel: &str, data: Value, rate: u32, duration: Duration) -> Self {
        let run_id = format!("bench-{}-", uuid::Uuid::now_v7().simple());
        Self { client, channel: channel.into(), data, rate, duration, run_id }
    }

    /// What the ids of this run begin with; behind it stands when the event was due, in microseconds, and the
    /// event's number.
    pub fn run_id(&self) -> String {
        self.run_id.clone()
    }

    /// Publishes what is due, again and again, and notes it, so that it is known when this is given up.
    ///
    /// `clock` is what `start` is in the ids, `tell` is called now and then.
    pub async fn run(
        &self,
        start: Instant,
        clock: u64,
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
                let due = clock + due_at(number).as_micros() as u64;
                json!({ "type": self.channel, "id": format!("{}{due}-{number}", self.run_id), "data": self.data })
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
