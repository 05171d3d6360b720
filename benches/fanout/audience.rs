//! The subscribers of one server during a measurement. They verify that every event came once and in order.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tidings::load::{Dialect, Seen, Shared, Swarm};
use tokio::task::JoinSet;

use crate::dialects::{LANES, Lane};
use crate::events::Content;
use crate::publishers::Published;
use crate::systems::Running;

/// The time without any delivery after which a measurement fails.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);
/// The time without any delivery after which [`Audience::outcome`] waits for no more.
const QUIET: Duration = Duration::from_secs(1);

/// Open subscribers.
pub struct Audience {
    pub shared: Arc<Shared>,
    swarm: Swarm,
    size: usize,
    /// The number of events that each subscriber should have.
    events: u64,
}

impl Audience {
    /// Opens subscribers of all events.
    pub async fn open(server: &Running, size: usize) -> io::Result<Self> {
        let dialect = Arc::new(server.dialect());
        Self::open_as(server, size, |_| dialect.clone()).await
    }

    /// Opens subscribers, each with its own dialect.
    pub async fn open_as(server: &Running, size: usize, dialect: impl Fn(usize) -> Arc<Dialect>) -> io::Result<Self> {
        let shared = Shared::new();
        let swarm = Swarm::open(server.address, size, dialect, &shared, || {}).await?;
        Ok(Self { shared, swarm, size, events: 0 })
    }

    /// The number of subscribers.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Waits until all subscribers have `events` more events, which were published.
    pub async fn wait_for_events(&mut self, events: u64) -> io::Result<()> {
        self.events += events;
        self.wait_for_deliveries(self.events * self.size as u64).await
    }

    /// Waits for this many deliveries in all.
    pub async fn wait_for_deliveries(&self, deliveries: u64) -> io::Result<()> {
        match self.shared.wait_for(deliveries, DELIVERY_TIMEOUT).await {
            true => Ok(()),
            false => {
                let why = self.shared.disconnected().map(|why| format!("; {why}")).unwrap_or_default();
                let came = self.shared.deliveries();
                Err(io::Error::other(format!("only {came} of {deliveries} deliveries came{why}")))
            }
        }
    }

    /// Publishes events one after the other. Each is published when all subscribers have the previous one.
    pub async fn one_at_a_time(&mut self, lane: &mut Lane, events: u64, content: &Content) -> io::Result<()> {
        for _ in 0..events {
            lane.publish(&self.shared, content).await?;
            self.wait_for_events(1).await?;
        }
        Ok(())
    }

    /// Publishes the contents in turn on all lanes at the same time, and waits until all subscribers have all events.
    ///
    /// A lane publishes its next event when the server has accepted the previous one. Returns the number of events, and
    /// the time until the last delivery.
    pub async fn flood(
        &mut self,
        lanes: &mut Vec<Lane>,
        contents: &[Content],
        until: Until,
    ) -> io::Result<(u64, Duration)> {
        let (begun, sent) = (Instant::now(), Arc::new(AtomicU64::new(0)));
        let contents: Arc<[Content]> = contents.into();
        let mut publishing = JoinSet::new();
        for (first, mut lane) in lanes.drain(..).enumerate() {
            let (shared, contents, sent) = (self.shared.clone(), contents.clone(), sent.clone());
            publishing.spawn(async move {
                let mut next = first;
                while begun.elapsed() < until.time && sent.fetch_add(1, Ordering::Relaxed) < until.events {
                    lane.publish(&shared, &contents[next % contents.len()]).await?;
                    next += 1;
                }
                io::Result::Ok((lane, (next - first) as u64))
            });
        }
        let mut events = 0;
        while let Some(done) = publishing.join_next().await {
            let (lane, sent) = done.map_err(io::Error::other)??;
            lanes.push(lane);
            events += sent;
        }
        self.wait_for_events(events).await?;
        Ok((events, begun.elapsed()))
    }

