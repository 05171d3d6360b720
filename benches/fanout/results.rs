//! The measurements: every figure of every round, stored in `results.json`, and their medians and ratios.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::systems::{ALL, FLOOR};
pub use crate::usage::Figures;

/// All measurements of the last runs.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Results {
    pub machine: Machine,
    pub samples: Vec<Sample>,
    /// The systems that were not measured, and why.
    pub absent: BTreeSet<Absent>,
}

/// The figures of one system in one case and round.
#[derive(Debug, Serialize, Deserialize)]
pub struct Sample {
    pub scenario: String,
    pub case: String,
    pub system: String,
    pub round: usize,
    pub figures: Figures,
    /// The error of a failed measurement, for example lost events. It has no figures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A system that a scenario could not measure.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Absent {
    pub scenario: String,
    pub system: String,
    pub why: String,
}

/// Selects the samples of a system in a case of a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleKey<'a> {
    pub scenario: &'a str,
    pub case: &'a str,
    pub system: &'a str,
}

/// A median and its spread.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stat {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

/// Selects the samples of `system` in a scenario; `case` is empty where the scenario has only one.
pub fn sample_key<'a>(scenario: &'a str, case: &'a str, system: &'a str) -> SampleKey<'a> {
    SampleKey { scenario, case, system }
}

/// The name of the floor's figure that was measured in turn with `figure`.
pub fn floor_figure(figure: &str) -> String {
    format!("floor's {figure}")
}

impl Results {
    /// The path of `results.json`.
    pub fn path() -> PathBuf {
        let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
        target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target")).join("bench/results.json")
    }

    /// The results of earlier runs; empty where there is no file, or it cannot be parsed.
    pub fn load() -> Self {
        let text = fs::read_to_string(Self::path()).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    pub fn save(&self) -> io::Result<()> {
        let path = Self::path();
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        fs::write(path, serde_json::to_string_pretty(self)? + "\n")
    }

    /// Removes the samples of a scenario before it is measured anew, or only those of the cases that contain this text.
    pub fn remove(&mut self, scenario: &str, case: Option<&str>) {
        let is = |sample: &Sample| case.is_none_or(|case| sample.case.contains(case));
        self.samples.retain(|sample| sample.scenario != scenario || !is(sample));
        self.absent.retain(|absent| absent.scenario != scenario);
    }

    /// The median of a figure over the rounds.
    pub fn stat(&self, key: SampleKey<'_>, figure: &str) -> Option<Stat> {
        Stat::of(self.of(key).filter_map(|sample| sample.figures.get(figure).copied()))
    }

    /// The ratio of a figure to the same figure of another system or case, computed in each round.
    pub fn ratio(&self, over: SampleKey<'_>, under: SampleKey<'_>, figure: &str) -> Option<Stat> {
        self.ratio_of(over, figure, under, figure)
    }

    /// The ratio of a figure to another figure, computed in each round.
    pub fn ratio_of(&self, over: SampleKey<'_>, figure: &str, under: SampleKey<'_>, other: &str) -> Option<Stat> {
        let in_round = |round| {
            let under = self.of(under).find(|sample| sample.round == round)?;
            Some(under.figures.get(other).copied()?).filter(|figure| *figure > 0.0)
        };
        Stat::of(self.of(over).filter_map(|sample| Some(sample.figures.get(figure)? / in_round(sample.round)?)))
    }

    /// The ratio of a figure to the floor's: measured in turn with it, or else in the same round.
    pub fn against_floor(&self, key: SampleKey<'_>, figure: &str) -> Option<Stat> {
        let in_turn = self.ratio_of(key, figure, key, &floor_figure(figure));
        in_turn.or_else(|| self.ratio(key, SampleKey { system: FLOOR.name, ..key }, figure))
    }

    /// The error of a failed measurement, if there was one in any round.
    pub fn problem(&self, key: SampleKey<'_>) -> Option<&str> {
        let is = |sample: &&Sample| sample.scenario == key.scenario && sample.system == key.system;
        // A failure of all cases together has no case.
        let mut samples =
            self.samples.iter().filter(is).filter(|sample| sample.case == key.case || sample.case.is_empty());
        samples.find_map(|sample| sample.problem.as_deref())
    }

    /// The reason why a system was not measured.
    pub fn absent(&self, key: SampleKey<'_>) -> Option<&str> {
        let is = |absent: &&Absent| absent.scenario == key.scenario && absent.system == key.system;
        self.absent.iter().find(is).map(|absent| absent.why.as_str())
    }

    /// The systems of a scenario that were measured or left out, in the order of [`ALL`].
    pub fn systems<'a>(&self, scenario: &'a str) -> impl Iterator<Item = (String, SampleKey<'a>)> {
        let all = ALL.map(|system| sample_key(scenario, "", system.name)).into_iter();
        let known: Vec<_> = all.filter(|key| self.of(*key).next().is_some() || self.absent(*key).is_some()).collect();
        known.into_iter().map(|key| (key.system.to_owned(), key))
    }

    fn of<'a>(&'a self, key: SampleKey<'a>) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| {
            sample.scenario == key.scenario && sample.case == key.case && sample.system == key.system
        })
    }
}

impl Stat {
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let even = values.len().is_multiple_of(2);
        let median = if even { (values[middle - 1] + values[middle]) / 2.0 } else { values[middle] };
        Some(Self { median, min, max })
    }
}
