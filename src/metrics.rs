//! What the daemon counts, in Prometheus' terms.
//!
//! Every label's values are known before the first request (types of the catalogue, codes of the contract): nothing that
//! a client sends makes a new series.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// The counters of one node.
#[derive(Debug)]
pub struct Metrics {
    pub connections: Gauge,
    pub subscriptions: Gauge,
    pub long_polls: Gauge,
    pub pending_connections: Gauge,
    pub published: Family<TypeLabel, Counter>,
    pub duplicates: Counter,
    pub relayed: Family<TypeLabel, Counter>,
    pub deliveries: Counter,
    pub replayed: Counter,
    pub compressed: Counter,
    pub gaps: Counter,
    pub log_reads: Counter,
    pub outbox_bytes: Gauge,
    pub slow_consumers: Counter,
    pub dead_peers: Counter,
    pub refusals: Family<CodeLabel, Counter>,
    pub append_seconds: Histogram,
    pub round_trip_seconds: Histogram,
    pub ready: Gauge,
    pub task_panics: Counter,
    registry: Registry,
}

/// An event type of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TypeLabel {
    pub r#type: Arc<str>,
}

/// An error code of the contract.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CodeLabel {
    pub code: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        // From 50 µs (in-process) to the time after which a publisher is answered 503.
        let seconds =
            || Histogram::new([50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 50e-3, 0.25, 1.0, 2.5]);
        let mut metrics = Self {
            connections: Gauge::default(),
            subscriptions: Gauge::default(),
            long_polls: Gauge::default(),
            pending_connections: Gauge::default(),
            published: Family::default(),
            duplicates: Counter::default(),
            relayed: Family::default(),
            deliveries: Counter::default(),
            replayed: Counter::default(),
            compressed: Counter::default(),
            gaps: Counter::default(),
            log_reads: Counter::default(),
            outbox_bytes: Gauge::default(),
            slow_consumers: Counter::default(),
            dead_peers: Counter::default(),
            refusals: Family::default(),
            append_seconds: seconds(),
            round_trip_seconds: seconds(),
            ready: Gauge::default(),
            task_panics: Counter::default(),
            registry: Registry::with_prefix("tidings"),
        };
        let mut registry = std::mem::take(&mut metrics.registry);
        let r = &mut registry;
        r.register("connections", "Open WebSockets and event streams", metrics.connections.clone());
        r.register("subscriptions", "Subscriptions of all connections", metrics.subscriptions.clone());
        r.register("long_polls", "Requests that wait for an event", metrics.long_polls.clone());
        r.register(
            "arriving",
            "Connections being made, and replays about to read the log",
            metrics.pending_connections.clone(),
        );
        r.register("events_published", "Events taken from publishers at this node, by type", metrics.published.clone());
        r.register(
            "events_duplicate",
            "Events that had been published before, by their id",
            metrics.duplicates.clone(),
        );
        r.register("events_relayed", "Events that came out of the broker, by type", metrics.relayed.clone());
        r.register("deliveries", "Events given to connections", metrics.deliveries.clone());
        r.register("replayed", "Events given to connections from the log", metrics.replayed.clone());
        r.register(
            "events_compressed",
            "Events compressed, each once for all who get it so",
            metrics.compressed.clone(),
        );
        r.register("gaps", "Ranges that the log had lost, one for each channel", metrics.gaps.clone());
        r.register("log_reads", "Reads of the log, each of which takes all that is new", metrics.log_reads.clone());
        r.register_with_unit("outbox", "What waits for slow sockets", Unit::Bytes, metrics.outbox_bytes.clone());
        r.register(
            "slow_consumers",
            "Connections ended for being too slow, WebSockets with 4008",
            metrics.slow_consumers.clone(),
        );
        r.register("dead_peers", "Connections closed with 4009", metrics.dead_peers.clone());
        r.register("refusals", "Requests and frames that were refused, by code", metrics.refusals.clone());
        r.register_with_unit(
            "broker_append",
            "From a publish to the broker's answer",
            Unit::Seconds,
            metrics.append_seconds.clone(),
        );
        r.register_with_unit(
            "broker_round_trip",
            "From the node through the broker's bus and back",
            Unit::Seconds,
            metrics.round_trip_seconds.clone(),
        );
        r.register("ready", "1 while the node can publish and receive", metrics.ready.clone());
        r.register("task_panics", "Tasks of connections and replays that panicked", metrics.task_panics.clone());
        metrics.registry = registry;
        metrics
    }
}

impl Metrics {
    /// Counts a refusal.
    pub fn refused(&self, code: &'static str) {
        self.refusals.get_or_create(&CodeLabel { code }).inc();
    }

    /// Notes how long the broker took to answer.
    pub fn appended(&self, took: Duration) {
        self.append_seconds.observe(took.as_secs_f64());
    }

    /// All of it in the OpenMetrics text format.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}
