//! Publishing: single POSTs and batches, with the in-process log and with Redis. One subscriber verifies the events.
//!
//! For comparison, `redis-benchmark` gives Redis the same command that the daemon gives it.

use std::io;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::task::JoinSet;

use super::{CaseFigures, Measure, Scenario, Step};
use crate::audience::{Audience, Until};
use crate::dialects::Lane;
use crate::events::Content;
use crate::redis_benchmark::{Captured, RedisBenchmark};
use crate::results::{Figures, Results, sample_key};
use crate::systems::{Running, TIDINGS, TIDINGS_REDIS};
use crate::table::{Column, Table};
use crate::usage::{CPU, Meter};

pub const PUBLISHING: &str = "publishing";
pub const REDIS_BENCHMARK: &str = "redis-benchmark";

/// Events a second.
pub const RATE: &str = "events a second";
/// CPU time of Redis an event, in nanoseconds.
pub const REDIS: &str = "redis cpu ns";

/// The cases: name, number of connections, events in a request.
pub const CASES: [(&str, usize, usize); 6] = [
    ("single, 1 connection", 1, 1),
    ("single, 16 connections", 16, 1),
    ("single, 64 connections", 64, 1),
    ("batches of 100, 1 connection", 1, 100),
    ("batches of 100, 4 connections", 4, 100),
    ("batches of 100, 16 connections", 16, 100),
];

const TIME: Duration = Duration::from_millis(1_500);

pub fn publishing() -> Scenario {
    Scenario {
        name: PUBLISHING,
        about: "single POSTs and batches, in-process and through Redis",
        rounds: usize::MAX,
        steps: vec![
            Step::new(TIDINGS, Publishing),
            Step::new(TIDINGS_REDIS, Publishing),
            Step::new(TIDINGS_REDIS.named(REDIS_BENCHMARK), Reference),
        ],
        tables,
    }
}

fn tables(results: &Results) -> Vec<Table> {
    let rows = |system| CASES.map(|(case, ..)| (case.to_owned(), sample_key(PUBLISHING, case, system)));
    let columns = [Column::count("events/s", RATE), Column::micros("the daemon's CPU an event", CPU)];
    let with_redis = [
        Column::micros("Redis' CPU an event", REDIS),
        Column::count("redis-benchmark's events/s", RATE).of(REDIS_BENCHMARK),
        Column::against("of those", RATE, REDIS_BENCHMARK),
        Column::micros("Redis' CPU then", REDIS).of(REDIS_BENCHMARK),
    ];
    let through_redis = [&columns[..], &with_redis].concat();
    vec![
        Table::new("Publishing, in-process", "", &columns).rows(results, rows(TIDINGS.name)),
        Table::new("Publishing through Redis", "", &through_redis).rows(results, rows(TIDINGS_REDIS.name)),
    ]
}

struct Publishing;

#[async_trait]
impl Measure for Publishing {
    fn files(&self) -> usize {
        100
    }

    async fn measure(&self, server: Running) -> io::Result<Vec<CaseFigures>> {
        let mut audience = Audience::open(&server, 1).await?;
        let content = Content::of_product("p-1");
        let (mut lanes, mut taken) = (Vec::new(), Vec::new());
        for (case, connections, batch) in CASES {
            // Opened only when needed: the daemon closes idle connections.
            for number in lanes.len()..connections {
                lanes.push(server.lane(number).await?);
            }
            let mut at_work: Vec<Lane> = lanes.drain(..connections).collect();
            publish(&mut audience, &mut at_work, batch, TIME / 5, &content).await?;
            let meters = (Meter::start(server.pid()), server.redis.as_ref().map(|redis| Meter::start(redis.pid())));
            let begun = Instant::now();
            let events = publish(&mut audience, &mut at_work, batch, TIME, &content).await?;
            let took = begun.elapsed().as_secs_f64();
            let mut figures = meters.0.stop().each(events);
            figures.extend(meters.1.map(|meter| (REDIS.to_owned(), meter.stop().each(events)[CPU])));
            figures.insert(RATE.into(), events as f64 / took);
            taken.push(CaseFigures { case: case.into(), figures });
            lanes.extend(at_work);
        }
        audience.close().await?;
        Ok(taken)
    }
}

/// Publishes for this time, waits until the subscriber has all events, and returns their number.
async fn publish(
    audience: &mut Audience,
    lanes: &mut Vec<Lane>,
    batch: usize,
    time: Duration,
    content: &Content,
) -> io::Result<u64> {
    if batch == 1 {
        return audience
            .flood(lanes, std::slice::from_ref(content), Until { time, events: u64::MAX })
            .await
            .map(|(events, _)| events);
    }
    let begun = Instant::now();
    let mut publishing = JoinSet::new();
    for mut lane in lanes.drain(..) {
        let (shared, content) = (audience.shared.clone(), content.clone());
        publishing.spawn(async move {
            let mut sent = 0;
            while begun.elapsed() < time {
                let events = lane.batch(&shared, batch, &content);
                lane.publish_batch(&events).await?;
                sent += batch as u64;
            }
            io::Result::Ok((lane, sent))
        });
    }
    let mut events = 0;
    while let Some(done) = publishing.join_next().await {
        let (lane, sent) = done.map_err(io::Error::other)??;
        lanes.push(lane);
        events += sent;
    }
    audience.wait_for_events(events).await?;
    Ok(events)
}

/// Redis alone. The daemon runs only until its command is captured.
struct Reference;

#[async_trait]
impl Measure for Reference {
    fn files(&self) -> usize {
        100
    }

    async fn measure(&self, server: Running) -> io::Result<Vec<CaseFigures>> {
        let mut captured = Vec::new();
        for batch in [1, 100] {
            captured.push((batch, Captured::of(&server, batch).await?));
        }
        let redis = server.leave_redis().ok_or_else(|| io::Error::other("there is no Redis"))?;
        let benchmark = RedisBenchmark { port: redis.port };
        let mut taken = Vec::new();
        for (case, connections, batch) in CASES {
            let Some((_, command)) = captured.iter().find(|(size, _)| *size == batch) else { continue };
            // About as long as the other measurements, at the usual rate of a Redis.
            let calls = if batch == 1 { 15_000 * connections.min(4) } else { 1_500 };
            let meter = Meter::start(redis.pid());
            let before = redis.appended().await?;
            let calls_a_second = benchmark.run(command, connections, calls)?;
            let redis_cpu = meter.stop().each((calls * batch) as u64)[CPU];
            let appended = redis.appended().await? - before;
            if appended != (calls * batch) as u64 {
                return Err(io::Error::other(format!("Redis appended {appended} of {} events", calls * batch)));
            }
            let figures =
                Figures::from([(RATE.to_owned(), calls_a_second * batch as f64), (REDIS.to_owned(), redis_cpu)]);
            taken.push(CaseFigures { case: case.into(), figures });
        }
        Ok(taken)
    }
}
