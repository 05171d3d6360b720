//! L2 on Redis.
//!
//! The keys, the scripts and the form of an entry (`entry.rs`) are those of `clients/typescript/src/cache/redis.ts`, so instances
//! of both languages share one L2. Each operation is one script on one key, so it works on a Redis Cluster, too. The script that
//! writes compares the fences, so a writer that was paused cannot replace a newer entry.

mod entry;
mod link;

use std::sync::Arc;
use std::time::Duration;

use fred::rustls::crypto::ring;
use fred::rustls::{ClientConfig, Error as TlsError, RootCertStore};
use fred::rustls_native_certs::load_native_certs;
use fred::types::Value;
use fred::types::config::{Config, TlsConfig, TlsConnector};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::error::{BoxError, Error};
use super::l2::{Foreign, L2, L2Entry};
use link::Link;

/// The scripts, as they are in `redis.ts`: a test compares them.
const GET: &str =
    "local v = redis.call('GET', KEYS[1]) if not v then return false end return {v, redis.call('PTTL', KEYS[1])}";
/// An entry of another epoch is of another log, and so not newer.
const SET: &str = "local old = redis.call('GET', KEYS[1])
if old then
  local epoch, offset = string.match(old, '^(.-) (%d+) ')
  if epoch == ARGV[1] and tonumber(offset) > tonumber(ARGV[2]) then return 0 end
end
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. ARGV[2] .. ' ' .. ARGV[3], 'PX', ARGV[4])
return 1";
const LOCK: &str = "if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end return 0";
const EXTEND: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0";
const UNLOCK: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";

/// The beginning of every key, unless the application sets another.
const PREFIX: &str = "tidings-cache:";

/// A second level on Redis, for [`Options::l2`](super::Options::l2). Instances in TypeScript can share it, with the same prefix.
///
/// It connects in the background. While Redis is away or slow, the instances load by themselves.
pub struct RedisL2 {
    link: Link,
    prefix: String,
}

impl RedisL2 {
    /// Connects to the Redis at this URL, and again after each loss of the connection.
    ///
    /// The URL begins with `redis://`, `rediss://`, `redis+unix://`, `redis-cluster://` or `redis-sentinel://`, as
    /// [fred](https://docs.rs/fred/10/fred/types/config/struct.Config.html#method.from_url) reads it. With `rediss`, the
    /// server's certificate is checked against the authorities of the machine, or those in the file `SSL_CERT_FILE`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a URL that cannot be used. A Redis that cannot be reached is no error.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn connect(url: &str) -> Result<Self, Error> {
        Ok(Self { link: Link::to(config(url)?), prefix: PREFIX.to_owned() })
    }

    /// The beginning of every key, which should differ from that of the daemon. Default: `tidings-cache:`.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    fn lock_key(&self, key: &str) -> String {
        format!("{}lock:{key}", self.prefix)
    }
}

impl L2 for RedisL2 {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<L2Entry>, BoxError>> {
        async move {
            let found = self.link.run(GET, self.key(key), Vec::new()).await?;
            let Value::Array(found) = found else { return Ok(None) };
            let [text, ttl] = &*found else { return Err(Foreign(key.to_owned()).into()) };
            let read = text.as_bytes().and_then(entry::read).zip(ttl.as_i64().filter(|ttl| *ttl > 0));
            let (entry::Entry { fence, tags, value }, ttl) = read.ok_or_else(|| Foreign(key.to_owned()))?;
            let ttl = Duration::from_millis(ttl.unsigned_abs());
            Ok(Some(L2Entry { value, tags, fence, ttl }))
        }
        .boxed()
    }

    fn set<'a>(&'a self, key: &'a str, entry: L2Entry) -> BoxFuture<'a, Result<(), BoxError>> {
        async move {
            let (epoch, offset) = (entry.fence.epoch.as_str().to_owned(), entry.fence.offset.to_string());
            let text = Value::Bytes(entry::text_of(&entry)?.into());
            let values = vec![epoch.into(), offset.into(), text, milliseconds(entry.ttl)];
            self.link.run(SET, self.key(key), values).await.map(drop)
        }
        .boxed()
    }

