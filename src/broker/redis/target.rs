//! Where Redis is: the broker's URL as fred's configuration, with the bounds that every connection has.

use std::time::Duration;

use fred::clients::Client;
use fred::types::RespVersion;
use fred::types::config::{Config, ConnectionConfig, PerformanceConfig, TcpConfig};
use url::Url;

use super::ANSWER;

/// Commands that may wait in fred for their turn: more than [`CALLS`](super::commands::CALLS) and the pulse together,
/// because fred stops flushing (it miscounts) once it has refused one for want of room.
const COMMAND_BUFFER: usize = 4096;

/// How long the kernel tries to get bytes to a silent peer. Without it a full socket holds fred's one task for ever.
const USER_TIMEOUT: Duration = Duration::from_secs(5);

/// A Redis that can be connected to.
#[derive(Clone)]
pub(super) struct Target {
    config: Config,
    /// The URL without its password, for log lines.
    pub name: String,
}

impl Target {
    /// # Errors
    /// What is wrong with the URL, as a sentence without its password.
    pub fn new(url: &Url) -> Result<Self, String> {
        let scheme = url.scheme();
        match scheme {
            "redis" | "rediss" | "redis+unix" => {}
            "redis-sentinel" | "redis-cluster" => return Err(format!("{scheme}:// is not supported yet")),
            _ => return Err(format!("{scheme}:// is no Redis URL: use redis://, rediss:// or redis+unix://")),
        }
        if let Some((name, _)) = url.query_pairs().next() {
            return Err(format!("`{name}` is no parameter of a {scheme}:// URL"));
        }
        if scheme == "redis+unix" && url.path().len() < 2 {
            return Err("redis+unix:// needs the path of the socket: redis+unix:///run/redis.sock".into());
        }
        let mut config = Config::from_url(url.as_str()).map_err(|error| error.details().to_owned())?;
        // Pushed messages and replies can share a connection, so that a subscriber can prove itself by PING.
        config.version = RespVersion::RESP3;
        config.fail_fast = true;
        let mut shown = url.clone();
        if shown.password().is_some() {
            // It fails for URLs without a host only, which have no password either.
            let _ = shown.set_password(Some("***"));
        }
        Ok(Self { config, name: shown.into() })
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Result<Target, String> {
        Target::new(&Url::parse(url).unwrap())
    }

    #[test]
    fn urls_are_read() {
        let read = target("redis://al%40ice:s%3Acret@[::1]:7000/3").unwrap();
        assert_eq!(read.config.username.as_deref(), Some("al@ice"));
        assert_eq!(read.config.password.as_deref(), Some("s:cret"));
        assert_eq!(read.config.database, Some(3));
        assert_eq!(read.name, "redis://al%40ice:***@[::1]:7000/3");
        assert!(target("redis://localhost").unwrap().config.server.is_centralized());
        assert!(target("redis+unix:///run/redis.sock").unwrap().config.server.is_unix_socket());
        assert!(target("rediss://localhost").unwrap().config.uses_tls());
    }

    #[test]
    fn urls_that_can_never_work_are_refused_without_their_password() {
        for url in [
            "redis-sentinel://:s3cret@h:1/x",
            "redis-cluster://:s3cret@h:1",
            "http://:s3cret@h:1",
            "redis://:s3cret@h:1/x",
            "redis://:s3cret@h:1/1/2",
            "redis://:s3cret@h:1/300",
            "redis://:s3cret@h:1?tls=1",
            "redis+unix://",
        ] {
            let message = target(url).err().unwrap_or_else(|| panic!("{url} was taken"));
            assert!(!message.is_empty() && !message.contains("s3cret"), "{url}: {message}");
        }
    }
}
