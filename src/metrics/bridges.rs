//! The metrics of bridges, beside those that all flows have.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::FlowLabel;
use super::described::DescribedRegistry;

/// See [`Metrics`](super::Metrics).
#[derive(Debug, Default)]
pub struct BridgeMetrics {
    pub bridged: Family<FlowLabel, Counter>,
    pub refused: Family<FlowLabel, Counter>,
    pub ignored: Family<FlowLabel, Counter>,
    pub missed: Family<FlowLabel, Counter>,
    pub sent: Family<FlowLabel, Counter>,
}

impl BridgeMetrics {
    /// Makes the time series of a bridge, so that each has a sample from before its first message.
    pub fn announce(&self, bridge: &FlowLabel) {
        for counter in [&self.bridged, &self.refused, &self.ignored, &self.missed, &self.sent] {
            drop(counter.get_or_create(bridge));
        }
    }

    pub(super) fn register(&self, r: &mut DescribedRegistry) {
        r.register("bridge_events", "Messages that this node made events of first, by bridge", self.bridged.clone());
        r.register("bridge_refused", "Messages that are no valid event, by bridge", self.refused.clone());
        r.register(
            "bridge_ignored",
            "Messages that a bridge leaves out: its types say so, or tidings itself published them",
            self.ignored.clone(),
        );
        r.register(
            "bridge_missed",
            "Messages that came faster than a bridge could publish them, and are lost on this node",
            self.missed.clone(),
        );
        r.register("bridge_sent", "Events that a bridge sent to Redis channels", self.sent.clone());
    }
}
