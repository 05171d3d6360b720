//! One event after the other, each when everybody has the one before: nothing can be batched, so that this is what a
//! delivery costs when there is time.

use std::io;

use async_trait::async_trait;

use super::{Measure, Scenario, Step, Taken, only};
use crate::audience::Audience;
use crate::events::Content;
use crate::results::Results;
use crate::systems::{ALL, Running};
use crate::table::{Table, against_floor};
use crate::usage::Meter;

pub const THOUSAND: &str = "one-1000";
pub const TEN_THOUSAND: &str = "one-10000";

pub fn thousand() -> Scenario {
    Scenario {
        name: THOUSAND,
        about: "one event at a time to 1,000 subscribers",
        rounds: usize::MAX,
        steps: ALL.map(|system| Step::new(system, One { subscribers: 1_000, events: 300 })).into(),
        tables: |results| vec![table(results, THOUSAND, "One event at a time to 1,000 subscribers")],
    }
}

pub fn ten_thousand() -> Scenario {
    Scenario {
        name: TEN_THOUSAND,
        about: "one event at a time to 10,000 subscribers",
        rounds: usize::MAX,
        steps: ALL.map(|system| Step::new(system, One { subscribers: 10_000, events: 30 })).into(),
        tables: |results| vec![table(results, TEN_THOUSAND, "One event at a time to 10,000 subscribers")],
    }
}

fn table(results: &Results, scenario: &'static str, title: &str) -> Table {
    against_floor(results, scenario, title, &[])
}

/// One at a time to so many.
pub struct One {
    pub subscribers: usize,
    pub events: u64,
}

#[async_trait]
impl Measure for One {
    fn files(&self) -> usize {
        self.subscribers
    }

    async fn measure(&self, server: Running) -> io::Result<Vec<Taken>> {
        let mut audience = Audience::open(&server, self.subscribers).await?;
        let mut lane = server.lane(0).await?;
        let content = Content::of_product("p-1");
        audience.one_at_a_time(&mut lane, self.events / 10 + 1, &content).await?;
        let meter = Meter::start(server.pid());
        audience.one_at_a_time(&mut lane, self.events, &content).await?;
        let usage = meter.stop();
        audience.close().await?;
        only(usage.each(self.events * self.subscribers as u64))
    }
}
