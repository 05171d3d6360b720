//! What was measured: every figure of every round, as it is kept in `results.json`, and medians and ratios of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::systems::{ALL, FLOOR};

/// Figures by name.
pub type Figures = BTreeMap<String, f64>;

/// All that is known.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Results {
    pub machine: Machine,
    pub samples: Vec<Sample>,
    /// What was left out, and why.
    pub absent: BTreeSet<Absent>,
}

/// One system, in one round.
#[derive(Debug, Serialize, Deserialize)]
pub struct Sample {
    pub scenario: String,
    pub case: String,
    pub system: String,
    pub round: usize,
    pub figures: Figures,
    /// It lost events, or did not stand it: there are no figures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Absent {
    pub scenario: String,
    pub system: String,
    pub why: String,
}

/// Whose figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whose<'a> {
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

/// `scenario`'s figures of `system`, in `case` where there are several.
pub fn whose<'a>(scenario: &'a str, case: &'a str, system: &'a str) -> Whose<'a> {
    Whose { scenario, case, system }
}

/// The floor's share of a figure that was measured in turn with it.
pub fn floors(figure: &str) -> String {
    format!("floor's {figure}")
}

impl Results {
    /// Where they are kept.
    pub fn path() -> PathBuf {
        let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
        target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target")).join("bench/results.json")
    }

    /// Those of earlier runs; none where there was none, or where they cannot be read any more.
    pub fn load() -> Self {
        let text = fs::read_to_string(Self::path()).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    pub fn save(&self) -> io::Result<()> {
        let path = Self::path();
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        fs::write(path, serde_json::to_string_pretty(self)? + "\n")
    }

    /// Forgets a scenario, which is about to be measured anew.
    pub fn forget(&mut self, scenario: &str) {
        self.samples.retain(|sample| sample.scenario != scenario);
        self.absent.retain(|absent| absent.scenario != scenario);
    }

    /// A figure's median over the rounds.
    pub fn stat(&self, whose: Whose<'_>, figure: &str) -> Option<Stat> {
        Stat::of(self.of(whose).filter_map(|sample| sample.figures.get(figure).copied()))
    }

    /// How a figure compares with the same of another, in each round by itself.
    pub fn ratio(&self, over: Whose<'_>, under: Whose<'_>, figure: &str) -> Option<Stat> {
        self.ratio_of(over, figure, under, figure)
    }

    /// How a figure compares with another's.
    pub fn ratio_of(&self, over: Whose<'_>, figure: &str, under: Whose<'_>, other: &str) -> Option<Stat> {
        let in_round = |round| {
            let under = self.of(under).find(|sample| sample.round == round)?;
            Some(under.figures.get(other).copied()?).filter(|figure| *figure > 0.0)
        };
        Stat::of(self.of(over).filter_map(|sample| Some(sample.figures.get(figure)? / in_round(sample.round)?)))
    }

    /// How a figure compares with the floor's: with what the floor took in turn with it, or in the same round.
    pub fn against_floor(&self, whose: Whose<'_>, figure: &str) -> Option<Stat> {
        let in_turn = self.ratio_of(whose, figure, whose, &floors(figure));
        in_turn.or_else(|| self.ratio(whose, Whose { system: FLOOR.name, ..whose }, figure))
    }

    /// Why there are no figures, or not of every round.
    pub fn problem(&self, whose: Whose<'_>) -> Option<&str> {
        let is = |sample: &&Sample| sample.scenario == whose.scenario && sample.system == whose.system;
        // What went wrong as a whole has no case.
        let mut its =
            self.samples.iter().filter(is).filter(|sample| sample.case == whose.case || sample.case.is_empty());
        its.find_map(|sample| sample.problem.as_deref())
    }

    /// Why a system was left out.
    pub fn absent(&self, whose: Whose<'_>) -> Option<&str> {
        let is = |absent: &&Absent| absent.scenario == whose.scenario && absent.system == whose.system;
        self.absent.iter().find(is).map(|absent| absent.why.as_str())
    }

    /// The systems of a scenario that were measured, or left out for a reason.
    pub fn systems<'a>(&self, scenario: &'a str) -> impl Iterator<Item = (String, Whose<'a>)> {
        let all = ALL.map(|system| whose(scenario, "", system.name)).into_iter();
        let known: Vec<_> =
            all.filter(|whose| self.of(*whose).next().is_some() || self.absent(*whose).is_some()).collect();
        known.into_iter().map(|whose| (whose.system.to_owned(), whose))
    }

    fn of<'a>(&'a self, whose: Whose<'a>) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| {
            sample.scenario == whose.scenario && sample.case == whose.case && sample.system == whose.system
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
