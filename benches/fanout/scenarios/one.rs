//! One event at a time: each is published when all subscribers have the previous one. So the server cannot batch, and
//! this is the cost of a single delivery.
//!
//! Each system takes turns with the floor, and so does the floor itself with a second floor. The distance of that ratio
//! from 1 shows how exact the other ratios are.

use std::io;

use async_trait::async_trait;

use super::{CaseFigures, Measure, Scenario, Step, only_case};
use crate::results::{Results, floor_figure};
use crate::systems::{ALL, FLOOR, Running};
use crate::table::{Table, against_floor};
use crate::turns::{Side, compare_in_turns};

pub const THOUSAND: &str = "one-1000";
pub const TEN_THOUSAND: &str = "one-10000";

pub fn thousand() -> Scenario {
    Scenario {
        name: THOUSAND,
        about: "one event at a time to 1,000 subscribers",
        rounds: usize::MAX,
        steps: ALL.map(|system| Step::new(system, One { subscribers: 1_000, events: 30 })).into(),
        tables: |results| vec![table(results, THOUSAND, "One event at a time to 1,000 subscribers")],
    }
}

pub fn ten_thousand() -> Scenario {
    Scenario {
        name: TEN_THOUSAND,
        about: "one event at a time to 9,900 subscribers",
        rounds: usize::MAX,
        // With the floor's, the sockets must fit into 20,000 files, a common limit of a process.
        steps: ALL.map(|system| Step::new(system, One { subscribers: 9_900, events: 4 })).into(),
        tables: |results| vec![table(results, TEN_THOUSAND, "One event at a time to 9,900 subscribers")],
    }
}

fn table(results: &Results, scenario: &'static str, title: &str) -> Table {
    against_floor(results, scenario, title, &[])
}

/// One event at a time to this many subscribers.
struct One {
    subscribers: usize,
    /// The events of a turn.
    events: u64,
}

#[async_trait]
impl Measure for One {
    fn files(&self) -> usize {
        2 * self.subscribers
    }

    async fn measure(&self, server: Running) -> io::Result<Vec<CaseFigures>> {
        let floor = FLOOR.start(tempfile::tempdir()?)?.map_err(io::Error::other)?;
        let measured = Side::open(server, self.subscribers, None).await?;
        let floor = Side::open(floor, self.subscribers, None).await?;
        let (mut figures, floor) = compare_in_turns(measured, floor, self.events).await?;
        figures.extend(floor.into_iter().map(|(name, value)| (floor_figure(&name), value)));
        only_case(figures)
    }
}
