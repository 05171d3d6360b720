//! The metrics of bridges, beside those that all flows have.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::FlowLabel;
use super::registrar::Registrar;

/// See [`Metrics`](super::Metrics).
#[derive(Debug)]
pub struct BridgeMetrics {
    pub connected: Family<FlowLabel, Gauge>,
    pub disconnections: Family<FlowLabel, Counter>,
    pub bridged: Family<FlowLabel, Counter>,
    pub refused: Family<FlowLabel, Counter>,
    pub ignored: Family<FlowLabel, Counter>,
    pub missed: Family<FlowLabel, Counter>,
    pub sent: Family<FlowLabel, Counter>,
}

impl BridgeMetrics {
    /// Makes the time series of a bridge, so that each has a sample from before its first message.
    pub fn announce(&self, bridge: &FlowLabel) {
        drop(self.connected.get_or_create(bridge));
        for counter in [&self.disconnections, &self.bridged, &self.refused, &self.ignored, &self.missed, &self.sent] {
            drop(counter.get_or_create(bridge));
        }
    }

    pub(super) fn new(r: &mut Registrar) -> Self {
        Self {
            connected: r.add(
                "bridge_connected",
                "1 while this node runs this bridge and the bridge is connected to its Redis, with its subscriptions",
            ),
            disconnections: r.add(
                "bridge_disconnections",
                "Connections of a bridge to its Redis that broke. What is published until the next one is lost on this node",
            ),
            bridged: r.add("bridge_events", "Messages that this node made events of first, by bridge"),
            refused: r.add("bridge_refused", "Messages that are no valid event, by bridge"),
            ignored: r.add(
                "bridge_ignored",
                "Messages that a bridge leaves out: its types say so, tidings itself published them, or they came from that channel",
            ),
            missed: r.add(
                "bridge_missed",
                "Messages that came faster than a bridge could publish them, and are lost on this node",
            ),
            sent: r.add("bridge_sent", "Events that a bridge sent to Redis channels"),
        }
    }
}
