//! Targets: the broker's URL as fred's configuration, with the timeouts and buffers that every connection has.
//!
//! A [`Target`] is a Redis that can be connected to, perhaps one that Sentinel names. It [resolves](Target::resolve) to an
//! [`Endpoint`], the server for one connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fred::clients::Client;
use fred::types::RespVersion;
use fred::types::config::{Config, ConnectionConfig, PerformanceConfig, Server, ServerConfig, TcpConfig, TlsConfig};

use super::errors::NO_ANSWER;
use super::sentinel_replies::{NamedMaster, SentinelService};
use super::tls::{self, tls};
use super::{BrokerError, CALL_TIMEOUT};
use crate::config::{Form, RedisUrl};
use crate::suggest::Known;

/// Commands that fred queues for a connection. It is more than
/// [`MAX_CONCURRENT_CALLS`](super::commands::MAX_CONCURRENT_CALLS) and the health checks together, because fred stops
/// flushing (it miscounts) once it has refused a command for a full queue.
const COMMAND_BUFFER: usize = 4096;

/// How long the kernel waits for a silent peer to acknowledge bytes (`TCP_USER_TIMEOUT`). Without it, a full socket blocks
/// fred's one task for ever.
const USER_TIMEOUT: Duration = Duration::from_secs(5);

/// What is said of a handshake that gets no answer or is cut off.
const SILENT: [&str; 3] = [NO_ANSWER, "Unexpected EOF", "reset by peer"];

/// What a connection needs beside the address: credentials, database and TLS.
#[derive(Clone, Default)]
pub(super) struct ConnectOptions {
    pub username: Option<String>,
    pub password: Option<String>,
    pub database: Option<u8>,
    pub tls: Option<TlsConfig>,
    /// Whether a server has accepted a connection with these options.
    pub accepted: Arc<AtomicBool>,
}

/// A Redis that can be connected to.
#[derive(Clone)]
pub(super) struct Target {
    config: Config,
    /// Names the server, if Sentinel does that. `config` has no server then.
    sentinel: Option<SentinelService>,
    /// See [`ConnectOptions`].
    accepted: Arc<AtomicBool>,
    /// The URL or address without a password, for log lines.
    pub name: String,
}

/// The server for one connection.
#[derive(Clone)]
pub(super) struct Endpoint {
    config: Config,
    master: Option<NamedMaster>,
    /// See [`ConnectOptions`].
    accepted: Arc<AtomicBool>,
}

impl ConnectOptions {
    /// The options that the URL gives.
    ///
    /// # Errors
    /// What is wrong with the URL, as a sentence without its passwords.
    pub fn of(url: &RedisUrl) -> Result<Self, String> {
        let known: &[&str] = match url.form {
            Form::Socket => &["db", "user", "username", "pass", "password"],
            Form::Sentinel => &["db", "sentinel_username", "sentinel_password"],
            Form::Server | Form::Cluster | Form::Rest => &[],
        };
        if let Some(name) = url.parameters().find(|name| !known.contains(name) && !tls::PARAMETERS.contains(name)) {
            let known = Known::new("parameters", known.iter().chain(&tls::PARAMETERS).copied());
            return Err(known.refuse(&format!("a {}:// URL has no parameter `{name}`", url.scheme), name));
        }
        // Other clients take the credentials of a socket's URL before the path or as parameters; so both are read.
        let from_parameter = |names: [&str; 2]| {
            names.into_iter().filter(|_| url.form == Form::Socket).find_map(|name| url.parameter(name))
        };
        let username = url.username.as_deref().or_else(|| from_parameter(["user", "username"]));
        let password = url.password.as_deref().or_else(|| from_parameter(["pass", "password"]));
        if username.is_some() && password.is_none() {
            return Err("a user name needs a password: USER:PASSWORD@, or USER:@ if it is empty".into());
        }
        let database = match url.form {
            Form::Server => url.path.strip_prefix('/').filter(|path| !path.is_empty()),
            Form::Socket | Form::Sentinel => url.parameter("db"),
            Form::Rest => None,
            Form::Cluster if url.path.trim_start_matches('/').is_empty() => None,
            Form::Cluster => return Err("a cluster has no databases: end the URL after the servers".into()),
        };
        let database =
            database.map(|number| number.parse().map_err(|_| "the database must be a number from 0 to 255".to_owned()));
        Ok(Self {
            username: username.map(str::to_owned),
            password: password.map(str::to_owned),
            database: database.transpose()?,
            tls: tls(url)?,
            accepted: Arc::default(),
        })
    }
}

