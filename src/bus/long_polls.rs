//! The long-polls that wait, so that `GET /v1/connections` can list them.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::gauge::Gauge;
use slab::Slab;
use uuid::Uuid;

use super::survey::{ConnectionRow, ConnectionTransport, Survey, visit_slice};
use crate::access::{Caller, Principal};

/// The long-polls of one namespace.
#[derive(Debug, Default)]
pub struct LongPolls(Mutex<Slab<Waiting>>);

#[derive(Debug)]
struct Waiting {
    id: Uuid,
    address: IpAddr,
    principal: Option<Arc<Principal>>,
    channels: usize,
}

/// A long-poll, which is listed and counted until this is dropped.
pub(super) struct LongPoll<'a> {
    polls: &'a LongPolls,
    slot: usize,
    gauge: &'a Gauge,
}

impl LongPolls {
    /// Lists a long-poll of the caller.
    pub(super) fn begin<'a>(
        &'a self,
        caller: &Caller,
        address: IpAddr,
        channels: usize,
        gauge: &'a Gauge,
    ) -> LongPoll<'a> {
        let waiting = Waiting { id: Uuid::now_v7(), address, principal: caller.principal().cloned(), channels };
        gauge.inc();
        LongPoll { polls: self, slot: self.lock().insert(waiting), gauge }
    }

    /// Counts and lists the long-polls. Those that begin and end wait for a slice at most.
    pub fn survey(&self, survey: &mut Survey) {
        let mut next = Some(0);
        while let Some(from) = next {
            let waiting = self.lock();
            next = visit_slice(from, waiting.capacity(), |slot| {
                let Some(poll) = waiting.get(slot) else { return };
                let row = || ConnectionRow {
                    id: poll.id,
                    transport: ConnectionTransport::LongPoll,
                    address: poll.address,
                    port: None,
                    principal: poll.principal.clone(),
                    subscriptions: poll.channels,
                    buffered: 0,
                    delivered: 0,
                };
                survey.visit(poll.id, || 0, row);
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Slab<Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for LongPoll<'_> {
    fn drop(&mut self) {
        self.polls.lock().remove(self.slot);
        self.gauge.dec();
    }
}
