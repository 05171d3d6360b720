//! Whether a client may connect and stay, and whether this node is ready.

use super::Bus;
use crate::access::Caller;
use crate::admission::AdmissionPermit;
use crate::health::Health;
use crate::protocol::{ErrorCode, Problem};

impl Bus {
    /// Admits a client that wants to stay: a WebSocket, an event stream, a long-poll. It counts as pending until the
    /// permit is dropped.
    ///
    /// # Errors
    /// `draining`, `broker-unavailable` and `overloaded`: another node may take the client.
    pub fn admit(&self, caller: &Caller) -> Result<AdmissionPermit, Problem> {
        if self.lifecycle.draining.is_cancelled() {
            return Err(Problem::new(ErrorCode::Draining, "this node is about to stop: connect to another"));
        }
        if self.namespace(caller).health().borrow().partitioned {
            let detail = "this node is partitioned from its broker: connect to another";
            return Err(Problem::new(ErrorCode::BrokerUnavailable, detail));
        }
        self.admission.admit().ok_or_else(|| {
            let detail = "too many clients are connecting at once: try again after the time in the header Retry-After";
            Problem::new(ErrorCode::Overloaded, detail)
        })
    }

    /// Waits until no client of this namespace may stay: the node drains, or is partitioned from its broker.
    pub async fn evicted(&self, caller: &Caller) {
        let mut health = self.namespace(caller).health().clone();
        tokio::select! {
            () = self.lifecycle.draining.cancelled() => {}
            // It also ends with the readiness probe, and with it the node.
            _ = health.wait_for(|health| health.partitioned) => {}
        }
    }

    /// Whether this node can publish and receive, in every namespace.
    ///
    /// # Errors
    /// `draining`, or `broker-unavailable` with the reason of the first namespace that is not ready, or where the audit refuses
    /// publishers.
    pub fn readiness(&self) -> Result<(), Problem> {
        if self.lifecycle.stopping.is_cancelled() {
            return Err(Problem::new(ErrorCode::Draining, "this node is about to stop"));
        }
        let unready = self.namespaces.iter().find_map(|namespace| match Health::reported(namespace.health()) {
            Ok(()) if self.has_auth() && !namespace.revocations().is_read() => {
                Some("the revoked credentials were not read yet".into())
            }
            health => health.err(),
        });
        let unready = unready.or_else(|| {
            let refuses = self.audit.as_ref().is_some_and(|audit| audit.refuses_now());
            refuses.then(|| "publishers are refused, because the audit file of this node cannot be written".into())
        });
        unready.map_or(Ok(()), |reason| Err(Problem::new(ErrorCode::BrokerUnavailable, reason)))
    }
}
