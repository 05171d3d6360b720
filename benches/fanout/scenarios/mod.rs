//! What is measured: a file each. A scenario is a list of steps; a step is something that is done to one server, which is
//! started for it and ended after it.

pub mod backlog;
pub mod compression;
pub mod filters;
pub mod growth;
pub mod idle;
mod instructions;
pub mod latency;
pub mod one;
pub mod publishing;
pub mod stalled;

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
    /// In a few words.
    pub about: &'static str,
    /// Rounds that it takes at the most: what is slow and hardly varies takes few.
    pub rounds: usize,
    pub steps: Vec<Step>,
    /// What was measured, for readers.
    pub tables: fn(&Results) -> Vec<Table>,
}

/// One server, and what is done to it.
#[derive(Clone)]
pub struct Step {
    pub system: System,
    pub measure: Arc<dyn Measure>,
}

/// The figures of one case.
pub struct Taken {
    pub case: String,
    pub figures: Figures,
}

/// What is done to a server.
#[async_trait]
pub trait Measure: Send + Sync {
    /// The only case that it measures, where it is one of several.
    fn case(&self) -> String {
        String::new()
    }

    /// Files that server or load generator have open at the most.
    fn files(&self) -> usize;

    /// What the server needs beforehand: files in its folder, further flags.
    fn prepare(&self, system: System, folder: &Path) -> io::Result<System> {
        let _ = folder;
        Ok(system)
    }

    /// Measures; loss and disorder are errors.
    async fn measure(&self, server: Running) -> io::Result<Vec<Taken>>;
}

/// All, in the order in which they run and are shown.
pub fn all() -> Vec<Scenario> {
    let mut all = vec![one::thousand(), one::ten_thousand(), backlog::all_cores(), backlog::one_core()];
    all.extend([idle::idle(), idle::quiet(), filters::index(), filters::same(), stalled::stalled()]);
    all.extend([publishing::publishing(), latency::latency(), compression::compression()]);
    all.extend([growth::subscribers(), growth::channels(), instructions::instructions()]);
    all
}

impl Step {
    pub fn new(system: System, measure: impl Measure + 'static) -> Self {
        Self { system, measure: Arc::new(measure) }
    }
}

/// The only case of a measurement.
fn only(figures: Figures) -> io::Result<Vec<Taken>> {
    Ok(vec![Taken { case: String::new(), figures }])
}
