//! Delay by offered load: a clock offers 20 to 120 % of the events that the server can deliver.
//!
//! The delay counts from the POST. An event that is offered while every publisher waits for an answer is posted later;
//! that wait has its own column. A server that holds publishers back lets them wait, and delivers what it took in time.

use std::io;
use std::time::Duration;

use async_trait::async_trait;

use super::saturation::{CLOSED, P50, P99, RATE, reference};
use super::{CaseFigures, Measure, Scenario, Step};
use crate::audience::Audience;
use crate::dialects::LANES;
use crate::events::Content;
use crate::publishers::Publishers;
use crate::results::{Figures, Results, sample_key};
use crate::systems::{BUN, Running, TIDINGS};
use crate::table::{Column, Table, thousands};

pub const OFFERED: &str = "offered";
/// Per cent of the server's capacity.
pub const SHARES: [u32; 6] = [20, 40, 60, 80, 100, 120];

/// Events offered a second.
const EVENTS: &str = "offered a second";
/// Per cent of the offered events that were accepted in time.
const TAKEN: &str = "per cent accepted";
/// The p99 of the time that an event waited for a free publisher, in microseconds.
const WAIT: &str = "p99 us of the wait for a publisher";
const SUBSCRIBERS: usize = 1_000;
const TIME: Duration = Duration::from_secs(2);

pub fn offered() -> Scenario {
    Scenario {
        name: OFFERED,
        about: "20 to 120 % of what can be delivered, offered by a clock, 1,000 subscribers",
        rounds: usize::MAX,
        steps: [TIDINGS, BUN].map(|system| Step::new(system, Offered)).into(),
        tables: |results| [TIDINGS, BUN].map(|system| table(results, system.name)).into(),
    }
}

/// The name of a case.
pub fn case(share: u32) -> String {
    format!("{share} %")
}

fn table(results: &Results, system: &'static str) -> Table {
    let columns = [
        Column::count("events/s offered", EVENTS),
        Column::count("% of those accepted", TAKEN),
        Column::millis("p50", P50),
        Column::millis("p99", P99),
        Column::count("deliveries/s", RATE),
        Column::millis("p99 of the wait for a free publisher", WAIT),
        Column::count("subscribers closed", CLOSED),
    ];
    let cases = SHARES.map(case);
    let rows = cases.iter().map(|case| (case.clone(), sample_key(OFFERED, case, system)));
    let title = format!("{system}: events offered by a clock to {} subscribers", thousands(SUBSCRIBERS));
    Table::new(&title, "of what it can deliver", &columns).rows(results, rows)
}

struct Offered;

#[async_trait]
impl Measure for Offered {
    fn files(&self) -> usize {
        SUBSCRIBERS + LANES
    }

    async fn measure(&self, server: Running) -> io::Result<Vec<CaseFigures>> {
        let mut audience = Audience::open(&server, SUBSCRIBERS).await?;
        let mut publishers = Publishers::connect(&server, LANES).await?;
        let (shared, content) = (audience.shared.clone(), Content::of_product("p-1"));
        let capacity = reference(&mut audience, &mut publishers, &content).await? / SUBSCRIBERS as f64;
        let mut taken = Vec::new();
        for share in SHARES {
            shared.take_latencies();
            let rate = capacity * f64::from(share) / 100.0;
            let (mut wait, mut taken_share) = (0, 0.0);
            let outcome = audience
                .outcome(async {
                    let offered = publishers.offer(rate, TIME, &shared, &content).await?;
                    wait = offered.wait;
                    taken_share = 100.0 * offered.published.accepted as f64 / offered.offered.max(1) as f64;
                    Ok(offered.published)
                })
                .await?;
            let latencies = shared.take_latencies();
            let figures = Figures::from(
                [
                    (EVENTS, rate),
                    (P50, latencies.value_at_quantile(0.5) as f64),
                    (P99, latencies.value_at_quantile(0.99) as f64),
                    (TAKEN, taken_share.round()),
                    (RATE, outcome.rate),
                    (WAIT, wait as f64),
                    (CLOSED, shared.ended() as f64),
                ]
                .map(|(name, value)| (name.to_owned(), value)),
            );
            taken.push(CaseFigures { case: case(share), figures });
        }
        audience.close_unfinished().await?;
        Ok(taken)
    }
}
