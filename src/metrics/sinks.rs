//! The metrics of sinks, beside those that all flows have.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::FlowLabel;
use super::described::DescribedRegistry;

/// See [`Metrics`](super::Metrics).
#[derive(Debug, Default)]
pub struct SinkMetrics {
    pub written: Family<FlowLabel, Counter>,
    pub failures: Family<FlowLabel, Counter>,
}

impl SinkMetrics {
    /// Makes the time series of a sink, so that each has a sample from before its first write.
    pub fn announce(&self, sink: &FlowLabel) {
        drop(self.written.get_or_create(sink));
        drop(self.failures.get_or_create(sink));
    }

    pub(super) fn register(&self, r: &mut DescribedRegistry) {
        r.register(
            "sink_written",
            "Values that a sink wrote: several events of a key within a second are one",
            self.written.clone(),
        );
        r.register("sink_failures", "Writes of a sink that failed, and are tried again", self.failures.clone());
    }
}
