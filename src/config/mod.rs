//! The configuration of the daemon: one struct for each concern, one field for each setting.
//!
//! [`load`] merges flags, environment, file and defaults, and refuses invalid values. The rest of the program reads the
//! typed [`Config`] and does not know where a value came from. `tidings.default.toml` lists and describes the settings.

mod audit;
mod broker_url;
mod cascades;
mod edge;
mod flow_tables;
mod layers;
mod redis_url;
mod setting;
mod shown;
mod source;
pub(crate) mod toml_tree;
mod types;
mod value;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use audit::{AuditConfig, OnFailure};
pub use broker_url::BrokerUrl;
pub use cascades::CascadeTables;
pub use edge::{EdgeConfig, hosts, networks, origins};
pub use flow_tables::{BRIDGE, FlowTable, FlowTables, SINK, WEBHOOK};
pub(crate) use layers::read_error;
pub use layers::{Mistakes, Sources};
pub use redis_url::{Form, RedisUrl};
pub use setting::{DEFAULTS, Setting, settings};
pub use shown::ShownMember;
pub use source::Source;
pub use types::TypeTables;
pub(crate) use value::switch;
pub use value::{duration, duration_or_zero};

use layers::{Given, Layers};

use crate::event::TypeSettings;
use crate::secret::exposed;

/// All settings of `tidings serve`.
#[derive(Debug, Clone)]
pub struct Config {
    pub server: ServerConfig,
    pub broker: BrokerConfig,
    pub websocket: WebSocketConfig,
    pub limits: RequestLimits,
    pub log: LogConfig,
    /// TLS on the listener; `None` serves plain HTTP.
    pub tls: Option<TlsConfig>,
    pub edge: EdgeConfig,
    pub auth: AuthConfig,
    /// The `[[cascade]]` tables. Only a file has them.
    pub cascades: Option<CascadeTables>,
    /// The `[types.NAME]` tables. Only a file has them.
    pub types: Option<TypeTables>,
    /// The `[[webhook]]`, `[[bridge]]` and `[[sink]]` tables. Only a file has them.
    pub flows: FlowTables,
    /// The table `[audit]`. Only a file has it. `None`: there is no audit.
    pub audit: Option<AuditConfig>,
}

/// Who may do what.
#[derive(Debug, Clone, Default)]
pub struct AuthConfig {
    /// The file `auth.toml`. Without it everybody may do everything.
    pub file: Option<PathBuf>,
}

/// The node: its address, its name, its event types.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// The address to listen on. Port 0 takes a free port.
    pub listen: SocketAddr,
    /// Allows an address that is not loopback without authentication.
    pub insecure: bool,
    /// The node's id; random by default.
    pub node_id: String,
    /// The address at which others reach this node; `listen` by default.
    pub advertise: Option<String>,
    /// The folder of the user's own event types.
    pub schemas: Option<PathBuf>,
    /// The time from SIGTERM to the drain, in which the node serves but is not ready.
    pub drain_notice: Duration,
    /// The time from the begin of the drain to the exit.
    pub drain: Duration,
    /// How long the node may be partitioned from its broker before it closes its connections with 1013. Not a setting: only
    /// tests change it.
    pub partitioned_after: Duration,
}

/// See [`ServerConfig::partitioned_after`].
const PARTITIONED_AFTER: Duration = Duration::from_secs(15);

/// The broker, and the retention of its logs.
#[derive(Debug, Clone)]
pub struct BrokerConfig {
    /// The backend.
    pub broker: BrokerUrl,
    /// When an append to the broker `file` is acknowledged.
    pub file_sync: FileSync,
    /// How often an idle node asks the broker: for its readiness, for the heads of the logs, and for its other nodes.
    pub pulse: Duration,
    /// What the nodes publish on Redis pub/sub.
    pub bus_message: BusMessage,
    /// The first part of every key and channel name on Redis.
    pub prefix: String,
    /// Separates several buses on one Redis.
    pub namespace: String,
    /// Retention: events of each channel.
    pub log_max_events: u64,
    /// Retention: the age of an event.
    pub log_max_age: Duration,
    /// The most subjects of a type whose newest event is kept.
    pub latest_max_subjects: u64,
    /// Settings of types, by their names. A type's schema may have others, which count where these say nothing.
    pub types: BTreeMap<String, TypeSettings>,
    /// How long the id of an event is remembered for deduplication.
    pub dedup_window: Duration,
}

