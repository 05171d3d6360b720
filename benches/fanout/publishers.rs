//! Publishers in a closed loop: each publishes its next event once the previous one was answered, or delivered.
//!
//! They run on a thread of their own. On the subscribers' threads, each of them would have to wait until thousands of
//! subscribers have read, and the load would fall just when the server is behind.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidings::load::Shared;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use crate::dialects::Lane;
use crate::events::Content;
use crate::systems::Running;

/// The pause of a publisher whose event was refused.
const PAUSE: Duration = Duration::from_millis(10);
/// The time that an event has to be delivered, where its publisher waits for that.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);

/// What a publisher waits for before it publishes its next event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitFor {
    /// The answer to its request.
    Answer,
    /// The answer, and the delivery to this many subscribers. [`Shared::watch_lanes`] must have been called before.
    Delivery(usize),
}

/// Connected publishers.
pub struct Publishers {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    lanes: Vec<Lane>,
}

/// The events of a time in which publishers published.
#[derive(Debug, Default, Clone, Copy)]
pub struct Published {
    /// Events that the server accepted.
    pub accepted: u64,
    /// Requests that it refused. Their events are not sent again.
    pub refused: u64,
}

impl Publishers {
    /// Connects this many publishers.
    pub async fn connect(server: &Running, count: usize) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let endpoint = server.endpoint();
        // The connections belong to the runtime that opens them.
        let connecting = runtime.spawn(async move {
            let mut lanes = Vec::new();
            for number in 0..count {
                lanes.push(endpoint.lane(number).await?);
            }
            io::Result::Ok(lanes)
        });
        let lanes = connecting.await.map_err(io::Error::other)??;
        Ok(Self { runtime: Some(runtime), lanes })
    }

    /// Publishes from the first `count` publishers for this time.
    ///
    /// # Errors
    /// Where an event is not delivered within 10 s and its publisher waits for that.
    pub async fn publish(
        &mut self,
        count: usize,
        wait_for: WaitFor,
        time: Duration,
        shared: &Arc<Shared>,
        content: &Content,
    ) -> io::Result<Published> {
        let Some(runtime) = &self.runtime else { return Ok(Published::default()) };
        let begun = Instant::now();
        let mut publishing = JoinSet::new();
        for mut lane in self.lanes.drain(..count) {
            let (shared, content) = (shared.clone(), content.clone());
            let work = async move {
                let mut published = Published::default();
                while begun.elapsed() < time {
                    if lane.publish(&shared, &content).await.is_err() {
                        published.refused += 1;
                        lane.take_back(&content);
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                    published.accepted += 1;
                    if let WaitFor::Delivery(subscribers) = wait_for {
                        let delivered =
                            shared.wait_for_lane(lane.number(), lane.published(&content) * subscribers as u64);
                        tokio::time::timeout(DELIVERY_TIMEOUT, delivered).await?;
                    }
                }
                io::Result::Ok((lane, published))
            };
            publishing.spawn_on(work, runtime.handle());
        }
        let mut all = Published::default();
        while let Some(done) = publishing.join_next().await {
            let (lane, published) = done.map_err(io::Error::other)??;
            self.lanes.push(lane);
            all.accepted += published.accepted;
            all.refused += published.refused;
        }
        self.lanes.sort_by_key(Lane::number);
        Ok(all)
    }
}

impl Drop for Publishers {
    fn drop(&mut self) {
        // A runtime may not be dropped within another one, because that waits.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
