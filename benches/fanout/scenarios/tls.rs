//! TLS: 1,000 connections opened, left alone, and sent events. Beside tidings are Bun's TLS and nginx before tidings.

use std::io;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::{CaseFigures, Measure, Scenario, Step, only_case};
use crate::audience::Audience;
use crate::events::Content;
use crate::results::{Results, sample_key};
use crate::systems::{BUN, NGINX, Running, TIDINGS};
use crate::table::{Column, Table};
use crate::usage::{CPU, Meter, resident};

pub const TLS: &str = "tls";

pub const OPEN: &str = "seconds to open";
pub const OPEN_CPU: &str = "cpu ns to open";
pub const MEMORY: &str = "bytes a connection";

const CONNECTIONS: usize = 1_000;
const WARM_UP: u64 = 50;
const EVENTS: u64 = 400;

pub fn tls() -> Scenario {
    let systems = [TIDINGS, BUN, NGINX].map(|system| Step::new(system.over_tls(), Encrypted));
    Scenario {
        name: TLS,
        about: "1,000 TLS connections opened, left alone, and sent events one at a time",
        rounds: usize::MAX,
        steps: systems.into(),
        tables: |results| vec![table(results)],
    }
}

fn table(results: &Results) -> Table {
    let columns = [
        Column::micros("CPU a delivery", CPU),
        Column::against("of Bun's", CPU, BUN.name),
        Column::kib("memory a connection", MEMORY),
        Column::seconds("opened in", OPEN),
        Column::micros("CPU to open one", OPEN_CPU),
    ];
    let rows = [TIDINGS, BUN, NGINX].map(|system| (system.name.to_owned(), sample_key(TLS, "", system.name)));
    Table::new("1,000 TLS connections", "system", &columns).rows(results, rows)
}

struct Encrypted;

#[async_trait]
impl Measure for Encrypted {
    fn files(&self) -> usize {
        // nginx has two sockets for each.
        2 * CONNECTIONS
    }

    async fn measure(&self, server: Running) -> io::Result<Vec<CaseFigures>> {
        let before = resident(server.pid());
        let (meter, begun) = (Meter::start(server.pid()), Instant::now());
        let mut audience = Audience::open(&server, CONNECTIONS).await?;
        let open = begun.elapsed().as_secs_f64();
        let opening = meter.stop().each(CONNECTIONS as u64);
        tokio::time::sleep(Duration::from_secs(3)).await;
        let memory = (resident(server.pid()) - before) / CONNECTIONS as f64;
        let (mut lane, content) = (server.lane(0).await?, Content::of_product("p-1"));
        audience.one_at_a_time(&mut lane, WARM_UP, &content).await?;
        let meter = Meter::start(server.pid());
        audience.one_at_a_time(&mut lane, EVENTS, &content).await?;
        let mut figures = meter.stop().each(EVENTS * CONNECTIONS as u64);
        figures.extend([(OPEN.to_owned(), open), (OPEN_CPU.to_owned(), opening[CPU]), (MEMORY.to_owned(), memory)]);
        audience.close().await?;
        only_case(figures)
    }
}
