//! Makes metrics, and registers and describes each.

use std::fmt::Debug;

use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry, Unit};

use super::described::{Described, Description};

/// All names begin with it.
const PREFIX: &str = "tidings";
/// The bounds of all histograms, in seconds: from 50 µs (an in-process log) to the timeout after which a publisher gets
/// a 503.
const BOUNDS: [f64; 12] = [50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 50e-3, 0.25, 1.0, 2.5];

/// A registry that is being filled. Each method returns the metric, which shares its values with the registered one.
#[derive(Debug)]
pub(super) struct Registrar {
    pub registry: Registry,
    pub descriptions: Vec<Description>,
}

impl Default for Registrar {
    fn default() -> Self {
        Self { registry: Registry::with_prefix(PREFIX), descriptions: Vec::new() }
    }
}

impl Registrar {
    /// A gauge or a counter, or a family of them.
    pub fn add<M: Metric + Described + Clone + Default>(&mut self, name: &str, help: &'static str) -> M {
        let metric = M::default();
        self.describe::<M>(name, "", help);
        self.registry.register(name, help, metric.clone());
        metric
    }

    /// The same with a unit, which becomes the end of the name.
    pub fn with_unit<M: Metric + Described + Clone + Default>(
        &mut self,
        name: &str,
        help: &'static str,
        unit: Unit,
    ) -> M {
        self.register_with_unit(name, help, unit, M::default())
    }

    /// A histogram of times.
    pub fn seconds(&mut self, name: &str, help: &'static str) -> Histogram {
        self.register_with_unit(name, help, Unit::Seconds, Histogram::new(BOUNDS))
    }

    fn register_with_unit<M>(&mut self, name: &str, help: &'static str, unit: Unit, metric: M) -> M
    where
        M: Metric + Described + Clone,
    {
        self.describe::<M>(name, &format!("_{}", unit.as_str()), help);
        self.registry.register_with_unit(name, help, unit, metric.clone());
        metric
    }

    fn describe<M: Described>(&mut self, name: &str, unit: &str, help: &'static str) {
        let end = if M::KIND == "counter" { "_total" } else { "" };
        let name = format!("{PREFIX}_{name}{unit}{end}");
        self.descriptions.push(Description { name, kind: M::KIND, labels: M::LABELS, help });
    }
}
