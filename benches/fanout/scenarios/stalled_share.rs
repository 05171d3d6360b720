//! One stalled subscriber in a hundred: publishers that wait only for answers must not be slowed down by it, and the
//! others must not be closed.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::saturation::closed;
use super::stalled::{end_of, slow_consumers, stall};
use super::{CaseFigures, Measure, Scenario, Step};
use crate::audience::Audience;
use crate::events::Content;
use crate::publishers::{Publishers, WaitFor};
use crate::results::{Figures, Results, sample_key};
use crate::systems::{Running, TIDINGS};
use crate::table::{Column, Table};

pub const STALLED_SHARE: &str = "stalled-share";
pub const WITHOUT: &str = "without";
pub const WITH: &str = "with 10 that are stalled";

/// Events that the server accepted a second.
pub const ACCEPTED: &str = "accepted a second";
/// The stalled subscribers that were closed with 4008, or disconnected where that could not be written.
pub const CLOSED: &str = "stalled closed";
/// The other subscribers that were closed.
pub const OTHERS: &str = "others closed";

pub const STALLED: usize = 10;
const OTHER: usize = 990;
const PUBLISHERS: usize = 16;
const TIME: Duration = Duration::from_secs(3);

pub fn stalled_share() -> Scenario {
    Scenario {
        name: STALLED_SHARE,
        about: "16 publishers that wait only for answers; 10 of 1,000 subscribers do not read",
        rounds: usize::MAX,
        steps: vec![Step::new(TIDINGS, StalledShare)],
        tables: |results| vec![table(results)],
    }
}

fn table(results: &Results) -> Table {
    let columns = [
        Column::count("events/s accepted", ACCEPTED),
        Column::against_case("of that without", ACCEPTED, WITHOUT),
        Column::count("stalled closed", CLOSED),
        Column::count("others closed", OTHERS),
    ];
    let rows = [WITHOUT, WITH].map(|case| (case.to_owned(), sample_key(STALLED_SHARE, case, TIDINGS.name)));
    Table::new("16 publishers that wait only for answers, 1,000 subscribers", "", &columns).rows(results, rows)
}

struct StalledShare;

#[async_trait]
impl Measure for StalledShare {
    fn files(&self) -> usize {
        OTHER + STALLED + PUBLISHERS
    }

    async fn measure(&self, server: Running) -> io::Result<Vec<CaseFigures>> {
        let dialect = Arc::new(server.dialect());
        let mut audience = Audience::open_as(&server, OTHER, |_| dialect.clone()).await?;
        let mut publishers = Publishers::connect(&server, PUBLISHERS).await?;
        let (shared, content) = (audience.shared.clone(), Content::of_product("p-1"));
        let mut publish = async |audience: &mut Audience, time| {
            let publishing = publishers.publish(PUBLISHERS, WaitFor::Answer, time, &shared, &content);
            io::Result::Ok(audience.outcome(publishing).await?.accepted)
        };
        publish(&mut audience, TIME / 4).await?;
        // Half is measured before and half after, so that a drift of the machine affects both phases.
        let before = publish(&mut audience, TIME / 2).await?;
        let closed_before = slow_consumers(server.address).await?;
        let mut stalled = Vec::new();
        for _ in 0..STALLED {
            stalled.push(stall(&server, &dialect).await?);
        }
        let with = publish(&mut audience, TIME).await?;
        // A daemon that takes fewer events needs longer to fill the buffers of the stalled.
        for _ in 0..10 {
            if slow_consumers(server.address).await? >= closed_before + STALLED as f64 {
                break;
            }
            publish(&mut audience, TIME / 3).await?;
        }
        let mut ended = 0;
        for stream in stalled {
            ended += u32::from(end_of(stream).await?);
        }
        let after = publish(&mut audience, TIME / 2).await?;
        let others = closed(&audience.close_unfinished().await?);
        let of = |name: &str, value| (name.to_owned(), value);
        let without = Figures::from([of(ACCEPTED, f64::midpoint(before, after))]);
        let with = Figures::from([of(ACCEPTED, with), of(CLOSED, f64::from(ended)), of(OTHERS, others)]);
        let taken = |case: &str, figures| CaseFigures { case: case.into(), figures };
        Ok(vec![taken(WITHOUT, without), taken(WITH, with)])
    }
}
