//! The configuration in force: one struct a concern, each field a setting of the contract.
//!
//! [`load`] puts it together from its layers and refuses what cannot be right; the rest of the program reads the typed
//! [`Config`] and does not know where a value came from. `tidings.default.toml` lists the settings and describes them.

mod broker_url;
mod layers;
mod redis_url;
mod setting;
mod value;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use broker_url::BrokerUrl;
pub use layers::{Mistakes, Source, Sources};
pub use redis_url::{Form, RedisUrl};
pub use setting::{DEFAULTS, Setting, settings};

use layers::{Given, Layers};

/// Everything that `serve` needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    pub server: ServerConfig,
    pub broker: BrokerConfig,
    pub websocket: WebSocketConfig,
    pub limits: RequestLimits,
    pub log: LogConfig,
}

/// The node: where it listens, what it is called, what it serves.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Allows an address that is not loopback without authentication.
    pub insecure: bool,
    /// The node's id; random where it is not set.
    pub node_id: String,
    /// Where others reach this node; `listen` where it is not set.
    pub advertise: Option<String>,
    /// The folder of the user's own types.
    pub schemas: Option<PathBuf>,
    /// From SIGTERM to exit.
    pub drain: Duration,
    /// From the last sign of the broker until connections are sent away. Not a setting: for tests.
    pub partitioned_after: Duration,
}

/// See [`ServerConfig::partitioned_after`].
const CUT_OFF_AFTER: Duration = Duration::from_secs(15);

/// The broker, and what its logs keep.
#[derive(Debug, Clone)]
pub struct BrokerConfig {
    pub broker: BrokerUrl,
    pub file_sync: FileSync,
    /// First part of every key and channel on Redis.
    pub prefix: String,
    pub namespace: String,
    pub log_max_events: u64,
    pub log_max_age: Duration,
    pub dedup_window: Duration,
}

/// When a broker in files answers a publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FileSync {
    /// When the system has the events: they survive the process, however it ends.
    #[default]
    Os,
    /// When they are on the disk: they survive a loss of power.
    Always,
}

/// What a WebSocket connection may cost and how it is kept alive.
#[derive(Debug, Clone)]
pub struct WebSocketConfig {
    pub heartbeat: Duration,
    /// Bytes of a message from a client.
    pub max_frame_bytes: usize,
    /// Subscriptions of a connection.
    pub max_subscriptions: usize,
    /// Bytes that wait for a connection's socket.
    pub outbox_bytes: usize,
    /// Whether clients may have their events compressed.
    pub compression: bool,
}

/// What a request may cost.
#[derive(Debug, Clone)]
pub struct RequestLimits {
    /// From accepting a connection to the end of a request's head.
    pub handshake_timeout: Duration,
    /// Connections that are being made, or read the log from where they were.
    pub max_pending_connections: usize,
    /// One event as JSON.
    pub max_event_bytes: usize,
    /// The body of a request.
    pub max_body_bytes: usize,
}

/// How the daemon logs.
#[derive(Debug, Clone)]
pub struct LogConfig {
    pub format: LogFormat,
    /// A tracing-subscriber filter: `info`, `tidings=debug,warn`.
    pub level: String,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For a terminal.
    Pretty,
    /// One JSON object a line.
    #[default]
    Json,
}

/// A configuration, and what is to be said of it.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    /// Every setting, in the order of the file of defaults.
    pub values: Vec<InForce>,
    /// What is odd but no mistake, a sentence each.
    pub warnings: Vec<String>,
}

/// The value of one setting, and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InForce {
    pub name: &'static str,
    /// As text, without secrets; `None` where the setting has no value.
    pub value: Option<String>,
    pub source: Source,
}

