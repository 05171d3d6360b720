//! Answers at saturation: how soon the daemon answers a subscriber's frames while publishers outrun the deliveries.

use std::io;
use std::time::Duration;

use async_trait::async_trait;

use super::{CaseFigures, Measure, Scenario, Step};
use crate::audience::Audience;
use crate::events::Content;
use crate::probe::{Answers as Times, Probes, Question};
use crate::publishers::{Publishers, WaitFor};
use crate::results::{Figures, Results, sample_key};
use crate::systems::{Running, TIDINGS};
use crate::table::{Column, Table};

pub const ANSWERS: &str = "answers";
pub const IDLE: &str = "without events";
pub const SATURATED: &str = "16 publishers that wait only for answers";

const PING_P50: &str = "ping p50 us";
pub const PING_P99: &str = "ping p99 us";
const SUBSCRIBE_P50: &str = "subscribe p50 us";
pub const SUBSCRIBE_P99: &str = "subscribe p99 us";
/// The probes that the daemon closed.
pub const CLOSED: &str = "closed";

const SUBSCRIBERS: usize = 1_000;
const PUBLISHERS: usize = 16;
const PROBES: usize = 8;

pub fn answers() -> Scenario {
    Scenario {
        name: ANSWERS,
        about: "pong and subscribed while 16 publishers wait only for answers, 1,000 subscribers",
        rounds: usize::MAX,
        steps: vec![Step::new(TIDINGS, Answers)],
        tables: |results| vec![table(results)],
    }
}

fn table(results: &Results) -> Table {
    let columns = [
        Column::millis("ping to pong, p50", PING_P50),
        Column::millis("p99", PING_P99),
        Column::millis("subscribe to subscribed, p50", SUBSCRIBE_P50),
        Column::millis("p99", SUBSCRIBE_P99),
        Column::count("probes closed", CLOSED),
    ];
    let rows = [IDLE, SATURATED].map(|case| (case.to_owned(), sample_key(ANSWERS, case, TIDINGS.name)));
    Table::new("Answers to 8 of 1,008 subscribers", "", &columns).rows(results, rows)
}

struct Answers;

#[async_trait]
impl Measure for Answers {
    fn files(&self) -> usize {
        SUBSCRIBERS + PUBLISHERS + PROBES
    }

    async fn measure(&self, server: Running) -> io::Result<Vec<CaseFigures>> {
        let mut audience = Audience::open(&server, SUBSCRIBERS).await?;
        let mut publishers = Publishers::connect(&server, PUBLISHERS).await?;
        let (shared, content) = (audience.shared.clone(), Content::of_product("p-1"));
        let idle =
            Probes::connect(&server, PROBES).await?.ask(Question::PingAndSubscribe, Duration::from_secs(1)).await?;
        let probes = Probes::connect(&server, PROBES).await?;
        let time = Duration::from_secs(4);
        let publishing = publishers.publish(PUBLISHERS, WaitFor::Answer, time, &shared, &content);
        // The probes end first, so that all of their answers are given under load.
        let asking = probes.ask(Question::PingAndSubscribe, time * 3 / 4);
        let (outcome, saturated) = tokio::join!(audience.outcome(publishing), asking);
        outcome?;
        audience.close_unfinished().await?;
        let taken = |case: &str, times: Times| CaseFigures { case: case.into(), figures: figures(&times) };
        Ok(vec![taken(IDLE, idle), taken(SATURATED, saturated?)])
    }
}

fn figures(times: &Times) -> Figures {
    let Times { ping, subscribe, closed, .. } = times;
    Figures::from(
        [
            (PING_P50, ping.value_at_quantile(0.5)),
            (PING_P99, ping.value_at_quantile(0.99)),
            (SUBSCRIBE_P50, subscribe.value_at_quantile(0.5)),
            (SUBSCRIBE_P99, subscribe.value_at_quantile(0.99)),
            (CLOSED, *closed),
        ]
        .map(|(name, value)| (name.to_owned(), value as f64)),
    )
}
