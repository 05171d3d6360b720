//! Publishers in a closed loop or behind a clock. In a closed loop, each publishes its next event once the previous one
//! was answered, or delivered. A clock offers events at a rate that does not depend on the server.
//!
//! They run on a thread of their own. On the subscribers' threads, each of them would have to wait until thousands of
//! subscribers have read, and the load would fall just when the server is behind.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tidings::load::Shared;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::dialects::Lane;
use crate::events::Content;
use crate::own_thread::OwnThread;
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
    thread: OwnThread,
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
        let thread = OwnThread::start()?;
        let endpoint = server.endpoint();
        // The connections belong to the runtime that opens them.
        let connecting = thread.handle().spawn(async move {
            let mut lanes = Vec::new();
            for number in 0..count {
                lanes.push(endpoint.lane(number).await?);
            }
            io::Result::Ok(lanes)
        });
        let lanes = connecting.await.map_err(io::Error::other)??;
        Ok(Self { thread, lanes })
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
            publishing.spawn_on(work, self.thread.handle());
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

    /// Publishes events that a clock offers at `rate` a second for this time. An event that is offered while all
    /// publishers wait for answers is published once one of them is free, or not at all if the time is over before.
    pub async fn offer(
        &mut self,
        rate: f64,
        time: Duration,
        shared: &Arc<Shared>,
        content: &Content,
    ) -> io::Result<Offered> {
        let (ticks, next, begun) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicU64::new(0)), Instant::now());
        let due = move |number: u64| begun + Duration::from_secs_f64(number as f64 / rate);
        // A thread, because the runtime's timer has a resolution of one millisecond.
        let clock = std::thread::spawn({
            let ticks = ticks.clone();
            move || {
                let mut offered = 0;
                while due(offered) < begun + time {
                    std::thread::sleep(due(offered).saturating_duration_since(Instant::now()));
                    ticks.add_permits(1);
                    offered += 1;
                }
                ticks.close();
                offered
            }
        });
        let mut publishing = JoinSet::new();
        for mut lane in self.lanes.drain(..) {
            let (ticks, next, shared, content) = (ticks.clone(), next.clone(), shared.clone(), content.clone());
            let work = async move {
                let (mut published, mut waits) = (Published::default(), Vec::new());
                while let Ok(tick) = ticks.acquire().await {
                    tick.forget();
                    let due = due(next.fetch_add(1, Ordering::Relaxed));
                    waits.push(Instant::now().saturating_duration_since(due).as_micros() as u64);
                    match lane.publish(&shared, &content).await {
                        Ok(()) => published.accepted += 1,
                        Err(_) => {
                            published.refused += 1;
                            lane.take_back(&content);
                        }
                    }
                }
                (lane, published, waits)
            };
            publishing.spawn_on(work, self.thread.handle());
        }
        let (mut all, mut waits) = (Published::default(), Vec::new());
        while let Some(done) = publishing.join_next().await {
            let (lane, published, waited) = done.map_err(io::Error::other)?;
            self.lanes.push(lane);
            all.accepted += published.accepted;
            all.refused += published.refused;
            waits.extend(waited);
        }
        self.lanes.sort_by_key(Lane::number);
        let offered = clock.join().map_err(|_| io::Error::other("the clock thread panicked"))?;
        waits.sort_unstable();
        let wait = waits.get(waits.len().saturating_sub(1) * 99 / 100).copied().unwrap_or_default();
        Ok(Offered { offered, published: all, wait })
    }
}

/// The events that a clock offered.
#[derive(Debug, Clone, Copy)]
pub struct Offered {
    pub offered: u64,
    /// What was published of it in that time.
    pub published: Published,
    /// The p99 of the time that an event waited for a free publisher, in microseconds.
    pub wait: u64,
}
