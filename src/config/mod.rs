//! The configuration in force: one struct a concern, each field a setting of the contract.
//!
//! This is what the rest of the program reads; where a value came from (flag, environment, file, default) is settled
//! before, in the layers, and does not matter here.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

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
    /// The folder of the user's own types.
    pub schemas: Option<PathBuf>,
    /// From SIGTERM to exit.
    pub drain: Duration,
}

/// The broker, and what its logs keep.
#[derive(Debug, Clone)]
pub struct BrokerConfig {
    pub broker: BrokerUrl,
    /// First part of every key and channel on Redis.
    pub prefix: String,
    pub namespace: String,
    pub log_max_events: u64,
    pub log_max_age: Duration,
    pub dedup_window: Duration,
}

/// Which backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BrokerUrl {
    /// In this process; nothing survives it.
    Memory,
    /// One of Redis' URLs.
    Redis(url::Url),
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
}

/// What a request may cost.
#[derive(Debug, Clone)]
pub struct RequestLimits {
    /// From accepting a connection to the end of a request's head.
    pub handshake_timeout: Duration,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For a terminal.
    Pretty,
    /// One JSON object a line.
    Json,
}