    fn lock<'a>(&'a self, key: &'a str, token: &'a str, lease: Duration) -> BoxFuture<'a, Result<bool, BoxError>> {
        async move {
            let values = vec![token.into(), milliseconds(lease)];
            Ok(self.link.run(LOCK, self.lock_key(key), values).await?.as_i64() == Some(1))
        }
        .boxed()
    }

    fn extend<'a>(&'a self, key: &'a str, token: &'a str, lease: Duration) -> BoxFuture<'a, Result<(), BoxError>> {
        async move {
            let values = vec![token.into(), milliseconds(lease)];
            self.link.run(EXTEND, self.lock_key(key), values).await.map(drop)
        }
        .boxed()
    }

    fn unlock<'a>(&'a self, key: &'a str, token: &'a str) -> BoxFuture<'a, Result<(), BoxError>> {
        async move { self.link.run(UNLOCK, self.lock_key(key), vec![token.into()]).await.map(drop) }.boxed()
    }
}

/// A duration for PX: whole milliseconds, at least one. Redis refuses what does not fit in a time of its clock.
fn milliseconds(duration: Duration) -> Value {
    const MAX: u128 = 100 * 365 * 86_400_000;
    duration.as_nanos().div_ceil(1_000_000).clamp(1, MAX).to_string().into()
}

/// fred's configuration for a URL. The errors do not contain the URL, which may have a password.
fn config(url: &str) -> Result<Config, Error> {
    let with_tls =
        ["redis", "valkey"].into_iter().find_map(|name| Some((name, url.strip_prefix(&format!("{name}s"))?)));
    let plain = with_tls.map_or_else(|| url.to_owned(), |(name, rest)| format!("{name}{rest}"));
    let invalid = |reason: &str| Error::Invalid(format!("the URL of Redis cannot be used: {reason}"));
    let mut config = Config::from_url(&plain).map_err(|error| invalid(error.details()))?;
    config.tls = match with_tls {
        Some(_) => Some(tls().map_err(|error| invalid(&error.to_string()))?),
        None => None,
    };
    Ok(config)
}

/// TLS with the cryptography of ring, whatever other parts of the process use.
fn tls() -> Result<TlsConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    // Old certificates that cannot be parsed are common, and no reason to fail.
    roots.add_parsable_certificates(load_native_certs().certs);
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(config).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scripts_are_those_of_the_typescript_cache() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/typescript/src/cache/redis.ts");
        let typescript = std::fs::read_to_string(path).unwrap();
        for script in [GET, SET, LOCK, EXTEND, UNLOCK, PREFIX] {
            assert!(typescript.contains(script), "redis.ts has no\n{script}");
        }
    }

    #[test]
    fn a_url_becomes_a_configuration() {
        let plain = config("redis://u:p%40@h:7000/3").unwrap();
        assert_eq!((plain.username.as_deref(), plain.password.as_deref()), (Some("u"), Some("p@")));
        assert_eq!((plain.database, plain.uses_tls()), (Some(3), false));
        for url in ["rediss://h", "valkeys://h", "rediss-cluster://h:1"] {
            assert!(config(url).unwrap().uses_tls(), "{url}");
        }
        for url in ["", "h", "redis://:s3cret@:1", "redis://:s3cret@h:x", "redis://:s3cret@h/x"] {
            let error = config(url).unwrap_err().to_string();
            assert!(!error.contains("s3cret"), "{url}: {error}");
        }
    }

    #[test]
    fn a_ttl_is_whole_milliseconds() {
        for (ttl, wanted) in
            [(Duration::ZERO, "1"), (Duration::from_micros(1_001), "2"), (Duration::MAX, "3153600000000")]
        {
            assert_eq!(milliseconds(ttl).as_string().as_deref(), Some(wanted));
        }
    }
}
