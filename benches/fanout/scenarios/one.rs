//! One event after the other, each when everybody has the one before: nothing can be batched, so that this is what a
//! delivery costs when there is time.
//!
//! Each system takes turns with the floor, and the floor itself with another floor: how far that ratio is from 1 shows how
//! exact the others are.

use std::io;

use async_trait::async_trait;

use super::{Measure, Scenario, Step, Taken, only};
use crate::results::{Results, floors};
use crate::systems::{ALL, FLOOR, Running};
use crate::table::{Table, against_floor};
use crate::turns::{Side, in_turn};

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
        // Together with the floor's they must fit into the 20,000 files that a process may often open.
        steps: ALL.map(|system| Step::new(system, One { subscribers: 9_900, events: 4 })).into(),
        tables: |results| vec![table(results, TEN_THOUSAND, "One event at a time to 9,900 subscribers")],
    }
}

fn table(results: &Results, scenario: &'static str, title: &str) -> Table {
    against_floor(results, scenario, title, &[])
}

/// One at a time to so many, so many events a turn.
struct One {
    subscribers: usize,
    events: u64,
}

#[async_trait]
impl Measure for One {
    fn files(&self) -> usize {
        2 * self.subscribers
    }

    async fn measure(&self, server: Running) -> io::Result<Vec<Taken>> {
        let floor = FLOOR.start(tempfile::tempdir()?)?.map_err(io::Error::other)?;
        let its = Side::open(server, self.subscribers, None).await?;
        let floor = Side::open(floor, self.subscribers, None).await?;
        let (mut figures, floor) = in_turn(its, floor, self.events).await?;
        figures.extend(floor.into_iter().map(|(name, value)| (floors(&name), value)));
        only(figures)
    }
}
