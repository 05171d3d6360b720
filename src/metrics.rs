//! The metrics of one node, in the text formats of Prometheus and OpenMetrics.
//!
//! The values of every label are known before the first request: event types of the catalogue, and error codes of the
//! contract. So a client cannot create a new time series. This module does not know how the metrics are scraped.

mod audit;
mod bridges;
mod described;
mod flows;
mod registrar;
mod sinks;

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use audit::AuditMetrics;
use bridges::BridgeMetrics;
use described::Description;
pub use flows::{AttemptLabel, FlowLabel, FlowMetrics, WebhookLabel};
use registrar::Registrar;
use sinks::SinkMetrics;

/// The metrics of one node. The help texts in `Metrics::default` describe them.
#[derive(Debug)]
pub struct Metrics {
    pub connections: Gauge,
    pub connections_limit: Gauge,
    pub subscriptions: Gauge,
    pub long_polls: Gauge,
    pub latest_subjects: Family<TypeLabel, Gauge>,
    pub latest_evictions: Family<TypeLabel, Counter>,
    pub latest_requests: Counter,
    pub latest_reads: Counter,
    pub pending_connections: Gauge,
    pub published: Family<TypeLabel, Counter>,
    pub duplicates: Counter,
    pub cascaded: Counter,
    pub cascade_omissions: Counter,
    pub relayed: Family<TypeLabel, Counter>,
    pub deliveries: Counter,
    pub replayed: Counter,
    pub compressed: Counter,
    pub gaps: Counter,
    pub log_reads: Counter,
    pub syncs: Counter,
    pub sync_errors: Family<CodeLabel, Counter>,
    pub sync_seconds: Histogram,
    pub syncs_outstanding: Gauge,
    pub sync_connections: Gauge,
    pub sync_looks: Counter,
    pub outbox_bytes: Gauge,
    pub slow_consumers: Counter,
    pub dead_peers: Counter,
    pub refusals: Family<CodeLabel, Counter>,
    pub publish_seconds: Histogram,
    pub append_seconds: Histogram,
    pub held_seconds: Histogram,
    pub delivery_seconds: Histogram,
    pub round_trip_seconds: Histogram,
    pub ready: Gauge,
    pub task_panics: Counter,
    pub auth_refusals: Family<ReasonLabel, Counter>,
    pub auth_jwks_fetches: Family<ResultLabel, Counter>,
    pub auth_config_stale: Gauge,
    pub tls_handshake_failures: Counter,
    pub tls_reload_failures: Counter,
    pub tls_certificate_expiry: Gauge,
    pub flows: FlowMetrics,
    pub audit: AuditMetrics,
    pub bridges: BridgeMetrics,
    pub sinks: SinkMetrics,
    registry: Registry,
    descriptions: Vec<Description>,
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

/// The check that a credential failed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabel {
    pub reason: &'static str,
}

/// `ok` or `failed`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ResultLabel {
    pub result: &'static str,
}

/// Something that a gauge counts until this is dropped.
#[derive(Debug)]
pub struct Outstanding(Gauge);