    /// Publishes, and waits for the deliveries that can still come. Some may never come, because a server may close
    /// subscribers.
    pub async fn outcome(&mut self, publishing: impl Future<Output = io::Result<Published>>) -> io::Result<Outcome> {
        let (begun, before) = (Instant::now(), self.shared.deliveries());
        let published = publishing.await?;
        let published_in = begun.elapsed().as_secs_f64();
        self.events += published.accepted;
        let expected = before + published.accepted * self.size as u64;
        self.shared.wait_for(expected, QUIET).await;
        let delivered_in = self.shared.last_delivery().map(|last| last.saturating_duration_since(begun).as_secs_f64());
        let came = self.shared.deliveries();
        Ok(Outcome {
            accepted: published.accepted as f64 / published_in,
            refused: published.refused,
            rate: (came - before) as f64 / delivered_in.unwrap_or_default().max(published_in),
            outstanding: expected.saturating_sub(came),
        })
    }

    /// Ends the subscribers. Each must have received every event once and in order.
    pub async fn close(self) -> io::Result<()> {
        let events = self.events;
        self.close_if(|seen| seen.events == events).await.map(drop)
    }

    /// Ends the subscribers, of which some may have been closed or miss the last events. What each of them received must
    /// have been without holes and in order.
    pub async fn close_unfinished(self) -> io::Result<Vec<Seen>> {
        let seen = self.swarm.close().await;
        match seen.iter().find(|seen| seen.lost > 0 || seen.misordered > 0) {
            None => Ok(seen),
            Some(Seen { events, lost, misordered, .. }) => Err(io::Error::other(format!(
                "a subscriber failed: it has {events} events, {lost} lost, {misordered} out of order"
            ))),
        }
    }

    /// Ends the subscribers. None may have a lost or misordered event; `is_complete` tells whether a subscriber has all
    /// its events.
    pub async fn close_if(self, is_complete: impl Fn(&Seen) -> bool) -> io::Result<Vec<Seen>> {
        let seen = self.swarm.close().await;
        let whole = |seen: &&Seen| is_complete(seen) && seen.lost == 0 && seen.misordered == 0 && seen.ended.is_none();
        let broken = seen.iter().filter(|seen| !whole(seen)).count();
        let Some(one) = seen.iter().find(|seen| !whole(seen)) else { return Ok(seen) };
        let Seen { events, lost, misordered, ended, .. } = one;
        let ended = ended.as_ref().map(|why| format!("; {why}")).unwrap_or_default();
        Err(io::Error::other(format!(
            "{broken} subscribers failed: one has {events} of {} events, {lost} lost, {misordered} out of order{ended}",
            self.events
        )))
    }
}

/// What became of published events.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// Events that the server accepted a second.
    pub accepted: f64,
    /// Requests that it refused.
    pub refused: u64,
    /// Deliveries a second, until the last delivery.
    pub rate: f64,
    /// Deliveries that did not come.
    pub outstanding: u64,
}

/// When to stop publishing: after this time, or after this many events.
///
/// A server that responds as soon as it has an event can accept thousands of them before it has delivered the first to
/// ten thousand subscribers. The number of events bounds that.
#[derive(Debug, Clone, Copy)]
pub struct Until {
    pub time: Duration,
    pub events: u64,
}

impl Until {
    pub fn millis(millis: u64) -> Self {
        Self { time: Duration::from_millis(millis), events: u64::MAX }
    }

    /// At most about this many deliveries to `size` subscribers, but at least two events for each lane.
    pub fn deliveries(self, deliveries: u64, size: usize) -> Self {
        Self { events: (deliveries / size as u64).max(2 * LANES as u64), ..self }
    }
}

/// Opens `count` lanes, each with its own connection.
pub async fn lanes(server: &Running, count: usize) -> io::Result<Vec<Lane>> {
    let mut lanes = Vec::new();
    for number in 0..count {
        lanes.push(server.lane(number).await?);
    }
    Ok(lanes)
}
