//! The metrics of the audit.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::described::DescribedRegistry;

/// See [`Metrics`](super::Metrics).
#[derive(Debug, Default)]
pub struct AuditMetrics {
    pub lines: Counter,
    pub lost: Counter,
    pub failing: Gauge,
}

impl AuditMetrics {
    pub(super) fn register(&self, registry: &mut DescribedRegistry) {
        registry.register("audit_lines", "Lines written to the audit", self.lines.clone());
        registry.register(
            "audit_lost",
            "Lines of the audit that were lost: the file could not be written, or the queue was full",
            self.lost.clone(),
        );
        registry.register("audit_failing", "1 while the audit cannot be written", self.failing.clone());
    }
}
