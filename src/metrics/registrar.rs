//! Makes metrics and registers each under its name, with its help text.

use std::fmt::Debug;

use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry, Unit};

/// The bounds of all histograms, in seconds: from 50 µs (an in-process log) to the timeout after which a publisher gets
/// a 503.
const BOUNDS: [f64; 12] = [50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 50e-3, 0.25, 1.0, 2.5];

/// A registry that is being filled. Each method returns the metric, which shares its values with the registered one.
#[derive(Debug)]
pub(super) struct Registrar(Registry);

impl Registrar {
    /// All names begin with `prefix`.
    pub fn new(prefix: &str) -> Self {
        Self(Registry::with_prefix(prefix))
    }

    /// A gauge or a counter, or a family of them.
    pub fn add<M: Metric + Clone + Default>(&mut self, name: &str, help: &str) -> M {
        let metric = M::default();
        self.0.register(name, help, metric.clone());
        metric
    }

    /// The same with a unit, which becomes the end of the name.
    pub fn with_unit<M: Metric + Clone + Default>(&mut self, name: &str, help: &str, unit: Unit) -> M {
        let metric = M::default();
        self.0.register_with_unit(name, help, unit, metric.clone());
        metric
    }

    /// A histogram of times.
    pub fn seconds(&mut self, name: &str, help: &str) -> Histogram {
        let metric = Histogram::new(BOUNDS);
        self.0.register_with_unit(name, help, Unit::Seconds, metric.clone());
        metric
    }

    /// The registry with all metrics.
    pub fn finish(self) -> Registry {
        self.0
    }
}
