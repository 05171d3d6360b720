//! A `sync` frame: looks at the log, and tells the shard what the connection must have been sent before the answer.

use std::sync::Arc;
use std::time::Duration;

use crate::access::Caller;
use crate::bus::Bus;
use crate::hub::SyncTicket;

/// How long one look stays valid. A log that was lost after the look may never come to what the look found.
const RENEW: Duration = Duration::from_secs(1);

/// Looks at the log for a `sync`, until it is answered or its connection has ended.
pub async fn run(bus: Arc<Bus>, caller: Caller, mut ticket: SyncTicket) {
    loop {
        let look = tokio::select! {
            biased;
            () = ticket.ended() => return,
            look = bus.look(&caller) => look,
        };
        ticket.looked(look);
        if !ticket.needs_another(RENEW).await {
            return;
        }
    }
}