/// When the broker `file` acknowledges an append to the publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FileSync {
    /// When the operating system has the events: they survive a crash of the daemon.
    #[default]
    Os,
    /// When the events are on the disk: they survive a power failure.
    Always,
}

/// What a node publishes on Redis pub/sub when it has appended events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BusMessage {
    /// Each event, as an `event` frame.
    #[default]
    Event,
    /// The position of the newest event. Nodes read no more than that of a message.
    Position,
}

impl BusMessage {
    /// The value of the setting.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Position => "position",
        }
    }
}

/// The limits and the heartbeat of a WebSocket connection.
#[derive(Debug, Clone)]
pub struct WebSocketConfig {
    /// The interval of the heartbeat. Two intervals without a sign of life close the connection.
    pub heartbeat: Duration,
    /// The maximum size of a message from a client, in bytes.
    pub max_frame_bytes: usize,
    /// The maximum number of subscriptions of a connection.
    pub max_subscriptions: usize,
    /// The size of a connection's send buffer, in bytes.
    pub outbox_bytes: usize,
    /// Whether the daemon compresses events for clients that offer permessage-deflate.
    pub compression: bool,
}

/// The limits of a request.
#[derive(Debug, Clone)]
pub struct RequestLimits {
    /// The maximum time from accepting a connection to the end of the request head.
    pub handshake_timeout: Duration,
    /// The maximum number of connections that are in the handshake or replay the log.
    pub max_pending_connections: usize,
    /// The maximum size of one event as JSON, in bytes.
    pub max_event_bytes: usize,
    /// The maximum size of a request body, in bytes.
    pub max_body_bytes: usize,
}

/// The daemon's own log.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// The form of each line.
    pub format: LogFormat,
    /// A filter of tracing-subscriber, such as `info` or `tidings=debug,warn`.
    pub level: String,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Text with colours, for a terminal.
    Pretty,
    /// One JSON object per line.
    #[default]
    Json,
}

/// The files of the listener's TLS, in PEM form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// The certificate, followed by the intermediate ones.
    pub cert: PathBuf,
    /// The private key of the certificate.
    pub key: PathBuf,
    /// The authorities of client certificates. With them, a client without a certificate is refused.
    pub client_ca: Option<PathBuf>,
}

/// A configuration, the source of each value, and warnings.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration in force.
    pub config: Config,
    /// Every setting, in the order of the defaults file.
    pub values: Vec<InForce>,
    /// The members of the tables: `[audit]`, `[types.NAME]`, `[[cascade]]` and those of flows.
    pub tables: Vec<ShownMember>,
    /// Values that are suspicious but valid, one sentence each.
    pub warnings: Vec<String>,
}

impl Loaded {
    /// The names of the settings whose value differs from `other`, and of the tables that do: `cascade`, `types`, `audit`,
    /// `webhook`.
    pub fn changed_since(&self, other: &Self) -> impl Iterator<Item = &'static str> {
        let same_rules = cascades::same(self.config.cascades.as_ref(), other.config.cascades.as_ref());
        let same_types = types::same(self.config.types.as_ref(), other.config.types.as_ref());
        let same_audit = self.config.audit == other.config.audit;
        let pairs = self.values.iter().zip(&other.values);
        let broker_changed = self.config.broker.broker != other.config.broker.broker;
        // The shown value of the broker leaves out its password.
        pairs
            .filter(move |(new, old)| new.value != old.value || (new.name == "broker" && broker_changed))
            .map(|(new, _)| new.name)
            .chain((!same_rules).then_some(cascades::CASCADE))
            .chain((!same_types).then_some(types::TYPES))
            .chain(self.config.flows.changed_since(&other.config.flows))
            .chain((!same_audit).then_some(audit::AUDIT))
    }
}