impl ConnectOptions {
    fn config(&self, server: ServerConfig) -> Config {
        let Self { username, password, database, tls, accepted: _ } = self.clone();
        Config { server, username, password, database, tls, fail_fast: true, ..Config::default() }
    }
}

impl Target {
    /// The server that the URL itself names.
    ///
    /// # Errors
    /// As [`ConnectOptions::of`].
    pub fn new(url: &RedisUrl) -> Result<Self, String> {
        let options = ConnectOptions::of(url)?;
        let server = match url.servers.first() {
            Some((host, port)) => ServerConfig::new_centralized(host.as_str(), *port),
            None => ServerConfig::new_unix_socket(&*url.path),
        };
        let name = url.to_string();
        Ok(Self { config: options.config(server), sentinel: None, accepted: options.accepted, name })
    }

    /// The server at this address: a sentinel, or a node of a cluster.
    pub fn at(options: &ConnectOptions, server: Server) -> Self {
        let name = server.to_string();
        let config = options.config(ServerConfig::Centralized { server });
        Self { config, sentinel: None, accepted: options.accepted.clone(), name }
    }

    /// The server that the sentinels name as the master of `service`.
    pub fn behind_sentinel(options: &ConnectOptions, service: SentinelService, name: String) -> Self {
        let config = options.config(ServerConfig::default());
        Self { config, sentinel: Some(service), accepted: options.accepted.clone(), name }
    }

    /// The server to connect to now.
    ///
    /// # Errors
    /// Why the sentinels name no master.
    pub async fn resolve(&mut self) -> Result<Endpoint, BrokerError> {
        let mut config = self.config.clone();
        let accepted = self.accepted.clone();
        let Some(service) = &mut self.sentinel else { return Ok(Endpoint { config, master: None, accepted }) };
        let master = service.master().await?;
        config.server = ServerConfig::Centralized { server: master.server().clone() };
        Ok(Endpoint { config, master: Some(master), accepted })
    }

    /// Waits until [`resolve`](Self::resolve) may return another server than the last time. That never happens without
    /// Sentinel.
    pub async fn changed(&mut self) {
        match &mut self.sentinel {
            Some(service) => service.changed().await,
            None => std::future::pending().await,
        }
    }
}

impl Endpoint {
    /// The server that the sentinels named. `None` without Sentinel.
    pub fn named_master(&self) -> Option<&Server> {
        self.master.as_ref().map(NamedMaster::server)
    }

    /// Reports that the server calls itself a replica.
    pub fn report_replica(&self) {
        if let Some(master) = &self.master {
            master.report_replica();
        }
    }

    /// A client for one connection. It connects once and never again by itself; see [`link`](super::link).
    ///
    /// `message_buffer` pushed messages are buffered for a slow receiver.
    pub fn client(&self, version: RespVersion, message_buffer: usize) -> Client {
        let performance = PerformanceConfig {
            default_command_timeout: CALL_TIMEOUT,
            broadcast_channel_capacity: message_buffer,
            ..PerformanceConfig::default()
        };
        let connection = ConnectionConfig {
            connection_timeout: CALL_TIMEOUT,
            internal_command_timeout: CALL_TIMEOUT,
            // fred must not send a script again whose outcome is not known: the publisher decides that.
            max_command_attempts: 1,
            max_command_buffer_len: COMMAND_BUFFER,
            tcp: TcpConfig { nodelay: Some(true), user_timeout: Some(USER_TIMEOUT), ..TcpConfig::default() },
            ..ConnectionConfig::default()
        };
        Client::new(Config { version, ..self.config.clone() }, Some(performance), Some(connection), None)
    }

