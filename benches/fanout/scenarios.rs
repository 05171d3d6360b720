//! What is measured.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidings::load::{Shared, Swarm};

use crate::systems::{BUN, FLOOR, PEERS, Running, System, TIDINGS, TIDINGS_REDIS};
use crate::usage::{Meter, Usage};

/// Figures by name.
pub type Figures = Vec<(&'static str, f64)>;

pub struct Scenario {
    pub name: &'static str,
    pub systems: Vec<System>,
    what: What,
}

#[derive(Clone, Copy)]
enum What {
    /// One event after the other, each when everybody has the one before.
    One {
        subscribers: usize,
        events: u64,
    },
    /// So many requests under way at any time.
    Backlog {
        subscribers: usize,
        in_flight: usize,
        time: Duration,
    },
    Idle {
        subscribers: usize,
    },
}

const PATIENCE: Duration = Duration::from_secs(10);
const PRODUCT: &str = "p-1";

pub fn all() -> Vec<Scenario> {
    let mut everyone = vec![FLOOR, TIDINGS, TIDINGS_REDIS];
    everyone.extend(PEERS);
    let scenario = |name, what, systems: &[System]| Scenario { name, what, systems: systems.to_vec() };
    let backlog = What::Backlog { subscribers: 1_000, in_flight: 64, time: Duration::from_secs(2) };
    vec![
        scenario("one-1000", What::One { subscribers: 1_000, events: 300 }, &everyone),
        scenario("one-10000", What::One { subscribers: 10_000, events: 40 }, &everyone),
        scenario("backlog", backlog, &everyone),
        scenario("onecore", backlog, &[FLOOR.on(1), TIDINGS.on(1), PEERS[2].clone().on(1)]),
        scenario("idle", What::Idle { subscribers: 10_000 }, &[TIDINGS, BUN]),
    ]
}

impl Scenario {
    pub async fn run(&self, server: &Running) -> io::Result<Figures> {
        match self.what {
            What::One { subscribers, events } => one(server, subscribers, events).await,
            What::Backlog { subscribers, in_flight, time } => backlog(server, subscribers, in_flight, time).await,
            What::Idle { subscribers } => idle(server, subscribers).await,
        }
    }
}

async fn one(server: &Running, subscribers: usize, events: u64) -> io::Result<Figures> {
    let shared = Shared::new();
    let dialect = Arc::new(server.dialect());
    let swarm = Swarm::open(server.address, subscribers, |_| dialect.clone(), &shared, || {}).await?;
    let mut publisher = server.publisher().await?;
    let warm = events / 10 + 1;
    let mut meter = None;
    for number in 0..warm + events {
        if number == warm {
            meter = Some(Meter::start(server.pid()));
        }
        publisher.publish(&shared, number, PRODUCT).await?;
        all_there(&shared, (number + 1) * subscribers as u64).await?;
    }
    let usage = meter.expect("there was an event").stop();
    close(swarm, warm + events).await?;
    Ok(per_delivery(usage, events * subscribers as u64))
}

async fn backlog(server: &Running, subscribers: usize, in_flight: usize, time: Duration) -> io::Result<Figures> {
    let shared = Shared::new();
    let dialect = Arc::new(server.dialect());
    let swarm = Swarm::open(server.address, subscribers, |_| dialect.clone(), &shared, || {}).await?;
    let meter = Meter::start(server.pid());
    let begun = Instant::now();
    let mut publishers = tokio::task::JoinSet::new();
    for lane in 0..in_flight as u64 {
        let (mut publisher, shared) = (server.publisher().await?, shared.clone());
        publishers.spawn(async move {
            let mut sent = 0;
            while begun.elapsed() < time {
                publisher.publish(&shared, lane << 32 | sent, PRODUCT).await?;
                sent += 1;
            }
            io::Result::Ok(sent)
        });
    }
    let mut events = 0;
    while let Some(sent) = publishers.join_next().await {
        events += sent.expect("no publisher panics")?;
    }
    all_there(&shared, events * subscribers as u64).await?;
    let took = begun.elapsed();
    let usage = meter.stop();
    close(swarm, events).await?;
    let deliveries = events * subscribers as u64;
    let mut figures = per_delivery(usage, deliveries);
    figures.push(("deliveries/s", deliveries as f64 / took.as_secs_f64()));
    figures.push(("events/s", events as f64 / took.as_secs_f64()));
    Ok(figures)
}

async fn idle(server: &Running, subscribers: usize) -> io::Result<Figures> {
    let shared = Shared::new();
    let dialect = Arc::new(server.dialect());
    let before = crate::usage::resident(server.pid());
    let begun = Instant::now();
    let swarm = Swarm::open(server.address, subscribers, |_| dialect.clone(), &shared, || {}).await?;
    let opened = begun.elapsed();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let after = crate::usage::resident(server.pid());
    close(swarm, 0).await?;
    Ok(vec![
        ("bytes a connection", (after as f64 - before as f64) / subscribers as f64),
        ("seconds to open", opened.as_secs_f64()),
    ])
}

async fn all_there(shared: &Shared, deliveries: u64) -> io::Result<()> {
    match shared.wait_for(deliveries, PATIENCE).await {
        true => Ok(()),
        false => Err(io::Error::other(format!("only {} of {deliveries} deliveries came", shared.deliveries()))),
    }
}

/// Ends the subscribers, which must have seen everything.
async fn close(swarm: Swarm, events: u64) -> io::Result<()> {
    let seen = swarm.close().await;
    let whole = |seen: &&tidings::load::Seen| {
        seen.events == events && seen.lost == 0 && seen.misordered == 0 && seen.ended.is_none()
    };
    match seen.iter().find(|seen| !whole(seen)) {
        None => Ok(()),
        Some(seen) => Err(io::Error::other(format!("a subscriber of {events} events saw {seen:?}"))),
    }
}

fn per_delivery(usage: Usage, deliveries: u64) -> Figures {
    let each = |value: f64| value / deliveries as f64;
    let mut figures = vec![("CPU ns a delivery", each(usage.cpu_ns))];
    if let Some((user, kernel)) = usage.instructions {
        figures
            .extend([("user instructions a delivery", each(user)), ("kernel instructions a delivery", each(kernel))]);
    }
    figures
}
