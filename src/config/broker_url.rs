//! The setting `broker`: which backend, as a URL.
//!
//! The URL may contain a password. `Display`, `Debug` and the errors of this module never show it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::redis_url::{self, Form, RedisUrl};
use super::value::Expected;
use crate::suggest;

/// The backend of the broker.
#[derive(Clone, PartialEq, Eq)]
pub enum BrokerUrl {
    /// In this process; its events are lost when the process ends.
    Memory,
    /// Files in this directory.
    File(PathBuf),
    /// Redis: a server, Sentinel, Cluster, or the REST interface of Upstash.
    Redis(RedisUrl),
}

impl BrokerUrl {
    /// Parses the setting `broker`.
    ///
    /// # Errors
    /// What was expected. The message contains no part of the text, which may contain a password.
    pub fn parse(text: &str) -> Result<Self, Expected> {
        const KNOWN: &str = "memory, file:DIRECTORY, or a URL that starts with redis://, rediss://, redis+unix://, redis-sentinel://, redis-cluster:// or upstash+https://";
        if text == "memory" {
            return Ok(Self::Memory);
        }
        if let Some(url) = RedisUrl::parse(text) {
            return url.map(Self::Redis);
        }
        match text.split_once(':') {
            Some(("file", rest)) => {
                // `file:///path` is a URL, `file:path` is the plain path.
                let path = rest.strip_prefix("//").unwrap_or(rest);
                match path.is_empty() || (path.len() < rest.len() && !path.starts_with('/')) {
                    true => Err("a directory, such as file:./data or file:/var/lib/tidings".into()),
                    false => Ok(Self::File(path.into())),
                }
            }
            // Only the scheme is compared: the rest may be a password.
            Some((_, port)) if port.parse::<u16>().is_ok() => {
                Err(format!("{KNOWN} (for a Redis server, write redis://HOST:PORT)"))
            }
            scheme => Err(format!("{KNOWN}{}", meant(scheme.map_or(text, |(scheme, _)| scheme)))),
        }
    }
}

/// The beginning that was probably meant, in parentheses, as it must be written.
fn meant(scheme: &str) -> String {
    let near = suggest::nearest(scheme, schemes());
    let begin = |near: &str| match near {
        "memory" => near.to_owned(),
        "file" => "file:DIRECTORY".to_owned(),
        _ => format!("{near}://"),
    };
    near.map(|near| format!(" (did you mean `{}`?)", begin(near))).unwrap_or_default()
}

/// What a broker's URL may begin with.
fn schemes() -> impl Iterator<Item = &'static str> {
    ["memory", "file"].into_iter().chain(redis_url::SCHEMES.map(|(scheme, _)| scheme))
}

impl BrokerUrl {
    /// Whether this build has the backend that the URL names: `file` and `redis` are Cargo features.
    ///
    /// # Errors
    /// The feature that is missing, and how to build with it.
    pub fn supported(&self) -> Result<(), String> {
        let feature = match self {
            Self::File(_) if !cfg!(feature = "file") => "file",
            Self::Redis(_) if !cfg!(feature = "redis") => "redis",
            _ => return Ok(()),
        };
        Err(format!(
            "{self} needs the Cargo feature `{feature}`, which this build lacks: build with --features {feature}"
        ))
    }

    /// The setting `broker_pulse` where no layer gives it, if it is not the usual one. Each call of the REST interface has a price.
    pub(super) fn usual_pulse(&self) -> Option<Duration> {
        matches!(self, Self::Redis(RedisUrl { form: Form::Rest, .. })).then_some(Duration::from_secs(60))
    }

    /// Whether several nodes share this broker, so that another node may reach it when this one cannot.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Redis(_))
    }
}

/// Shows the URL without the password and without the query, which may contain secrets.
impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Redis(url) => write!(f, "{url}"),
        }
    }
}

impl fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for text in
            ["redis://u:s3cret@host:1/2", "rediss://:s3cret@host?key=s3cret", "redis://s3cret@", "redis://s3cret@h"]
        {
            let shown = format!("{:?}", BrokerUrl::parse(text));
            assert!(!shown.contains("s3cret"), "{shown}");
        }
        assert_eq!(BrokerUrl::parse("redis://u:p@host:1/2").unwrap().to_string(), "redis://u:***@host:1/2");
    }

    #[test]
    fn a_directory_is_a_path_or_a_file_url() {
        for (text, path) in [
            ("file:./data", "./data"),
            ("file:data", "data"),
            ("file:/a b/%20", "/a b/%20"),
            ("file:///var/x", "/var/x"),
        ] {
            let url = BrokerUrl::parse(text).unwrap();
            assert_eq!(url, BrokerUrl::File(path.into()), "{text}");
            assert_eq!(url.to_string(), format!("file:{path}"));
        }
        for text in ["file", "file:", "file://", "file://host/data", "file://./data"] {
            assert!(BrokerUrl::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn redis_urls_are_recognised() {
        for text in
            ["redis://127.0.0.1:6379", "rediss://example.com", "redis+unix:///run/redis.sock", "redis-cluster://a,b"]
        {
            assert!(matches!(BrokerUrl::parse(text), Ok(BrokerUrl::Redis(_))), "{text}");
        }
        for text in ["", "redis", "redis:", "redis://", "redis+unix://", "memory:", "http://host", "redis://host:port"]
        {
            assert!(BrokerUrl::parse(text).is_err(), "{text}");
        }
        for (text, meant) in [
            ("reddis://h", "redis://"),
            ("redis", "redis://"),
            ("redis:/h", "redis://"),
            ("fil:x", "file:DIRECTORY"),
            ("memry", "memory"),
        ] {
            let error = BrokerUrl::parse(text).unwrap_err();
            assert!(error.ends_with(&format!("(did you mean `{meant}`?)")), "{text}: {error}");
        }
        assert_eq!(BrokerUrl::parse("upstash+https://s3cret@h").unwrap().to_string(), "upstash+https://***@h:443");
    }
}
