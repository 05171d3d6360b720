//! Who may come and stay: WebSockets, event streams, long-polls.

use super::App;
use super::problem::{Code, Problem};

/// Whether somebody who would stay is taken now.
///
/// # Errors
/// Why not: another node may.
pub(super) fn admit(app: &App) -> Result<(), Problem> {
    if app.draining.is_cancelled() {
        return Err(Problem::new(Code::Draining, "this node is about to stop: connect to another"));
    }
    if app.health.borrow().cut_off {
        return Err(Problem::new(Code::BrokerUnavailable, "this node is cut off from its broker: connect to another"));
    }
    Ok(())
}

/// Waits until nobody may stay.
pub(super) async fn sent_away(app: &App) {
    let mut health = app.health.clone();
    tokio::select! {
        () = app.draining.cancelled() => {}
        // It ends with the node.
        _ = health.wait_for(|health| health.cut_off) => {}
    }
}
