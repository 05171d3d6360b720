//! The scenarios of the benchmark, one file each.
//!
//! A scenario is a list of steps. A step is a measurement of one server, which is started before it and ended after it.

pub mod access;
pub mod answers;
pub mod backlog;
pub mod compression;
pub mod filters;
pub mod growth;
pub mod idle;
pub mod idle_redis;
mod instructions;
pub mod latency;
pub mod offered;
pub mod one;
pub mod publishing;
pub mod revocations;
pub mod saturation;
pub mod stalled;
pub mod stalled_share;
pub mod syncs;
pub mod tls;
pub mod transports;

use std::io;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

use crate::results::{Figures, Results};
use crate::systems::{Running, System};
use crate::table::Table;

/// A group of measurements that are compared with each other.
pub struct Scenario {
    pub name: &'static str,
    /// A description in a few words.
    pub about: &'static str,
    /// The most rounds that it is measured in. Slow scenarios with little variance take few.
    pub rounds: usize,
    pub steps: Vec<Step>,
    /// Makes the tables of the results.
    pub tables: fn(&Results) -> Vec<Table>,
}

/// A measurement of one server.
#[derive(Clone)]
pub struct Step {
    pub system: System,
    pub measure: Arc<dyn Measure>,
}

/// The figures of one case.
pub struct CaseFigures {
    pub case: String,
    pub figures: Figures,
}

/// A kind of measurement.
#[async_trait]
pub trait Measure: Send + Sync {
    /// The case that it measures, where a scenario has one step for each case. A failure is recorded under it.
    fn case(&self) -> String {
        String::new()
    }

    /// The most files that the server or the load generator has open.
    fn files(&self) -> usize;

    /// Prepares the server's folder and flags before it starts.
    fn prepare(&self, system: System, folder: &Path) -> io::Result<System> {
        let _ = folder;
        Ok(system)
    }

    /// Measures the server. Lost or misordered events are errors.
    async fn measure(&self, server: Running) -> io::Result<Vec<CaseFigures>>;
}

/// All scenarios, in the order in which they run and are shown.
pub fn all() -> Vec<Scenario> {
    let mut all = vec![one::thousand(), one::ten_thousand(), backlog::all_cores(), backlog::one_core()];
    all.extend(saturation::scenarios());
    all.extend([
        offered::offered(),
        answers::answers(),
        syncs::syncs(),
        stalled_share::stalled_share(),
        transports::transports(),
    ]);
    all.extend([
        idle::idle(),
        idle::quiet(),
        idle_redis::idle_redis(),
        filters::index(),
        filters::same(),
        stalled::stalled(),
    ]);
    all.extend([access::tokens(), access::grants(), revocations::revocations(), tls::tls()]);
    all.extend([publishing::publishing(), latency::latency(), compression::compression()]);
    all.extend([growth::subscribers(), growth::channels(), instructions::instructions()]);
    all
}

impl Step {
    pub fn new(system: System, measure: impl Measure + 'static) -> Self {
        Self { system, measure: Arc::new(measure) }
    }
}

/// The figures of a measurement that has one case.
fn only_case(figures: Figures) -> io::Result<Vec<CaseFigures>> {
    Ok(vec![CaseFigures { case: String::new(), figures }])
}