/// The value of one setting in force, and its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InForce {
    /// The name of the setting.
    pub name: &'static str,
    /// The value as text, without secrets; `None` for a setting that has no value.
    pub value: Option<String>,
    /// Where the value came from.
    pub source: Source,
}

/// Merges the sources to a configuration and checks it.
///
/// # Errors
/// All [`Mistakes`] at once: unknown keys, malformed values, an unreadable file, a broker that this build lacks, and an
/// address that would expose a bus without authentication.
pub fn load(sources: Sources) -> Result<Loaded, Mistakes> {
    let log_format = sources.log_format;
    let mut layers = Layers::read(sources);
    let from = &mut layers;
    let mut config = Config {
        server: ServerConfig {
            listen: from.required("listen", value::address),
            insecure: from.required("insecure", switch),
            node_id: from.optional("node_id", value::name).unwrap_or_else(random_node_id),
            advertise: from.optional("advertise", value::host_and_port),
            schemas: from.optional("schemas", value::path),
            drain_notice: from.required("drain_notice", duration_or_zero),
            drain: from.required("drain", duration_or_zero),
            partitioned_after: PARTITIONED_AFTER,
        },
        broker: BrokerConfig {
            broker: from.required("broker", BrokerUrl::parse),
            file_sync: from.required("file_sync", value::file_sync),
            pulse: from.required("broker_pulse", value::pulse),
            bus_message: from.required("bus_message", value::bus_message),
            prefix: from.required("prefix", value::prefix),
            namespace: from.required("namespace", value::name),
            log_max_events: from.required("log_max_events", value::count),
            log_max_age: from.required("log_max_age", duration),
            latest_max_subjects: from.required("latest_max_subjects", value::count),
            // Read when the types are known: see `Config::types`.
            types: BTreeMap::new(),
            dedup_window: from.required("dedup_window", duration),
        },
        websocket: WebSocketConfig {
            heartbeat: from.required("heartbeat", duration),
            max_frame_bytes: from.required("max_frame_bytes", value::bytes),
            max_subscriptions: from.required("max_subscriptions", value::count) as usize,
            outbox_bytes: from.required("outbox_bytes", value::bytes),
            compression: from.required("compression", switch),
        },
        limits: RequestLimits {
            handshake_timeout: from.required("handshake_timeout", duration),
            max_pending_connections: from.required("max_pending_connections", value::count) as usize,
            max_event_bytes: from.required("max_event_bytes", value::bytes),
            max_body_bytes: from.required("max_body_bytes", value::bytes),
        },
        log: LogConfig {
            format: from.optional("log_format", value::log_format).unwrap_or(log_format),
            level: from.required("log_level", value::log_level),
        },
        auth: AuthConfig { file: from.optional("auth", value::path) },
        edge: EdgeConfig::read(from),
        tls: tls(from),
        cascades: from.cascades.take(),
        types: from.types.take(),
        flows: std::mem::take(&mut from.flows),
        audit: from.audit.take(),
    };
    if let Some(pulse) = config.broker.broker.usual_pulse().filter(|_| from.given("broker_pulse").is_none()) {
        config.broker.pulse = pulse;
    }
    check(&config, from);
    if !layers.mistakes.is_empty() {
        return Err(Mistakes(layers.mistakes));
    }
    let values = settings().iter().map(|setting| in_force(setting, layers.given(setting.name), &config)).collect();
    Ok(Loaded { config, values, tables: layers.tables, warnings: layers.warnings })
}

