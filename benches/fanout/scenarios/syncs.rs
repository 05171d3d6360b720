//! Proofs at saturation: how soon a cache's `sync` is answered while publishers outrun the deliveries, beside an idle node.

use std::io;
use std::time::Duration;

use async_trait::async_trait;

use super::answers::{IDLE, SATURATED};
use super::{CaseFigures, Measure, Scenario, Step};
use crate::audience::Audience;
use crate::events::{CHANNEL, Content};
use crate::probe::{Answers, Probes, Question};
use crate::publishers::{Publishers, WaitFor};
use crate::results::{Figures, Results, sample_key};
use crate::systems::{Running, TIDINGS, TIDINGS_REDIS};
use crate::table::{Column, Table};

const SYNCS: &str = "syncs";
/// As [`SATURATED`], and the caches get the events, too. Otherwise they have a channel of their own.
const AMONG: &str = "the same, the caches get these events too";
/// The channel of caches.
const INVALIDATIONS: &str = "cache-invalidate";

const P50: &str = "sync p50 us";
const P99: &str = "sync p99 us";
const COUNT: &str = "answers";
/// The caches that the daemon closed.
const CLOSED: &str = "closed";

const SUBSCRIBERS: usize = 1_000;
const PUBLISHERS: usize = 16;
const CACHES: usize = 8;

pub fn syncs() -> Scenario {
    Scenario {
        name: SYNCS,
        about: "synced while 16 publishers wait only for answers, 1,000 subscribers",
        rounds: usize::MAX,
        steps: vec![Step::new(TIDINGS, Syncs), Step::new(TIDINGS_REDIS, Syncs)],
        tables: |results| vec![table(results)],
    }
}

fn table(results: &Results) -> Table {
    let columns = [
        Column::millis("sync to synced, p50", P50),
        Column::millis("p99", P99),
        Column::count("answers", COUNT),
        Column::count("caches closed", CLOSED),
    ];
    let rows = [TIDINGS, TIDINGS_REDIS].into_iter().flat_map(|system| {
        [IDLE, SATURATED, AMONG].map(|case| (format!("{}, {case}", system.name), sample_key(SYNCS, case, system.name)))
    });
    Table::new("Proofs to 8 caches beside 1,000 subscribers", "", &columns).rows(results, rows)
}

struct Syncs;

#[async_trait]
impl Measure for Syncs {
    fn files(&self) -> usize {
        SUBSCRIBERS + PUBLISHERS + CACHES
    }

    async fn measure(&self, server: Running) -> io::Result<Vec<CaseFigures>> {
        let mut audience = Audience::open(&server, SUBSCRIBERS).await?;
        let mut publishers = Publishers::connect(&server, PUBLISHERS).await?;
        let (shared, content) = (audience.shared.clone(), Content::of_product("p-1"));
        let time = Duration::from_secs(4);
        let idle = Probes::connect_to(&server, CACHES, INVALIDATIONS).await?.ask(Question::Sync, time / 2).await?;
        let mut taken = vec![case(IDLE, &idle)];
        for (name, channel) in [(SATURATED, INVALIDATIONS), (AMONG, CHANNEL)] {
            let caches = Probes::connect_to(&server, CACHES, channel).await?;
            let publishing = publishers.publish(PUBLISHERS, WaitFor::Answer, time, &shared, &content);
            // The caches end first, so that all of their answers are given under load.
            let asking = caches.ask(Question::Sync, time * 3 / 4);
            let (outcome, answers) = tokio::join!(audience.outcome(publishing), asking);
            outcome?;
            taken.push(case(name, &answers?));
        }
        audience.close_unfinished().await?;
        Ok(taken)
    }
}

fn case(name: &str, answers: &Answers) -> CaseFigures {
    let Answers { sync, closed, .. } = answers;
    let figures = Figures::from(
        [
            (P50, sync.value_at_quantile(0.5)),
            (P99, sync.value_at_quantile(0.99)),
            (COUNT, sync.len()),
            (CLOSED, *closed),
        ]
        .map(|(name, value)| (name.to_owned(), value as f64)),
    );
    CaseFigures { case: name.into(), figures }
}
