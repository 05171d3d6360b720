//! A backlog: 64 publishers, each of which publishes its next event at the response. The server can deliver in batches.

use std::io;

use async_trait::async_trait;

use super::{CaseFigures, Measure, Scenario, Step, only_case};
use crate::audience::{Audience, Until, lanes};
use crate::events::Content;
use crate::results::Results;
use crate::systems::{ALL, BUN, FLOOR, NATS, NCHAN, Running, TIDINGS, TIDINGS_REDIS};
use crate::table::{Column, Table, against_floor};
use crate::usage::Meter;

pub const ALL_CORES: &str = "backlog";
pub const ONE_CORE: &str = "backlog-one-core";

/// Deliveries a second.
pub const RATE: &str = "deliveries a second";

const THOUSAND: Backlog = Backlog { subscribers: 1_000, in_flight: 64 };

pub fn all_cores() -> Scenario {
    Scenario {
        name: ALL_CORES,
        about: "64 events in flight to 1,000 subscribers, all cores",
        rounds: usize::MAX,
        steps: ALL.map(|system| Step::new(system, THOUSAND)).into(),
        tables: |results| vec![table(results, ALL_CORES, "64 in flight to 1,000 subscribers, all cores")],
    }
}

pub fn one_core() -> Scenario {
    let systems = [FLOOR, TIDINGS, TIDINGS_REDIS, BUN, NCHAN, NATS];
    Scenario {
        name: ONE_CORE,
        about: "64 events in flight to 1,000 subscribers, the server on one core",
        rounds: usize::MAX,
        steps: systems.map(|system| Step::new(system.on(1), THOUSAND)).into(),
        tables: |results| vec![table(results, ONE_CORE, "64 in flight to 1,000 subscribers, the server on one core")],
    }
}

fn table(results: &Results, scenario: &'static str, title: &str) -> Table {
    against_floor(results, scenario, title, &[Column::count("deliveries/s", RATE)])
}

/// Publishes from `in_flight` publishers at the same time.
pub struct Backlog {
    pub subscribers: usize,
    pub in_flight: usize,
}

#[async_trait]
impl Measure for Backlog {
    fn files(&self) -> usize {
        self.subscribers + self.in_flight
    }

    async fn measure(&self, server: Running) -> io::Result<Vec<CaseFigures>> {
        let mut audience = Audience::open(&server, self.subscribers).await?;
        let mut lanes = lanes(&server, self.in_flight).await?;
        let content = [Content::of_product("p-1")];
        audience.flood(&mut lanes, &content, Until::millis(300)).await?;
        let meter = Meter::start(server.pid());
        let (events, took) = audience.flood(&mut lanes, &content, Until::millis(2_000)).await?;
        let usage = meter.stop();
        audience.close().await?;
        let deliveries = events * self.subscribers as u64;
        let mut figures = usage.each(deliveries);
        figures.insert(RATE.into(), deliveries as f64 / took.as_secs_f64());
        only_case(figures)
    }
}