impl Drop for Outstanding {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut r = Registrar::default();
        let metrics = Self {
            connections: r.add("connections", "Open WebSocket connections and event streams"),
            connections_limit: r.add("connections_limit", "The most connections of any kind that the node accepts (max_connections)"),
            subscriptions: r.add("subscriptions", "Open subscriptions of all connections"),
            long_polls: r.add("long_polls", "Long-poll requests that wait for an event"),
            latest_subjects: r.add("latest_subjects", "Subjects whose newest event the broker keeps, as this node last saw, by type"),
            latest_evictions: r.add("latest_evictions", "Subjects that lost their newest event to an append of this node, because there are more than latest_max_subjects"),
            latest_requests: r.add("latest_requests", "Requests for newest events, of one subject or a list"),
            latest_reads: r.add("latest_reads", "Reads of the broker for the newest event of one subject; requests within 2 s share one"),
            pending_connections: r.add("arriving", "Pending connections: not subscribed yet, or waiting to read the log for a replay"),
            published: r.add("events_published", "Events that publishers appended through this node, by type"),
            duplicates: r.add("events_duplicate", "Published events dropped because their id was published before"),
            cascaded: r.add("events_cascaded", "Cache invalidations that published events caused by the [[cascade]] rules"),
            cascade_omissions: r.add("cascade_omissions", "Templates of cascades left out: a value was absent or empty, or the text too long"),
            relayed: r.add("events_relayed", "Events from the broker given to the fan-out, by type"),
            deliveries: r.add("deliveries", "Live events sent to connections, counted once for each connection"),
            replayed: r.add("replayed", "Events and gaps sent to connections from the log, by replays"),
            compressed: r.add("events_compressed", "Events compressed; each is compressed once for all connections"),
            gaps: r.add("gaps", "Gaps: lost ranges of a channel that were reported to subscribers"),
            log_reads: r.add("log_reads", "Reads of the log for new events"),
            syncs: r.add("syncs", "Syncs of connections that were answered with synced"),
            sync_errors: r.add("sync_errors", "Syncs of connections that were answered with an error, by error code"),
            sync_seconds: r.seconds("sync_round_trip", "Time from a sync that came until its synced was sent or queued"),
            syncs_outstanding: r.add("syncs_outstanding", "Syncs of connections without an answer"),
            sync_connections: r.add("sync_connections", "Open connections that have sent a sync, as caches do"),
            sync_looks: r.add("sync_looks", "Looks at the heads of the subscribed channels; all syncs that wait at a time share one"),
            outbox_bytes: r.with_unit("outbox", "Memory of frames queued for slow connections", Unit::Bytes),
            slow_consumers: r.add("slow_consumers", "Connections closed because their send buffer was full; WebSockets with 4008"),
            dead_peers: r.add("dead_peers", "Connections closed with 4009 after missed heartbeats"),
            refusals: r.add("refusals", "Refused requests and frames, by error code"),
            publish_seconds: r.seconds("publish", "Time from a publisher's whole request to its answer, 202 or broker-unavailable"),
            append_seconds: r.seconds("broker_append", "Time from an append to the broker's reply"),
            held_seconds: r.seconds("publish_held", "Time that publishers' answers were held back because too many events were in flight"),
            delivery_seconds: r.seconds("delivery_delay", "Time from the relay until most of a sample of subscribers had read an event; sampled under load only"),
            round_trip_seconds: r.seconds("broker_round_trip", "Time of a probe from this node through the broker's bus and back"),
            ready: r.add("ready", "1 while the node can publish and receive"),
            task_panics: r.add("task_panics", "Tasks of connections and replays that panicked"),
            auth_refusals: r.add("auth_refusals", "Refused credentials, by the check that failed"),
            auth_jwks_fetches: r.add("auth_jwks_fetches", "Fetches of the keys that issuers publish, by result"),
            auth_config_stale: r.add("auth_config_stale", "1 while the access configuration on disk has a mistake or is deleted, and the one before is in force"),
            tls_handshake_failures: r.add("tls_handshake_failures", "Connections ended because the client broke TLS, did not use it, or had no valid certificate"),
            tls_reload_failures: r.add("tls_reload_failures", "Changes of the TLS files that could not be used"),
            tls_certificate_expiry: r.with_unit("tls_certificate_expiry", "When the certificate of this node ends, in seconds since 1970; 0 without TLS", Unit::Seconds),
            flows: FlowMetrics::new(&mut r),
            audit: AuditMetrics::new(&mut r),
            bridges: BridgeMetrics::new(&mut r),
            sinks: SinkMetrics::new(&mut r),
            registry: r.registry,
            descriptions: r.descriptions,
        };
        // A rate needs a sample from before the first error.
        for code in ["broker-unavailable", "invalid-frame", "rate-limited"] {
            drop(metrics.sync_errors.get_or_create(&CodeLabel { code }));
        }
        metrics
    }
}

impl Metrics {
    /// Counts a refusal.
    pub fn refused(&self, code: &'static str) {
        self.refusals.get_or_create(&CodeLabel { code }).inc();
    }

    /// Counts a `sync` that is answered with an error.
    pub fn sync_failed(&self, code: &'static str) {
        self.sync_errors.get_or_create(&CodeLabel { code }).inc();
    }

    /// Counts a `sync` among the outstanding ones, until what this returns is dropped.
    pub fn sync_outstanding(&self) -> Outstanding {
        self.syncs_outstanding.inc();
        Outstanding(self.syncs_outstanding.clone())
    }

    /// Counts a refused credential.
    pub fn credential_refused(&self, reason: &'static str) {
        self.auth_refusals.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Counts a fetch of keys.
    pub fn jwks_fetched(&self, ok: bool) {
        let result = if ok { "ok" } else { "failed" };
        self.auth_jwks_fetches.get_or_create(&ResultLabel { result }).inc();
    }

    /// Records the time that the broker took for an append.
    pub fn appended(&self, took: Duration) {
        self.append_seconds.observe(took.as_secs_f64());
    }

    /// All metrics in the text format 0.0.4 of Prometheus.
    ///
    /// It differs from OpenMetrics in the metadata: a counter is described under the name of its sample, `…_total`, and
    /// there are neither units nor a last line.
    pub fn prometheus(&self) -> String {
        let mut text = String::new();
        let mut help = None;
        for line in self.openmetrics().lines() {
            let mut words = line.splitn(4, ' ');
            match (words.next(), words.next(), words.next(), words.next()) {
                // The help of a metric precedes its type.
                (Some("#"), Some("HELP"), _, Some(words)) => help = Some(words.to_owned()),
                (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                    let name = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
                    if let Some(help) = help.take() {
                        text.push_str(&format!("# HELP {name} {help}\n"));
                    }
                    text.push_str(&format!("# TYPE {name} {kind}\n"));
                }
                (Some("#"), ..) => {}
                _ => {
                    text.push_str(line);
                    text.push('\n');
                }
            }
        }
        text
    }

    /// All metrics in the OpenMetrics text format.
    pub fn openmetrics(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }

    /// What each metric is called and says, those without samples too.
    pub fn descriptions(&self) -> &[Description] {
        &self.descriptions
    }
}
