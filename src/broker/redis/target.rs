//! Where Redis is and how one gets in: the broker's URL as fred's configuration, with the bounds that every connection has.

use std::time::Duration;

use fred::clients::Client;
use fred::types::RespVersion;
use fred::types::config::{Config, ConnectionConfig, PerformanceConfig, Server, ServerConfig, TcpConfig, TlsConfig};

use super::ANSWER;
use super::sentinel::{Master, Named};
use super::tls::{self, tls};
use crate::config::{Form, RedisUrl};

/// Commands that may wait in fred for their turn: more than [`CALLS`](super::commands::CALLS) and the pulse together,
/// because fred stops flushing (it miscounts) once it has refused one for want of room.
const COMMAND_BUFFER: usize = 4096;

/// How long the kernel tries to get bytes to a silent peer. Without it a full socket holds fred's one task for ever.
const USER_TIMEOUT: Duration = Duration::from_secs(5);

/// What a server wants to know before it answers.
#[derive(Clone, Default)]
pub(super) struct Access {
    pub username: Option<String>,
    pub password: Option<String>,
    pub database: Option<u8>,
    pub tls: Option<TlsConfig>,
}

/// A Redis that can be connected to.
#[derive(Clone)]
pub(super) struct Target {
    config: Config,
    /// Who says where it is, if that changes; `config` has no server then.
    master: Option<Master>,
    /// Without a password, for log lines.
    pub name: String,
}

/// Where Redis is for one connection.
#[derive(Clone)]
pub(super) struct Place {
    config: Config,
    named: Option<Named>,
}

impl Access {
    /// What the URL says of it.
    ///
    /// # Errors
    /// What is wrong with the URL, as a sentence without its passwords.
    pub fn of(url: &RedisUrl) -> Result<Self, String> {
        let own: &[&str] = match url.form {
            Form::Socket => &["db", "user", "username", "pass", "password"],
            Form::Sentinel => &["db", "sentinel_username", "sentinel_password"],
            Form::Server | Form::Cluster => &[],
        };
        if let Some(name) = url.parameters().find(|name| !own.contains(name) && !tls::PARAMETERS.contains(name)) {
            return Err(format!("`{name}` is no parameter of a {}:// URL", url.scheme));
        }
        // Of a socket's URL, as other clients have it: before the path or behind it.
        let behind = |names: [&str; 2]| {
            names.into_iter().filter(|_| url.form == Form::Socket).find_map(|name| url.parameter(name))
        };
        let username = url.username.as_deref().or_else(|| behind(["user", "username"]));
        let password = url.password.as_deref().or_else(|| behind(["pass", "password"]));
        if username.is_some() && password.is_none() {
            return Err("a user has a password: USER:PASSWORD@, or USER:@ where it is empty".into());
        }
        let database = match url.form {
            Form::Server => url.path.strip_prefix('/').filter(|path| !path.is_empty()),
            Form::Socket | Form::Sentinel => url.parameter("db"),
            Form::Cluster if url.path.trim_start_matches('/').is_empty() => None,
            Form::Cluster => return Err("a cluster has no databases: the URL ends after its servers".into()),
        };
        let database =
            database.map(|number| number.parse().map_err(|_| "a database is a number of 0 to 255".to_owned()));
        Ok(Self {
            username: username.map(str::to_owned),
            password: password.map(str::to_owned),
            database: database.transpose()?,
            tls: tls(url)?,
        })
    }
}

impl Access {
    fn config(&self, server: ServerConfig) -> Config {
        let Self { username, password, database, tls } = self.clone();
        // RESP3: pushed messages and replies can share a connection, so that a subscriber can prove itself by PING.
        let version = RespVersion::RESP3;
        Config { server, username, password, database, tls, version, fail_fast: true, ..Config::default() }
    }
}

impl Target {
    /// The server that the URL itself names.
    ///
    /// # Errors
    /// As [`Access::of`].
    pub fn new(url: &RedisUrl) -> Result<Self, String> {
        let access = Access::of(url)?;
        let server = match url.servers.first() {
            Some((host, port)) => ServerConfig::new_centralized(host.as_str(), *port),
            None => ServerConfig::new_unix_socket(&*url.path),
        };
        Ok(Self { config: access.config(server), master: None, name: url.to_string() })
    }

    /// A server that somebody else named: a sentinel, or another server of a cluster.
    pub fn at(access: &Access, server: Server) -> Self {
        let name = server.to_string();
        Self { config: access.config(ServerConfig::Centralized { server }), master: None, name }
    }

    /// Whichever server the sentinels name.
    pub fn followed(access: &Access, master: Master, name: String) -> Self {
        Self { config: access.config(ServerConfig::default()), master: Some(master), name }
    }

    /// Where it is now.
    ///
    /// # Errors
    /// Why that is not known.
    pub async fn place(&mut self) -> Result<Place, String> {
        let mut config = self.config.clone();
        let Some(master) = &mut self.master else { return Ok(Place { config, named: None }) };
        let named = master.named().await?;
        config.server = ServerConfig::Centralized { server: named.server().clone() };
        Ok(Place { config, named: Some(named) })
    }

    /// Waits until it may be at another place than the last one that was asked for.
    pub async fn moved(&mut self) {
        match &mut self.master {
            Some(master) => master.changed().await,
            None => std::future::pending().await,
        }
    }
}

impl Place {
    /// The server that the sentinels named, where they do.
    pub fn named(&self) -> Option<&Server> {
        self.named.as_ref().map(Named::server)
    }

    /// The server says that it is a replica.
    pub fn refute(&self) {
        if let Some(named) = &self.named {
            named.refute();
        }
    }

    /// A client for one connection; it connects once, and never again by itself (see [`link`](super::link)).
    ///
    /// `messages` pushed messages are kept for who is slow to take them.
    pub fn client(&self, messages: usize) -> Client {
        let performance = PerformanceConfig {
            default_command_timeout: ANSWER,
            broadcast_channel_capacity: messages,
            ..PerformanceConfig::default()
        };
        let connection = ConnectionConfig {
            connection_timeout: ANSWER,
            internal_command_timeout: ANSWER,
            // A script whose fate is not known is never sent again by fred: the publisher decides.
            max_command_attempts: 1,
            max_command_buffer_len: COMMAND_BUFFER,
            tcp: TcpConfig { nodelay: Some(true), user_timeout: Some(USER_TIMEOUT), ..TcpConfig::default() },
            ..ConnectionConfig::default()
        };
        Client::new(self.config.clone(), Some(performance), Some(connection), None)
    }

    /// Whether Redis is known to be elsewhere by now: what this one still says counts for nothing.
    pub fn is_past(&self) -> bool {
        self.named.as_ref().is_some_and(Named::is_past)
    }

    /// Waits until that is so.
    pub async fn past(&mut self) {
        match &mut self.named {
            Some(named) => named.past().await,
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
    fn urls_are_read() {
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
    fn urls_that_can_never_work_are_refused_without_their_password() {
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
            let message = Access::of(&read(url)).err().unwrap_or_else(|| panic!("{url} was taken"));
            assert!(!message.is_empty() && !message.contains("s3cret"), "{url}: {message}");
        }
    }
}
