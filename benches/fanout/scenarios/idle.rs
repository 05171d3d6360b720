//! Idle connections: the time to open them, and their memory before and after a burst.

use std::io;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::{CaseFigures, Measure, Scenario, Step, only_case};
use crate::audience::Audience;
use crate::events::Content;
use crate::results::{Figures, Results, sample_key};
use crate::systems::{ALL, BUN, FLOOR, Running, TIDINGS};
use crate::table::{Column, Table};
use crate::usage::{CPU, Meter, resident};

pub const IDLE: &str = "idle";
pub const QUIET: &str = "quiet";

/// Resident bytes a connection.
pub const MEMORY: &str = "bytes a connection";
/// The time until all are subscribed.
pub const OPEN: &str = "seconds to open";
/// Resident bytes a connection right after the burst.
const AFTER: &str = "bytes a connection after a burst";
/// Resident bytes a connection one minute later.
pub const MINUTE: &str = "bytes a connection a minute later";

const CONNECTIONS: usize = 10_000;
/// The events of the burst.
const BURST: usize = 500;
/// The events of one request.
const BATCH: usize = 100;

pub fn idle() -> Scenario {
    let steps = ALL.into_iter().filter(|system| system.name != FLOOR.name);
    Scenario {
        name: IDLE,
        about: "10,000 connections opened, subscribed and left alone",
        rounds: usize::MAX,
        steps: steps.map(|system| Step::new(system, Open)).collect(),
        tables: |results| vec![idle_table(results)],
    }
}

pub fn quiet() -> Scenario {
    Scenario {
        name: QUIET,
        about: "10,000 connections after a burst and a quiet minute",
        rounds: 1,
        steps: vec![Step::new(TIDINGS, Flooded)],
        tables: |results| vec![quiet_table(results)],
    }
}

fn idle_table(results: &Results) -> Table {
    let columns = [
        Column::kib("memory a connection", MEMORY),
        Column::seconds("opened in", OPEN),
        Column::against("of Bun's time", OPEN, BUN.name),
        Column::micros("CPU to open one", CPU),
        Column::against("of Bun's CPU", CPU, BUN.name),
    ];
    Table::new("10,000 connections, opened and subscribed", "system", &columns).rows(results, results.systems(IDLE))
}

fn quiet_table(results: &Results) -> Table {
    let columns = [
        Column::kib("before", MEMORY),
        Column::kib("right after the burst", AFTER),
        Column::kib("a minute later", MINUTE),
    ];
    let rows = [(TIDINGS.name.to_owned(), sample_key(QUIET, "", TIDINGS.name))];
    Table::new("Memory a connection, with 10,000 of them", "system", &columns).rows(results, rows)
}

struct Open;

struct Flooded;

/// Opens the connections, and returns them with the resident memory before.
async fn open(server: &Running, figures: &mut Figures) -> io::Result<(Audience, f64)> {
    let before = resident(server.pid());
    let meter = Meter::start(server.pid());
    let begun = Instant::now();
    let audience = Audience::open(server, CONNECTIONS).await?;
    figures.insert(OPEN.into(), begun.elapsed().as_secs_f64());
    figures.extend(meter.stop().each(CONNECTIONS as u64));
    tokio::time::sleep(Duration::from_secs(3)).await;
    figures.insert(MEMORY.into(), (resident(server.pid()) - before) / CONNECTIONS as f64);
    Ok((audience, before))
}

#[async_trait]
impl Measure for Open {
    fn files(&self) -> usize {
        CONNECTIONS
    }

    async fn measure(&self, server: Running) -> io::Result<Vec<CaseFigures>> {
        let mut figures = Figures::new();
        let (audience, _) = open(&server, &mut figures).await?;
        audience.close().await?;
        only_case(figures)
    }
}

#[async_trait]
impl Measure for Flooded {
    fn files(&self) -> usize {
        CONNECTIONS
    }

    async fn measure(&self, server: Running) -> io::Result<Vec<CaseFigures>> {
        let mut figures = Figures::new();
        let (mut audience, before) = open(&server, &mut figures).await?;
        let (mut lane, content) = (server.lane(0).await?, Content::of_product("p-1"));
        for _ in 0..BURST / BATCH {
            let batch = lane.batch(&audience.shared, BATCH, &content);
            lane.publish_batch(&batch).await?;
        }
        audience.wait_for_events(BURST as u64).await?;
        let mut note = |name: &str| {
            figures.insert(name.into(), (resident(server.pid()) - before) / CONNECTIONS as f64);
        };
        note(AFTER);
        // Two heartbeats are sent in this minute.
        tokio::time::sleep(Duration::from_secs(60)).await;
        note(MINUTE);
        audience.close().await?;
        only_case(figures)
    }
}