/// The TLS of the listener: a certificate and its key belong together, and client certificates need both.
fn tls(layers: &mut Layers) -> Option<TlsConfig> {
    let [cert, key, client_ca] = ["tls_cert", "tls_key", "tls_client_ca"]
        .map(|name| layers.optional(name, value::path).map(|path| (name, path)));
    match (cert, key, client_ca) {
        (Some((_, cert)), Some((_, key)), client_ca) => {
            Some(TlsConfig { cert, key, client_ca: client_ca.map(|(_, path)| path) })
        }
        (None, None, None) => None,
        (cert, key, client_ca) => {
            let missing = match (&cert, &key) {
                (Some(_), _) => "tls_key, the private key of the certificate",
                (_, Some(_)) => "tls_cert, the certificate of the key",
                _ => "tls_cert and tls_key, the certificate of this node and its private key",
            };
            if let Some((name, _)) = cert.or(key).or(client_ca) {
                let source = layers.given(name).map_or(Source::Default, |given| given.source.clone());
                layers.mistakes.push(format!("{name} ({source}): TLS needs {missing}, too"));
            }
            None
        }
    }
}

/// Checks rules that involve several settings, or more than the form of a value.
fn check(config: &Config, layers: &mut Layers) {
    let given = |layers: &Layers, name: &str| layers.given(name).map_or(Source::Default, |given| given.source.clone());
    let open = config.auth.file.is_none();
    let is_reachable = |address: &SocketAddr| open && !address.ip().to_canonical().is_loopback();
    let (listen, admin_listen) = (config.server.listen, config.edge.admin_listen);
    for (name, address, could) in [
        ("listen", Some(listen), "publish and subscribe"),
        ("admin_listen", admin_listen, "read about the nodes and their connections"),
    ] {
        let Some(address) = address.filter(|address| is_reachable(address) && !config.server.insecure) else {
            continue;
        };
        let source = given(layers, name);
        layers.mistakes.push(format!(
            "{name} ({source}): {address} is not a loopback address, and without authentication anybody who reaches it could \
             {could}; listen on 127.0.0.1, set up authentication with --auth, or allow it with --insecure"
        ));
    }
    if admin_listen == Some(listen) && listen.port() != 0 {
        let source = given(layers, "admin_listen");
        layers
            .mistakes
            .push(format!("admin_listen ({source}): {listen} is the address of listen: give it another port"));
    }
    if is_reachable(&listen) && config.server.insecure && config.edge.allowed_hosts.is_empty() {
        layers.warnings.push(format!(
            "allowed_hosts is empty, so requests to {listen} are refused with 421 unless they name a loopback host: list the \
             names and addresses under which clients reach this daemon"
        ));
    }
    if config.edge.publish_burst.is_some() && config.edge.publish_rate.is_none() {
        layers.warnings.push("publish_burst has no effect without publish_rate: set publish_rate".into());
    }
    if let Err(missing) = config.broker.broker.supported() {
        let source = layers.given("broker").map_or(Source::Default, |given| given.source.clone());
        layers.mistakes.push(format!("broker ({source}): {missing}"));
    }
    if let Some(tls) = &config.tls {
        layers.warnings.extend(exposed(&tls.key, "the private key of TLS (tls_key)"));
    }
    if let BrokerUrl::Redis(url) = &config.broker.broker
        && let Some(key) = url.parameter("key")
    {
        layers.warnings.extend(exposed(Path::new(key), "the private key for Redis (`key` in broker)"));
    }
    for (name, limit) in
        [("max_body_bytes", config.limits.max_body_bytes), ("outbox_bytes", config.websocket.outbox_bytes)]
    {
        if limit < config.limits.max_event_bytes {
            layers.warnings.push(format!("{name} is smaller than max_event_bytes, so the largest events do not fit: raise {name}, or lower max_event_bytes"));
        }
    }
}

fn in_force(setting: &'static Setting, given: Option<&Given>, config: &Config) -> InForce {
    let value = match (setting.name, given) {
        ("broker", _) => Some(config.broker.broker.to_string()),
        (_, Some(given)) => Some(given.text.clone()),
        ("broker_pulse", None) => Some(format!("{}s", config.broker.pulse.as_secs())),
        (_, None) => setting.default.map(str::to_owned),
    };
    InForce { name: setting.name, value, source: given.map_or(Source::Default, |given| given.source.clone()) }
}

/// A random node id of 40 bits: short in a log, and a collision is very unlikely.
fn random_node_id() -> String {
    format!("node-{}", crate::event::Epoch::random())
}

#[cfg(test)]
mod tests;
