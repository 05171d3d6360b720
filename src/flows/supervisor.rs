//! Runs a flow for as long as the node runs: takes its lease, starts it again after errors and panics, and ends it at the drain.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{Flow, FlowError, Lease, Turn};
use crate::bus::Bus;
use crate::metrics::Metrics;
use crate::supervision::TaskGroup;

/// Pause before a flow runs again, doubled after each failure in a row.
const PAUSE: Duration = Duration::from_millis(500);
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// A lease that this node did not get for so long is another node's.
const OTHERS: Duration = Duration::from_secs(5);
/// A run that lasted so long was no failure at the start.
const SOUND: Duration = Duration::from_secs(60);

/// Runs a flow until `stopping`. Then the flow has `grace` to end what it has begun. `node` names this process.
pub async fn supervise(
    flow: Arc<dyn Flow>,
    bus: Arc<Bus>,
    node: Arc<str>,
    metrics: Arc<Metrics>,
    stopping: CancellationToken,
    grace: Duration,
) {
    let (id, store) = (flow.id(), flow.id().store(&bus));
    let (label, guarded) = (id.label(), TaskGroup::new(metrics.clone()));
    let running = metrics.flows.running.get_or_create(&label).clone();
    let mut pause = PAUSE;
    while !stopping.is_cancelled() {
        let lease = match flow.is_exclusive() {
            true => {
                let taking = async {
                    let taking = Lease::take(&store, &node);
                    tokio::pin!(taking);
                    tokio::select! {
                        lease = &mut taking => return lease,
                        () = sleep(OTHERS) => {}
                    }
                    // Another node runs the flow, and shows its lag.
                    metrics.flows.show_no_lag(&label);
                    taking.await
                };
                match stopping.run_until_cancelled(taking).await {
                    Some(lease) => Some(lease),
                    None => break,
                }
            }
            false => None,
        };
        let turn = Turn { store: store.clone(), lease, stopping: stopping.clone() };
        tracing::info!(flow = id.kind, name = %id.name, "the flow runs on this node");
        running.set(1);
        let begun = Instant::now();
        // A panic is logged and counted, and drops the run.
        let ended = guarded.enter().run("flow", run(&*flow, &turn, grace)).await;
        running.set(0);
        if let Some(lease) = &turn.lease {
            lease.release(&store).await;
        }
        match ended {
            Some(Ok(())) if stopping.is_cancelled() => break,
            Some(Ok(())) => {
                tracing::error!(flow = id.kind, name = %id.name, "the flow ended by itself; it starts again");
            }
            Some(Err(FlowError::LeaseLost)) => {
                metrics.flows.show_no_lag(&label);
                tracing::warn!(flow = id.kind, name = %id.name, "the flow lost its lease; it waits for the next");
            }
            Some(Err(error)) => {
                tracing::error!(flow = id.kind, name = %id.name, %error, "the flow failed; it starts again");
            }
            None => {}
        }
        metrics.flows.restarts.get_or_create(&label).inc();
        pause = if begun.elapsed() >= SOUND { PAUSE } else { (pause * 2).min(MAX_PAUSE) };
        let _ = stopping.run_until_cancelled(sleep(pause)).await;
    }
    tracing::debug!(flow = id.kind, name = %id.name, "the flow has ended on this node");
}

/// One run, which ends at once when the lease is lost, and `grace` after the node was told to stop.
async fn run(flow: &dyn Flow, turn: &Turn, grace: Duration) -> Result<(), FlowError> {
    let lost = async {
        match &turn.lease {
            Some(lease) => lease.keep(&turn.store).await,
            None => std::future::pending().await,
        }
    };
    let work = async {
        let work = flow.run(turn);
        tokio::pin!(work);
        tokio::select! {
            ended = &mut work => return ended,
            () = turn.stopping.cancelled() => {}
        }
        // What does not end in time is done again, by the next holder.
        timeout_at(Instant::now() + grace, work).await.unwrap_or(Ok(()))
    };
    // The lease first: after this process stood still, it must do nothing before it knows that it lost the lease.
    tokio::select! {
        biased;
        error = lost => Err(error),
        ended = work => ended,
    }
}