/// Puts the configuration together.
///
/// # Errors
/// All [`Mistakes`] that were found: unknown keys, values of the wrong form, a file that cannot be read, and an address
/// that would open an unprotected bus to others.
pub fn load(sources: Sources) -> Result<Loaded, Mistakes> {
    let log_format = sources.log_format;
    let mut layers = Layers::read(sources);
    let from = &mut layers;
    let config = Config {
        server: ServerConfig {
            listen: from.required("listen", value::address),
            insecure: from.required("insecure", value::switch),
            node_id: from.optional("node_id", value::name).unwrap_or_else(random_node_id),
            advertise: from.optional("advertise", value::host_and_port),
            schemas: from.optional("schemas", value::path),
            drain: from.required("drain", value::duration_or_zero),
            partitioned_after: CUT_OFF_AFTER,
        },
        broker: BrokerConfig {
            broker: from.required("broker", BrokerUrl::parse),
            file_sync: from.required("file_sync", value::file_sync),
            prefix: from.required("prefix", value::prefix),
            namespace: from.required("namespace", value::name),
            log_max_events: from.required("log_max_events", value::count),
            log_max_age: from.required("log_max_age", value::duration),
            dedup_window: from.required("dedup_window", value::duration),
        },
        websocket: WebSocketConfig {
            heartbeat: from.required("heartbeat", value::duration),
            max_frame_bytes: from.required("max_frame_bytes", value::bytes),
            max_subscriptions: from.required("max_subscriptions", value::count) as usize,
            outbox_bytes: from.required("outbox_bytes", value::bytes),
            compression: from.required("compression", value::switch),
        },
        limits: RequestLimits {
            handshake_timeout: from.required("handshake_timeout", value::duration),
            max_pending_connections: from.required("max_pending_connections", value::count) as usize,
            max_event_bytes: from.required("max_event_bytes", value::bytes),
            max_body_bytes: from.required("max_body_bytes", value::bytes),
        },
        log: LogConfig {
            format: from.optional("log_format", value::log_format).unwrap_or(log_format),
            level: from.required("log_level", value::log_level),
        },
    };
    check(&config, from);
    if !layers.mistakes.is_empty() {
        return Err(Mistakes(layers.mistakes));
    }
    let values = settings().iter().map(|setting| in_force(setting, layers.given(setting.name), &config)).collect();
    Ok(Loaded { config, values, warnings: layers.warnings })
}

/// What is wrong or odd about values that are each right by themselves.
fn check(config: &Config, layers: &mut Layers) {
    let listen = config.server.listen;
    if !listen.ip().to_canonical().is_loopback() && !config.server.insecure {
        let source = layers.given("listen").map_or(Source::Default, |given| given.source.clone());
        layers.mistakes.push(format!(
            "listen ({source}): {listen} is not loopback, and without authentication whoever reaches it could publish \
             and subscribe; listen on 127.0.0.1, or allow it with --insecure"
        ));
    }
    if let Err(missing) = config.broker.broker.supported() {
        let source = layers.given("broker").map_or(Source::Default, |given| given.source.clone());
        layers.mistakes.push(format!("broker ({source}): {missing}"));
    }
    for (name, limit) in
        [("max_body_bytes", config.limits.max_body_bytes), ("outbox_bytes", config.websocket.outbox_bytes)]
    {
        if limit < config.limits.max_event_bytes {
            layers.warnings.push(format!("{name} is smaller than max_event_bytes: the largest events cannot pass"));
        }
    }
}

fn in_force(setting: &'static Setting, given: Option<&Given>, config: &Config) -> InForce {
    let value = match (setting.name, given) {
        ("broker", _) => Some(config.broker.broker.to_string()),
        (_, Some(given)) => Some(given.text.clone()),
        (_, None) => setting.default.map(str::to_owned),
    };
    InForce { name: setting.name, value, source: given.map_or(Source::Default, |given| given.source.clone()) }
}

/// Short enough to read in a log, long enough not to meet another (40 random bits).
fn random_node_id() -> String {
    format!("node-{}", crate::event::Epoch::random())
}

#[cfg(test)]
mod tests;
