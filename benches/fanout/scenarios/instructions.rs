//! Instructions in user space, counted by valgrind, and system calls, counted by perf.
//!
//! Valgrind works where the machine has no counters. It runs one thread at a time and does not see the kernel. Its
//! counts hardly vary, and do not depend on other load on the machine.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, io};

use async_trait::async_trait;

use super::{CaseFigures, Measure, Scenario, Step, only_case};
use crate::audience::Audience;
use crate::events::Content;
use crate::results::{Figures, Results, sample_key};
use crate::systems::{FLOOR, Running, System, TIDINGS};
use crate::table::{Column, Table};
use crate::usage::Perf;

pub const INSTRUCTIONS: &str = "instructions";
/// Instructions in user space a delivery.
pub const USER: &str = "user instructions";
/// System calls of all threads a delivery.
pub const CALLS: &str = "system calls";

const SUBSCRIBERS: usize = 1_000;
const EVENTS: u64 = 50;

pub fn instructions() -> Scenario {
    Scenario {
        name: INSTRUCTIONS,
        about: "instructions in user space, counted by valgrind, and system calls",
        rounds: 1,
        steps: [FLOOR, TIDINGS]
            .into_iter()
            .flat_map(|system| [Step::new(system.clone(), Callgrind), Step::new(system, SystemCalls)])
            .collect(),
        tables: |results| vec![table(results)],
    }
}

fn table(results: &Results) -> Table {
    let columns =
        [Column::count("instructions a delivery in user space", USER), Column::count("system calls a delivery", CALLS)];
    let rows = [FLOOR, TIDINGS].map(|system| (system.name.to_owned(), sample_key(INSTRUCTIONS, "", system.name)));
    Table::new("One event at a time to 1,000 subscribers: what was counted", "system", &columns).rows(results, rows)
}

struct Callgrind;

#[async_trait]
impl Measure for Callgrind {
    fn files(&self) -> usize {
        SUBSCRIBERS
    }

    fn prepare(&self, system: System, folder: &Path) -> io::Result<System> {
        let out = format!("--callgrind-out-file={}", out_file(folder).display());
        Ok(system.under(&["valgrind", "--tool=callgrind", "--instr-atstart=no", "--quiet", &out]))
    }

    async fn measure(&self, server: Running) -> io::Result<Vec<CaseFigures>> {
        let mut audience = Audience::open(&server, SUBSCRIBERS).await?;
        let (mut lane, content) = (server.lane(0).await?, Content::of_product("p-1"));
        audience.one_at_a_time(&mut lane, 10, &content).await?;
        count(&server, "on")?;
        audience.one_at_a_time(&mut lane, EVENTS, &content).await?;
        count(&server, "off")?;
        audience.close().await?;
        // Valgrind writes its counts when the server ends.
        let folder = server.end();
        let text = fs::read_to_string(out_file(folder.path()))?;
        let total = text.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse::<f64>().ok());
        let total = total.ok_or_else(|| io::Error::other("callgrind wrote no total"))?;
        only_case(Figures::from([(USER.to_owned(), total / (EVENTS * SUBSCRIBERS as u64) as f64)]))
    }
}

struct SystemCalls;

#[async_trait]
impl Measure for SystemCalls {
    fn files(&self) -> usize {
        SUBSCRIBERS
    }

    async fn measure(&self, server: Running) -> io::Result<Vec<CaseFigures>> {
        const EVENT: &str = "raw_syscalls:sys_enter";
        if !Perf::counts(EVENT) {
            return Ok(Vec::new());
        }
        let mut audience = Audience::open(&server, SUBSCRIBERS).await?;
        let (mut lane, content) = (server.lane(0).await?, Content::of_product("p-1"));
        audience.one_at_a_time(&mut lane, 10, &content).await?;
        let perf = Perf::start(server.pid(), EVENT);
        audience.one_at_a_time(&mut lane, EVENTS, &content).await?;
        let counts = perf.and_then(Perf::stop).ok_or_else(|| io::Error::other("perf returned no counts"))?;
        audience.close().await?;
        let figures = counts.first().map(|calls| (CALLS.to_owned(), calls / (EVENTS * SUBSCRIBERS as u64) as f64));
        only_case(figures.into_iter().collect())
    }
}

fn out_file(folder: &Path) -> PathBuf {
    folder.join("callgrind.out")
}

/// Turns valgrind's counting on or off.
fn count(server: &Running, state: &str) -> io::Result<()> {
    let mut control = Command::new("callgrind_control");
    control.args(["-i", state, &server.pid().to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
    match control.status()?.success() {
        true => Ok(()),
        false => Err(io::Error::other("callgrind_control cannot reach the server")),
    }
}
