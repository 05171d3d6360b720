//! An idle node on Redis: how many commands it sends though nothing happens.

use std::io;
use std::time::Duration;

use async_trait::async_trait;

use super::{CaseFigures, Measure, Scenario, Step, only_case};
use crate::results::{Figures, Results, sample_key};
use crate::systems::{Running, TIDINGS_REDIS};
use crate::table::{Column, Table};
use crate::usage::{CPU, Meter};

pub const IDLE_REDIS: &str = "idle-redis";
/// Commands that the node sends a second.
pub const SENT: &str = "sent a second";
/// Commands that Redis processes a second, with those of the node's scripts.
pub const PROCESSED: &str = "processed a second";

/// The time after which a started node is idle.
const SETTLED: Duration = Duration::from_secs(5);
/// Several periods of the node's heartbeats.
const TIME: Duration = Duration::from_secs(20);

pub fn idle_redis() -> Scenario {
    Scenario {
        name: IDLE_REDIS,
        about: "an idle node's commands to Redis",
        rounds: 2,
        steps: vec![Step::new(TIDINGS_REDIS, IdleRedis)],
        tables: |results| vec![table(results)],
    }
}

fn table(results: &Results) -> Table {
    let columns = [
        Column::count("commands/s that it sends", SENT),
        Column::count("commands/s that Redis processes", PROCESSED),
        Column::micros("its CPU a second", CPU),
    ];
    let row = ("tidings + Redis".to_owned(), sample_key(IDLE_REDIS, "", TIDINGS_REDIS.name));
    Table::new("A node without connections", "", &columns).rows(results, [row])
}

struct IdleRedis;

#[async_trait]
impl Measure for IdleRedis {
    fn files(&self) -> usize {
        100
    }

    async fn measure(&self, server: Running) -> io::Result<Vec<CaseFigures>> {
        let redis = server.redis.as_ref().ok_or_else(|| io::Error::other("there is no Redis"))?;
        tokio::time::sleep(SETTLED).await;
        let meter = Meter::start(server.pid());
        let before = redis.processed().await?;
        let sent = redis.count_commands(TIME).await?;
        let processed = redis.processed().await? - before;
        let mut figures = meter.stop().each(TIME.as_secs());
        // The first `INFO`, and `MONITOR`.
        let own = 2.0;
        figures.extend(Figures::from(
            [(SENT, sent as f64), (PROCESSED, processed as f64 - own)]
                .map(|(name, count)| (name.to_owned(), count / TIME.as_secs_f64())),
        ));
        only_case(figures)
    }
}
