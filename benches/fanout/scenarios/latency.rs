//! The latency from POST to WebSocket, at a constant rate that every system sustains.

use std::io;
use std::time::Duration;

use async_trait::async_trait;

use super::{CaseFigures, Measure, Scenario, Step, only_case};
use crate::audience::Audience;
use crate::events::Content;
use crate::pace::Pace;
use crate::results::Results;
use crate::systems::{ALL, Running, WS};
use crate::table::{Column, Table};
use crate::usage::{CPU, Meter};

pub const LATENCY: &str = "latency";
pub const P50: &str = "p50 us";
const P99: &str = "p99 us";
/// CPU time of Redis an event, in nanoseconds.
const REDIS: &str = "redis cpu ns";

const SUBSCRIBERS: usize = 10;
const RATE: u32 = 1_000;

pub fn latency() -> Scenario {
    Scenario {
        name: LATENCY,
        about: "1,000 events a second to 10 subscribers",
        rounds: usize::MAX,
        steps: ALL.map(|system| Step::new(system, Latency)).into(),
        tables: |results| vec![table(results)],
    }
}

fn table(results: &Results) -> Table {
    let columns = [
        Column::millis("p50", P50),
        Column::against("of Node ws + ioredis", P50, WS.name),
        Column::millis("p99", P99),
        Column::micros("CPU an event", CPU),
        Column::micros("Redis' CPU an event", REDIS),
    ];
    Table::new("From POST to WebSocket, 1,000 events a second to 10 subscribers", "system", &columns)
        .rows(results, results.systems(LATENCY))
}

struct Latency;

#[async_trait]
impl Measure for Latency {
    fn files(&self) -> usize {
        SUBSCRIBERS
    }

    async fn measure(&self, server: Running) -> io::Result<Vec<CaseFigures>> {
        let mut audience = Audience::open(&server, SUBSCRIBERS).await?;
        let mut pace = Pace::start(&server, 16, RATE).await?;
        let content = Content::of_product("p-1");
        let warm = pace.publish(&audience.shared, Duration::from_secs(1), &content).await?;
        audience.wait_for_events(warm).await?;
        audience.shared.take_latencies();
        let meters = (Meter::start(server.pid()), server.redis.as_ref().map(|redis| Meter::start(redis.pid())));
        let events = pace.publish(&audience.shared, Duration::from_secs(4), &content).await?;
        audience.wait_for_events(events).await?;
        let mut figures = meters.0.stop().each(events);
        figures.extend(meters.1.map(|meter| (REDIS.to_owned(), meter.stop().each(events)[CPU])));
        let latencies = audience.shared.take_latencies();
        figures.insert(P50.into(), latencies.value_at_quantile(0.5) as f64);
        figures.insert(P99.into(), latencies.value_at_quantile(0.99) as f64);
        audience.close().await?;
        only_case(figures)
    }
}
