//! Who may come and stay: WebSockets, event streams, long-polls.

use super::App;
use super::problem::{Code, Problem};
use crate::admission::AdmissionPermit;

/// Takes somebody who would stay, who has arrived when what is returned is dropped.
///
/// # Errors
/// Why not: another node may.
pub(super) fn admit(app: &App) -> Result<AdmissionPermit, Problem> {
    if app.draining.is_cancelled() {
        return Err(Problem::new(Code::Draining, "this node is about to stop: connect to another"));
    }
    if app.health.borrow().partitioned {
        return Err(Problem::new(
            Code::BrokerUnavailable,
            "this node is partitioned from its broker: connect to another",
        ));
    }
    app.admission.enter().ok_or_else(|| {
        Problem::new(Code::Overloaded, "too many are connecting at once: come again when Retry-After says")
    })
}

/// Waits until nobody may stay.
pub(super) async fn sent_away(app: &App) {
    let mut health = app.health.clone();
    tokio::select! {
        () = app.draining.cancelled() => {}
        // It ends with the node.
        _ = health.wait_for(|health| health.partitioned) => {}
    }
}