    /// Reports that the server has passed its handshake.
    pub fn report_accepted(&self) {
        self.accepted.store(true, Ordering::Relaxed);
    }

    /// The error of a handshake. Until the first one that succeeds, with the usual cause: TLS on one side only.
    pub fn explain(&self, error: BrokerError) -> BrokerError {
        let hint = |cause: &str| match cause {
            _ if self.accepted.load(Ordering::Relaxed) => "",
            _ if !SILENT.iter().any(|text| cause.contains(text)) => "",
            _ if self.config.uses_tls() => {
                "if its port does not use TLS, the broker's URL must begin with redis instead of rediss"
            }
            _ => "if its port uses TLS, the broker's URL must begin with rediss instead of redis",
        };
        let with_hint = |cause: String| match hint(&cause) {
            "" => cause,
            hint => format!("{}; {hint}", cause.trim_end_matches('.')),
        };
        match error {
            BrokerError::Unavailable(cause) => BrokerError::Unavailable(with_hint(cause)),
            BrokerError::Rejected(cause) => BrokerError::Rejected(with_hint(cause)),
            other => other,
        }
    }

    /// Whether the sentinels have named another master since. Replies of this server do not count then.
    pub fn is_superseded(&self) -> bool {
        self.master.as_ref().is_some_and(NamedMaster::is_superseded)
    }

    /// Waits until the sentinels name another master.
    pub async fn superseded(&mut self) {
        match &mut self.master {
            Some(master) => master.superseded().await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> RedisUrl {
        RedisUrl::parse(text).unwrap().unwrap()
    }

    fn target(text: &str) -> Result<Target, String> {
        Target::new(&read(text))
    }

    #[test]
    fn a_url_becomes_a_configuration() {
        let config = target("redis://al%40ice:s%3Acret@[::1]:7000/3").unwrap().config;
        assert_eq!(config.server, ServerConfig::new_centralized("::1", 7000));
        assert_eq!(config.username.as_deref(), Some("al@ice"));
        assert_eq!(config.password.as_deref(), Some("s:cret"));
        assert_eq!(config.database, Some(3));
        assert!(!config.uses_tls());
        assert!(target("rediss://localhost").unwrap().config.uses_tls());
        for text in [
            "redis+unix://u:p@/run/redis.sock?db=3",
            "redis+unix:///run/redis.sock?db=3&user=u&pass=p",
            "redis+unix:///run/redis.sock?username=u&password=p&db=3",
        ] {
            let config = target(text).unwrap().config;
            assert_eq!(config.server, ServerConfig::new_unix_socket("/run/redis.sock"));
            assert_eq!((config.username.as_deref(), config.password.as_deref()), (Some("u"), Some("p")));
            assert_eq!(config.database, Some(3));
        }
    }

    #[test]
    fn errors_about_a_url_do_not_contain_its_password() {
        for url in [
            "redis-cluster://:s3cret@h:1/1",
            "redis-sentinel://:s3cret@h:1/x?db=many",
            "redis://:s3cret@h:1/x",
            "redis://:s3cret@h:1/1/2",
            "redis://:s3cret@h:1/300",
            "redis://:s3cret@h:1?db=1",
            "redis://s3cret@h:1",
            "redis+unix:///path?user=s3cret",
        ] {
            let message = ConnectOptions::of(&read(url)).err().unwrap_or_else(|| panic!("{url} was accepted"));
            assert!(!message.is_empty() && !message.contains("s3cret"), "{url}: {message}");
        }
    }

    #[tokio::test]
    async fn a_server_that_was_connected_to_and_is_silent_does_not_lack_tls() {
        let mut target = target("redis://localhost").unwrap();
        let silent = || BrokerError::Unavailable(NO_ANSWER.into());
        let first = target.resolve().await.unwrap();
        assert!(first.explain(silent()).to_string().contains("rediss"));
        first.report_accepted();
        let later = target.resolve().await.unwrap();
        assert_eq!(later.explain(silent()).to_string(), silent().to_string());
    }
}
