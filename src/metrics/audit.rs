//! The metrics of the audit.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::registrar::Registrar;

/// See [`Metrics`](super::Metrics).
#[derive(Debug)]
pub struct AuditMetrics {
    pub lines: Counter,
    pub lost: Counter,
    pub failing: Gauge,
}

impl AuditMetrics {
    pub(super) fn new(r: &mut Registrar) -> Self {
        Self {
            lines: r.add("audit_lines", "Lines written to the audit"),
            lost: r.add(
                "audit_lost",
                "Lines of the audit that were lost: the file could not be written, or the queue was full",
            ),
            failing: r.add("audit_failing", "1 while the audit cannot be written"),
        }
    }
}
