//! Freshness at saturation: publishers that wait only for their answers offer more than can be delivered.
//!
//! A server that accepts faster than it delivers lets each event wait longer than the one before, until it closes its
//! subscribers. A server that holds its publishers back keeps the delay short. The reference for the deliveries a second
//! is 64 publishers that wait for the delivery to all subscribers: they never outrun the server.

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use tidings::load::Seen;

use super::{CaseFigures, Measure, Scenario, Step};
use crate::audience::{Audience, Outcome};
use crate::dialects::LANES;
use crate::events::Content;
use crate::publishers::{Publishers, WaitFor};
use crate::results::{Figures, Results, sample_key};
use crate::systems::{Running, TIDINGS};
use crate::table::{Column, Table, thousands};

/// The scenarios' names, each with its number of subscribers.
pub const SIZES: [(&str, usize); 3] =
    [("saturation-100", 100), ("saturation-1000", 1_000), ("saturation-10000", 10_000)];
pub const PUBLISHERS: [usize; 3] = [1, 16, 64];

pub const P50: &str = "p50 us";
pub const P99: &str = "p99 us";
/// Deliveries a second.
pub const RATE: &str = "deliveries a second";
/// Deliveries a second to the same subscribers, where 64 publishers wait for the deliveries.
pub const REFERENCE: &str = "reference deliveries a second";
/// Events that the server accepted a second.
pub const ACCEPTED: &str = "accepted a second";
/// Requests that the server refused.
const REFUSED: &str = "refused";
/// Subscribers that the server closed.
pub const CLOSED: &str = "closed";
/// Accepted events that were not delivered, summed over the subscribers.
const OUTSTANDING: &str = "outstanding";

const TIME: Duration = Duration::from_secs(3);

pub fn scenarios() -> [Scenario; 3] {
    let steps =
        |subscribers| PUBLISHERS.map(|publishers| Step::new(TIDINGS, Saturation { subscribers, publishers })).into();
    let scenario = |about, number: usize, tables| Scenario {
        name: SIZES[number].0,
        about,
        rounds: usize::MAX,
        steps: steps(SIZES[number].1),
        tables,
    };
    [
        scenario("publishers that wait only for answers, 100 subscribers", 0, |results| vec![table(results, 0)]),
        scenario("publishers that wait only for answers, 1,000 subscribers", 1, |results| vec![table(results, 1)]),
        scenario("publishers that wait only for answers, 10,000 subscribers", 2, |results| vec![table(results, 2)]),
    ]
}

/// The name of a case.
pub fn case(publishers: usize) -> String {
    format!("{publishers} publisher{}", if publishers == 1 { "" } else { "s" })
}

fn table(results: &Results, number: usize) -> Table {
    let (scenario, subscribers) = SIZES[number];
    let columns = [
        Column::millis("p50", P50),
        Column::millis("p99", P99),
        Column::count("deliveries/s", RATE),
        Column::against_figure("of those where 64 wait for delivery", RATE, TIDINGS.name, REFERENCE),
        Column::count("events/s accepted", ACCEPTED),
        Column::count("subscribers closed", CLOSED),
        Column::count("not delivered", OUTSTANDING),
    ];
    let cases = PUBLISHERS.map(case);
    let rows = cases.iter().map(|case| (case.clone(), sample_key(scenario, case, TIDINGS.name)));
    Table::new(&format!("Publishers that wait only for answers, {} subscribers", thousands(subscribers)), "", &columns)
        .rows(results, rows)
}

struct Saturation {
    subscribers: usize,
    publishers: usize,
}

#[async_trait]
impl Measure for Saturation {
    fn case(&self) -> String {
        case(self.publishers)
    }

    fn files(&self) -> usize {
        self.subscribers + LANES
    }

    async fn measure(&self, server: Running) -> io::Result<Vec<CaseFigures>> {
        let mut audience = Audience::open(&server, self.subscribers).await?;
        let mut publishers = Publishers::connect(&server, LANES).await?;
        let (shared, content) = (audience.shared.clone(), Content::of_product("p-1"));
        let reference = reference(&mut audience, &mut publishers, &content).await?;
        shared.take_latencies();
        let publishing = publishers.publish(self.publishers, WaitFor::Answer, TIME, &shared, &content);
        let Outcome { accepted, refused, rate, outstanding } = audience.outcome(publishing).await?;
        let latencies = shared.take_latencies();
        let closed = closed(&audience.close_unfinished().await?);
        let figures = Figures::from(
            [
                (P50, latencies.value_at_quantile(0.5) as f64),
                (P99, latencies.value_at_quantile(0.99) as f64),
                (RATE, rate),
                (REFERENCE, reference),
                (ACCEPTED, accepted),
                (REFUSED, refused as f64),
                (CLOSED, closed),
                (OUTSTANDING, outstanding as f64),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        Ok(vec![CaseFigures { case: self.case(), figures }])
    }
}

/// The deliveries a second where 64 publishers wait for the delivery of their events to all subscribers: the most that
/// the server can deliver without falling behind.
pub async fn reference(audience: &mut Audience, publishers: &mut Publishers, content: &Content) -> io::Result<f64> {
    let (shared, wait_for) = (audience.shared.clone(), WaitFor::Delivery(audience.size()));
    shared.watch_lanes(LANES);
    // Each publisher publishes some ten events, however long that takes with this many subscribers.
    let time = Duration::from_millis(1_500 + audience.size() as u64 / 10);
    let warm = publishers.publish(LANES, wait_for, time / 4, &shared, content);
    audience.outcome(warm).await?;
    let measured = publishers.publish(LANES, wait_for, time, &shared, content);
    Ok(audience.outcome(measured).await?.rate)
}

/// The number of subscribers that the server closed.
pub fn closed(seen: &[Seen]) -> f64 {
    seen.iter().filter(|seen| seen.ended.is_some()).count() as f64
}
