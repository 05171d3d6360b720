//! The metrics of flows: which node runs each, how far it is behind, and what it gave up.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Unit;

use super::described::LabelNames;
use super::registrar::Registrar;

/// The metrics of all flows of a node. A node that does not run a flow has 0 for it.
#[derive(Debug)]
pub struct FlowMetrics {
    pub running: Family<FlowLabel, Gauge>,
    pub lag_events: Family<FlowLabel, Gauge>,
    pub lag_seconds: Family<FlowLabel, Gauge<f64, AtomicU64>>,
    pub gaps: Family<FlowLabel, Counter>,
    pub dead: Family<FlowLabel, Counter>,
    pub restarts: Family<FlowLabel, Counter>,
    pub webhook_attempts: Family<AttemptLabel, Counter>,
    pub webhook_stopped: Family<WebhookLabel, Gauge>,
}

/// A webhook of the configuration, and what became of an attempt to deliver.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AttemptLabel {
    pub webhook: Arc<str>,
    pub outcome: &'static str,
}

/// A webhook of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct WebhookLabel {
    pub webhook: Arc<str>,
}

/// A flow of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FlowLabel {
    /// `webhook`, `bridge` or `sink`.
    pub flow: &'static str,
    pub name: Arc<str>,
}

impl LabelNames for FlowLabel {
    const NAMES: &'static [&'static str] = &["flow", "name"];
}

impl LabelNames for AttemptLabel {
    const NAMES: &'static [&'static str] = &["webhook", "outcome"];
}

impl LabelNames for WebhookLabel {
    const NAMES: &'static [&'static str] = &["webhook"];
}

impl FlowMetrics {
    /// Makes the time series of a flow, so that each has a sample from before its first event.
    pub fn announce(&self, flow: &FlowLabel) {
        drop(self.running.get_or_create(flow));
        drop(self.lag_events.get_or_create(flow));
        drop(self.lag_seconds.get_or_create(flow));
        for counter in [&self.gaps, &self.dead, &self.restarts] {
            drop(counter.get_or_create(flow));
        }
    }

    /// Shows that this node runs a flow no more, or that the flow is not behind.
    pub fn show_no_lag(&self, flow: &FlowLabel) {
        self.lag_events.get_or_create(flow).set(0);
        self.lag_seconds.get_or_create(flow).set(0.0);
    }

    pub(super) fn new(r: &mut Registrar) -> Self {
        Self {
            running: r.add("flow_running", "1 on the node that runs this flow"),
            lag_events: r.add(
                "flow_lag_events",
                "Events of the log that this flow has not dealt with, at the node that runs it",
            ),
            lag_seconds: r.with_unit(
                "flow_lag",
                "Age of the oldest event that this flow has not dealt with, by the event's time",
                Unit::Seconds,
            ),
            gaps: r.add("flow_gaps", "Gaps: lost ranges of a channel that this flow met"),
            dead: r.add("flow_dead", "Events and messages that this flow gave up"),
            restarts: r
                .add("flow_restarts", "Runs of this flow that ended with an error, a panic, or the loss of its lease"),
            webhook_attempts: r.add("webhook_attempts", "Attempts to deliver an event to this webhook, by outcome"),
            webhook_stopped: r.add(
                "webhook_stopped",
                "1 on the node that runs this webhook, while it is stopped because its receiver answered 410",
            ),
        }
    }
}
